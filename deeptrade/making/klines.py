"""Exchange klines to DeepTrade rows: a row at t holds what was known at t, and nothing crosses a missing bar."""

from __future__ import annotations

import glob
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError
from ..files import atomic_write
from ..times import UnreadableTimeError, duration_name, iso_time, parse_duration, read_time
from ..units import format_bytes
from .bars import Bars, Layout, Row, RowMaker, array_cell, target_cells
from .indicators import CONTEXT_NAMES, INDICATOR_NAMES, TAKER_VOLUME

COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
"""The twelve columns of the exchange; a file without a header has these, or the first six."""

CHANNELS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)
"""The channels of a window; a source with six columns gives the first five, and the others are left out."""

_TIME_NAMES = ("open_time", "timestamp", "time", "date", "datetime")
_ACCEPTED = "exchange klines as .csv or .csv.gz: open time, open, high, low, close, volume, and six more or none"


@dataclass(frozen=True)
class Build:
    """What `build` read and wrote: `repeated` bars were dropped; `gaps` counts places where bars are missing."""

    rows: int
    bytes: int
    bars: int
    gaps: int
    repeated: int
    columns: tuple[str, ...]


def build(
    paths: Sequence[str | Path],
    *,
    out: str | Path,
    timeframes: Sequence[str] = ("5min", "15min", "1h"),
    window: int = 241,
    step: str = "20min",
    horizons: int = 10,
    sink: Callable[[str], None] | None = None,
) -> Build:
    """Write one row per step on the calendar grid, from the klines of one market.

    Arguments: paths, files or globs; timeframes, bar lengths of the windows, multiples of the source's bar
    length that divide a day; window, bars per window; step, time between rows and between horizons; horizons, targets.

    Columns: timestamp; arr_5m, ... per timeframe, shape [1, window, 9] (see CHANNELS); arr_ta_N, 21 indicators per
    timeframe (indicators.INDICATOR_NAMES); arr_ctx_11 (indicators.CONTEXT_NAMES); price, the last close; y_i,
    the return i steps ahead, empty if a gap or the end of the data lies in between. Rows without any target are
    left out.

    Raises DataError for files that are not klines, SettingsError for lengths that do not fit them.
    """
    layout = Layout(tuple(parse_duration(text.strip()) for text in timeframes), window, parse_duration(step), horizons)
    if Path(out).exists() and any(Path(out).samefile(path) for path in _expand(paths)):
        raise DataError(f"--out {out} is one of the input files; give another file")
    base, repeated = read_klines(paths, sink=sink)
    layout.check(base.interval)
    columns = _columns(layout, base.values.shape[1])
    maker = RowMaker(base, layout)
    rows = 0
    with atomic_write(out) as file:
        file.write((",".join(columns) + "\n").encode())
        for row in _rows_with_target(maker):
            file.write(_line(row).encode())
            rows += 1
        size = file.tell()
        if not rows:
            raise DataError(
                f"{len(base.open_times)} bars of {duration_name(base.interval)} are too few for a row: "
                f"{layout.past // base.interval} bars without a gap are needed; use more files or shorter timeframes"
            )
    found = Build(rows, size, len(base.open_times), int(base.segments()[-1]), repeated, columns)
    if sink:
        sink(
            f"{out}: {found.rows} rows, {format_bytes(found.bytes)}, from {found.bars} bars of "
            f"{duration_name(base.interval)} with {found.gaps} gaps; {found.repeated} repeated bars dropped"
        )
    return found


def _columns(layout: Layout, channels: int) -> tuple[str, ...]:
    context = len(CONTEXT_NAMES) if channels > TAKER_VOLUME else len(CONTEXT_NAMES) - 2
    return (
        "timestamp",
        *(f"arr_{duration_name(length)}" for length in layout.timeframes),
        f"arr_ta_{len(INDICATOR_NAMES) * len(layout.timeframes)}",
        f"arr_ctx_{context}",
        "price",
        *(f"y_{step + 1}" for step in range(layout.horizons)),
    )


def _rows_with_target(maker: RowMaker) -> Iterator[Row]:
    for time in maker.times():
        row = maker.make(int(time))
        if row is not None and not np.isnan(row.targets).all():
            yield row


def _line(row: Row) -> str:
    cells = [
        iso_time(row.time),
        *(f'"{text}"' for text in row.windows),
        array_cell(row.indicators),
        array_cell(row.context),
        repr(row.price),
        *target_cells(row.targets),
    ]
    return ",".join(cells) + "\n"


