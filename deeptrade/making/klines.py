"""Klines of any origin to DeepTrade rows: a row at t holds what was known at t, and nothing crosses a missing bar."""

from __future__ import annotations

import glob
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from ..errors import DataError, SettingsError
from ..files import atomic_write, user_path
from ..inputs import InputFile, LocalFile, local_paths
from ..memory.limits import MemoryLimits
from ..settings import DUPLICATES
from ..times import SECOND, duration_name, era_warnings, iso_time, parse_duration
from ..units import count_of, format_bytes
from .indicators import INDICATOR_NAMES, context_names
from .kline_columns import CHANNELS, COLUMNS
from .kline_conflicts import TwoBarsError, explained
from .kline_files import ACCEPTED, open_klines
from .kline_ledger import KlineEntry, ledger_path, write_entries
from .kline_memory import check_memory
from .kline_reading import FileBars, FileRead, common_channels, read_file
from .kline_series import Series, join
from .market_names import check_market, market_key, telling_words
from .rows import Layout, Plan, Row, RowMaker, array_cell, default_lengths, target_cells
from .sessions import WEEK, describe_breaks, known_breaks

__all__ = ["CHANNELS", "COLUMNS", "SESSIONS", "Build", "build"]

SESSIONS = ("none", "auto")


@dataclass(frozen=True)
class Build:
    """What `build` read and wrote.

    `repeated` bars were dropped, `bad` ones became gaps; `gaps` counts places where bars are missing; `lost` counts
    times on the grid without a row, by cause; `open_rows` are those without any target.
    """

    rows: int
    bytes: int
    bars: int
    gaps: int
    repeated: int
    columns: tuple[str, ...]
    bad: int = 0
    markets: tuple[str, ...] = ()
    lost: dict[str, int] = field(default_factory=dict)
    open_rows: int = 0


@dataclass
class Klines:
    """All that was read: a series per market, in order of their names, and what was found on the way."""

    series: list[Series]
    bad: list[KlineEntry]
    channels: int
    has_market: bool


def build(
    paths: Sequence[str | Path | InputFile],
    *,
    out: str | Path,
    timeframes: Sequence[str] | None = None,
    window: int = 241,
    step: str | None = None,
    horizons: int = 10,
    market: str = "",
    session: str = "none",
    duplicates: str = "error",
    memory_limit: str | MemoryLimits = "",
    sink: Callable[[str], None] | None = None,
) -> Build:
    """Write one row per step on the calendar grid from klines, and OUT.ledger.csv of what was not used.

    Arguments: paths, files or globs, or files found elsewhere (`InputFile`); timeframes, bar lengths of the windows,
    multiples of the source's bar length that divide a day; window, bars per window; step, time between rows and between
    horizons (both: by the bars given, see rows.default_lengths); horizons, targets; market, the one market of all
    files; session, 'auto' lets windows cross regular breaks; duplicates, which of two different bars of one time is
    kept ('error': none).

    Columns: timestamp; market, where it is named or there are several; arr_5m, ... per timeframe, shape
    [1, window, 9] (see CHANNELS); arr_ta_N, 21 indicators per timeframe (indicators.INDICATOR_NAMES); arr_ctx_11
    (indicators.context_names); price, the last close; y_i, the return i steps
    ahead, empty if a gap, a closed hour or the end of the data is there.

    Raises DataError for files that are not klines, SettingsError for options that do not fit them, DoesNotFitError
    where the bars need more memory than there is.
    """
    _check_choice("session", session, SESSIONS)
    _check_choice("duplicates", duplicates, DUPLICATES)
    say = sink or (lambda line: None)
    given = None if timeframes is None else tuple(parse_duration(text.strip()) for text in timeframes)
    if given == ():
        raise SettingsError(f"timeframes={timeframes!r} names none; give at least one, such as 5min, or leave it out")
    given_step = None if step is None else _whole_seconds(step)
    out = user_path(out)
    files = _expand(paths)
    if any(
        Path(target).exists() and any(Path(target).samefile(path) for path in local_paths(files))
        for target in _targets(out)
    ):
        raise DataError(f"--out {out} is one of the input files; give another file")
    market = check_market(market) if market else ""
    klines = _read(files, market=market, duplicates=duplicates, limits=MemoryLimits.of(memory_limit), say=say)
    layout = _layout(klines, given, given_step, window, horizons, breaks=session == "auto", say=say)
    makers, plans, known = [], [], []
    for series in klines.series:
        layout.check(series.bars.interval)
        known.append(known_breaks(series.bars) if layout.breaks else None)
        makers.append(RowMaker(series.bars, layout, known[-1]))
        plans.append(makers[-1].plan())
    if not any(len(plan.times) for plan in plans):
        raise _too_few(klines, layout)
    columns = _columns(layout, klines.channels, klines.has_market)
    with atomic_write(ledger_path(out)) as ledger, atomic_write(out) as file:
        rows = [
            _rows_of(series.market, maker, plan)
            for series, maker, plan in zip(klines.series, makers, plans, strict=True)
        ]
        count, open_rows = _write_rows(file, rows, columns, has_market=klines.has_market)
        write_entries(ledger, _entries(klines, known))
        size = file.tell()
    lost: dict[str, int] = {}
    for plan in plans:
        lost = {cause: lost.get(cause, 0) + plan.lost.get(cause, 0) for cause in {**lost, **plan.lost}}
    found = Build(
        count,
        size,
        sum(len(series.bars.open_times) for series in klines.series),
        sum(len(series.bars.gaps()) for series in klines.series),
        sum(series.repeated for series in klines.series),
        columns,
        len(klines.bad),
        tuple(series.market for series in klines.series),
        lost,
        open_rows,
    )
    _report(found, klines, layout, out, say)
    return found