def read_klines(paths: Sequence[str | Path], *, sink: Callable[[str], None] | None = None) -> tuple[Bars, int]:
    """Return the bars of all files in time order, and how many repeated ones were dropped.

    Two different bars at one time are an error: there is no telling which one is right.
    """
    frames = [_read_file(path) for path in _expand(paths)]
    if len({len(frame.columns) for frame in frames}) > 1:
        raise DataError("the files have different columns; build from files of one kind")
    table = pd.concat(frames, ignore_index=True)
    total = len(table)
    table = table.drop_duplicates()
    doubled = table["open_time"][table["open_time"].duplicated()]
    if len(doubled):
        raise DataError(
            f"two different bars open at {iso_time(int(doubled.iloc[0]))} ({len(doubled)} such times); "
            f"remove one of each and build again"
        )
    if not table["open_time"].is_monotonic_increasing:
        table = table.sort_values("open_time")
        if sink:
            sink("the bars were not in time order and have been sorted")
    times = table["open_time"].to_numpy(np.int64)
    if len(times) < 2:
        raise DataError(f"the files hold a single bar; expected {_ACCEPTED}")
    steps = np.diff(times)
    interval = int(steps.min())
    if (steps % interval).any():
        raise DataError(
            f"bars open at {iso_time(int(times[0]))} and later, but not on a grid of {duration_name(interval)}; "
            f"build from bars of one length"
        )
    return Bars(times, table[list(table.columns[1:])].to_numpy(np.float64), interval), total - len(table)


def _expand(paths: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        matches = sorted(glob.glob(str(path))) if glob.has_magic(str(path)) else [str(path)]
        if not matches or not Path(matches[0]).exists():
            raise DataError(f"{path} does not exist; expected {_ACCEPTED}")
        if Path(matches[0]).is_dir():
            raise DataError(f"{path} is a folder; give its files, such as {path}/*.csv.gz")
        found += [Path(match) for match in matches]
    return found


def _read_file(path: Path) -> pd.DataFrame:
    """One file as open_time (int64 ns) and the channels it has (float64)."""
    try:
        first = _first_line(path)
        header = not first[:1].isdigit()
        names = [name.strip().lower() for name in first.split(",")] if header else list(COLUMNS)
        table = pd.read_csv(path, header=0 if header else None, dtype=str, keep_default_na=False, encoding="utf-8")
    except (
        UnicodeDecodeError,
        OSError,
        EOFError,
        zlib.error,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise DataError(f"{path.name} cannot be read ({reason}); expected {_ACCEPTED}") from None
    if table.shape[1] not in (6, 12) and not header:
        raise DataError(f"{path.name} has {table.shape[1]} columns; expected {_ACCEPTED}")
    table.columns = pd.Index(names[: table.shape[1]])
    time = next((name for name in _TIME_NAMES if name in table.columns), None)
    missing = [name for name in CHANNELS[:5] if name not in table.columns]
    if time is None or missing:
        raise DataError(f"{path.name} has no column {missing[0] if missing else 'open_time'!r}; expected {_ACCEPTED}")
    if table.empty:
        raise DataError(f"{path.name} has a header but no rows; expected {_ACCEPTED}")
    channels = [name for name in CHANNELS if name in table.columns]
    channels = channels if channels == list(CHANNELS) else list(CHANNELS[:5])
    numbers = {name: _numbers(table[name], path) for name in channels}
    return pd.DataFrame({"open_time": _times(table[time], path), **numbers})


def _first_line(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        line = file.readline(4096)
    if not line.strip():
        raise DataError(f"{path.name} is empty; expected {_ACCEPTED}")
    if "\0" in line:
        raise DataError(f"{path.name} is not a text file; expected {_ACCEPTED}")
    return line.strip()


def _numbers(column: pd.Series, path: Path) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"{path.name} row {bad[0]}: {column.name}={column.iloc[bad[0]]!r:.40} is not a number; remove the row "
            f"(its bar becomes a gap)"
        )
    return values


def _times(column: pd.Series, path: Path) -> np.ndarray:
    """Open times in any of the forms `read_time` knows, as int64 ns."""
    try:
        return np.array([read_time(text.strip()) for text in column], np.int64)
    except UnreadableTimeError as error:
        raise DataError(f"{path.name}: open time: {error}; expected {_ACCEPTED}") from None