def _targets(out: str | Path) -> tuple[Path, Path]:
    return Path(out), ledger_path(out)


def _whole_seconds(step: str) -> int:
    """The step in ns; the times of rows are written in whole seconds."""
    duration = parse_duration(step)
    if duration % SECOND:
        raise SettingsError(f"step={step!r} is no number of whole seconds; use such as 20min, 1h or 10s")
    return duration


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SettingsError(f"{name}={value!r} is not one of {', '.join(choices)}")


def _expand(given: Sequence[str | Path | InputFile]) -> list[InputFile]:
    """The files that paths and globs name, and those opened elsewhere, each once, without hidden ones."""
    found: list[Path] = []
    paths = [one for one in given if isinstance(one, (str, Path))]
    for path in map(user_path, paths):
        matches = sorted(glob.glob(str(path))) if glob.has_magic(str(path)) and not Path(path).exists() else [str(path)]
        if not matches or not Path(matches[0]).exists():
            raise DataError(f"{path} does not exist; expected {ACCEPTED}")
        if Path(matches[0]).is_dir():
            raise DataError(f"{path} is a folder; give its files, such as {path}/*.csv.gz")
        found += [Path(match) for match in matches if not Path(match).name.startswith(".") and Path(match).is_file()]
    files: list[InputFile] = [one for one in given if not isinstance(one, (str, Path))]
    files += map(LocalFile.at, found)
    if not files:
        raise DataError(f"{', '.join(map(str, paths)):.200}: only hidden files; expected {ACCEPTED}")
    return list(dict.fromkeys(files))


def _read(
    inputs: Sequence[InputFile], *, market: str, duplicates: str, limits: MemoryLimits, say: Callable[[str], None]
) -> Klines:
    files = [open_klines(one) for one in inputs]
    check_memory(files, limits)
    channels, narrow = common_channels(files)
    reads: list[FileRead] = []
    while files:
        reads.append(read_file(files.pop(0), channels))
        pa.default_memory_pool().release_unused()
    _say_left_out(reads, narrow, say)
    groups = _by_market([bars for read in reads for bars in read.bars], market)
    bad = [entry for read in reads for entry in read.bad]
    reads.clear()
    series = []
    for name in sorted(groups):
        try:
            series.append(join(name, groups.pop(name), duplicates=duplicates))
        except TwoBarsError as error:
            raise explained(error, inputs) from None
    unsorted = sum(not one.was_sorted for one in series)
    if unsorted:
        say("the bars were not in time order and have been sorted")
    if bad:
        say(f"{count_of(len(bad), 'row')} left out, no bars, such as {bad[0].detail}; all are in the ledger")
    return Klines(series, bad, len(channels), bool(market) or len(series) > 1)


def _say_left_out(reads: Sequence[FileRead], narrow: str, say: Callable[[str], None]) -> None:
    """Name the columns that are not used, and those that the file with the fewest lacks."""
    parts = []
    for names, cause in (
        ([name for read in reads for name in read.left_out], ""),
        ([name for read in reads for name in read.lacking], f", which {narrow} lacks"),
    ):
        if names:
            parts.append(", ".join(repr(name) if "," in name else name for name in dict.fromkeys(names)) + cause)
    if parts:
        say(f"left out: {'; '.join(parts)}")


def _by_market(parts: Sequence[FileBars], market: str) -> dict[str, list[FileBars]]:
    """The bars of each market by its name; spellings of one name, such as BTC/USDT and BTCUSDT, are one market."""
    if market:
        return {market: list(parts)}
    names: dict[str, str] = {}
    for part in parts:
        if part.market:
            names.setdefault(market_key(part.market), check_market(part.market))
    _check_nameless(parts, sorted(names.values()))
    if len(names) <= 1:
        return {next(iter(names.values()), ""): list(parts)}
    groups: dict[str, list[FileBars]] = {}
    for part in parts:
        groups.setdefault(names[market_key(part.market)], []).append(part)
    return groups


def _check_nameless(parts: Sequence[FileBars], names: Sequence[str]) -> None:
    """Raise DataError where bars that name no market may be of another one than the others."""
    nameless = [part for part in parts if not part.market and len(part.times)]
    named = {part.file: part.market for part in parts if part.market}
    way_out = "name each file by its symbol, such as BTCUSDT-1m.csv, or, if all are of one market, give --market NAME"
    for part in nameless:
        if part.file in named and len(names) > 1:
            raise DataError(
                f"{part.file} row {part.rows[0]}: no symbol, other rows name {', '.join(names):.80}; write the symbol "
                f"into the cell, or remove the row"
            )
        if part.file not in named and names:
            raise DataError(
                f"{part.file} names no market, the other files name {', '.join(names):.80}; {way_out}, or build it "
                f"apart"
            )
    for part in nameless[1:]:
        if telling_words(part.file) != telling_words(nameless[0].file):
            raise DataError(f"{nameless[0].file} and {part.file} name no market and may be of two; {way_out}")


def _layout(
    klines: Klines,
    timeframes: tuple[int, ...] | None,
    step: int | None,
    window: int,
    horizons: int,
    *,
    breaks: bool,
    say: Callable[[str], None],
) -> Layout:
    """The layout of the rows; what is not given follows from the longest bars."""
    if timeframes is None or step is None:
        interval = max(series.bars.interval for series in klines.series)
        usual, usual_step = default_lengths(interval)
        chosen = []
        if timeframes is None:
            timeframes = usual
            chosen.append(f"timeframes {','.join(map(duration_name, timeframes))}")
        if step is None:
            step = usual_step
            chosen.append(f"step {duration_name(step)}")
        say(f"{' and '.join(chosen)}, chosen for bars of {duration_name(interval)}")
    return Layout(timeframes, window, step, horizons, breaks)


def _too_few(klines: Klines, layout: Layout) -> DataError:
    """Why no row could be made, for the market with the most bars."""
    series = max(klines.series, key=lambda series: len(series.bars.open_times))
    base = series.bars
    where = f"{series.market}: " if klines.has_market else ""
    return DataError(
        f"{where}{len(base.open_times)} bars of {duration_name(base.interval)} are too few for a row: "
        f"{layout.past // base.interval} bars without a gap are needed; use more files, shorter timeframes or a "
        f"smaller window{_session_hint(klines, layout)}"
    )


def _session_hint(klines: Klines, layout: Layout) -> str:
    if layout.breaks:
        short = max(int(np.ptp(series.bars.open_times)) for series in klines.series) < 3 * WEEK
        return "; closed hours are known after two weeks of bars" if short else ""
    breaks = next((text for series in klines.series if (text := describe_breaks(series.bars))), "")
    return (
        f"; the gaps look like regular closing hours, {breaks} UTC: --session auto lets windows cross them"
        if breaks
        else ""
    )


def _columns(layout: Layout, channels: int, has_market: bool) -> tuple[str, ...]:
    return (
        "timestamp",
        *(("market",) if has_market else ()),
        *(f"arr_{duration_name(length)}" for length in layout.timeframes),
        f"arr_ta_{len(INDICATOR_NAMES) * len(layout.timeframes)}",
        f"arr_ctx_{len(context_names(channels, breaks=layout.breaks))}",
        "price",
        *(f"y_{step + 1}" for step in range(layout.horizons)),
    )


def _rows_of(market: str, maker: RowMaker, plan: Plan) -> Iterator[tuple[int, str, Row]]:
    """The rows of one market with what they are sorted by."""
    for row in maker.rows(plan):
        yield row.time, market, row


def _write_rows(
    file: BinaryIO, rows: Sequence[Iterator[tuple[int, str, Row]]], columns: Sequence[str], *, has_market: bool
) -> tuple[int, int]:
    """Write the rows of all markets by time, then market; return their number, and that of rows without any target."""
    file.write((",".join(columns) + "\n").encode())
    count = open_rows = 0
    for _, market, row in heapq.merge(*rows, key=lambda one: one[:2]):
        file.write(_line(row, (market,) if has_market else ()).encode())
        count += 1
        open_rows += bool(np.isnan(row.targets).all())
    return count, open_rows


def _line(row: Row, market: tuple[str, ...]) -> str:
    cells = [
        iso_time(row.time),
        *market,
        *(f'"{text}"' for text in row.windows),
        array_cell(row.indicators),
        array_cell(row.context),
        repr(row.price),
        *target_cells(row.targets),
    ]
    return ",".join(cells) + "\n"


def _entries(klines: Klines, known: Sequence[np.ndarray | None]) -> Iterator[KlineEntry]:
    yield from klines.bad
    for series, breaks in zip(klines.series, known, strict=True):
        yield from series.duplicates()
        yield from series.gaps(breaks)


def _report(found: Build, klines: Klines, layout: Layout, out: str | Path, say: Callable[[str], None]) -> None:
    for series in klines.series:
        first, last = series.bars.open_times[[0, -1]].tolist()
        for line in era_warnings(first, last, what="bars"):
            say(f"{series.market}: {line}" if klines.has_market else line)
    causes = [f"{count} {cause}" for cause, count in found.lost.items() if count]
    if causes:
        times = count_of(sum(found.lost.values()), "time")
        say(f"no row at {times}: {', '.join(causes)}{_session_hint(klines, layout)}")
    if found.open_rows:
        say(f"{count_of(found.open_rows, 'row')} without a target: written for forecasts, not for training")
    lengths = ", ".join(sorted({duration_name(series.bars.interval) for series in klines.series}))
    markets = f" of {len(found.markets)} markets" if len(found.markets) > 1 else ""
    say(
        f"{out}: {count_of(found.rows, 'row')}{markets}, {format_bytes(found.bytes)}, from "
        f"{count_of(found.bars, 'bar')} of {lengths} with {count_of(found.gaps, 'gap')}; "
        f"{count_of(found.repeated, 'repeated bar')} dropped"
    )
