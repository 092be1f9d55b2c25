"""The bars of one file, lawful ones only, with an entry for each that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import DataError
from ..times import iso_time
from .kline_cells import Cells, CutRow, keep_rows
from .kline_columns import Roles, find_roles
from .kline_files import UNREADABLE, KlineFile, unreadable
from .kline_law import Fault, check_order, fault, lawful
from .kline_ledger import KlineEntry
from .kline_times import times_of_table
from .market_names import market_key, symbol_of

_OPEN = Fault("", "the file marks it as open, its numbers are not final")


@dataclass
class FileBars:
    """Bars of one market in one file, in the file's order.

    times int64 ns (bars,); values float64 (bars, channels); rows int64 (bars,), and lines where the file has lines.
    `market` is '' where neither the file's name nor a column of it names one.
    """

    file: str
    market: str
    times: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    lines: np.ndarray | None

    def entry(self, index: int, reason: str, detail: str, column: str = "") -> KlineEntry:
        """The entry of a bar, by its index here."""
        line = None if self.lines is None else int(self.lines[index])
        return KlineEntry(int(self.rows[index]), line, column, reason, f"{self.file}: {detail}")


@dataclass
class FileRead:
    """What a file gave: bars by market, entries for bad bars, and names of the columns left out; those `lacking` are
    left out because another file has none of the kind."""

    bars: list[FileBars]
    bad: list[KlineEntry]
    left_out: tuple[str, ...]
    lacking: tuple[str, ...]


def common_channels(files: Sequence[KlineFile]) -> tuple[tuple[str, ...], str]:
    """Return the channels that all files have, and the name of the first file with the fewest."""
    found = [(tuple(find_roles(file.names, file.sample, file.name).channels), file.name) for file in files]
    return min(found, key=lambda one: len(one[0]))


def read_file(file: KlineFile, channels: Sequence[str]) -> FileRead:
    """Return the bars of a file with those of its channels that are wanted: nothing hangs on the others.

    Raises DataError where a column is missing or unreadable, or where most bars break the law of bars.
    """
    roles = find_roles(file.names, file.sample, file.name)
    lacking = tuple(roles.names[index] for name, index in roles.channels.items() if name not in channels)
    roles = replace(roles, channels={name: roles.channels[name] for name in channels})
    texts = [index for index in (roles.time, roles.clock, roles.symbol, roles.closed) if index is not None]
    try:
        cells = file.read({index: name for name, index in roles.channels.items()}, texts)
    except UNREADABLE as error:
        raise unreadable(file.name, error) from None
    if not len(cells.rows):
        raise DataError(f"{file.name} holds no bar; give a file with bars")
    times = times_of_table(
        cells.texts[roles.time],
        clock=None if roles.clock is None else cells.texts[roles.clock],
        file=file.name,
        name=roles.names[roles.time],
        rows=cells.rows,
    )
    values = cells.values
    symbols = list(_by_symbol(cells, roles, len(times)))
    for name, part in symbols:
        kept = slice(None) if part.all() else part  # without a copy of the whole
        check_order(
            times[kept],
            values[kept],
            rows=cells.rows[kept],
            roles=roles,
            file=f"{file.name}{name}",
            naming="" if file.names is not None else file.naming,
        )
    is_open = _still_open(cells, roles, file.name)
    good = lawful(values) & ~is_open
    everything = FileBars(file.name, symbol_of(file.name), times, values, cells.rows, cells.lines)
    bad = [_cut(file.name, one) for one in cells.cut]
    for index in np.flatnonzero(~good).tolist():
        found = _OPEN if is_open[index] else fault(values[index])
        bad.append(everything.entry(index, "bad_bar", f"{iso_time(int(times[index]))}: {found.detail}", found.column))
    alone = len(symbols) == 1
    bars = [_part(everything, good & part, name.strip(" ()"), alone=alone) for name, part in symbols]
    bad.sort(key=lambda entry: entry.row or 0)
    return FileRead(bars, bad, roles.left_out, lacking)


def _still_open(cells: Cells, roles: Roles, file: str) -> np.ndarray:
    """Whether the file marks a bar as one still open: bool (rows,)."""
    if roles.closed is None:
        return np.zeros(len(cells.values), bool)
    marks = cells.texts[roles.closed].astype("str").str.strip().str.lower()
    is_open = marks.isin(("false", "0", "0.0")).to_numpy()
    if is_open.all():
        raise DataError(
            f"{file}: column {roles.names[roles.closed]!r} marks every bar as still open; rename it if it means "
            f"something else"
        )
    return is_open


def _cut(file: str, row: CutRow) -> KlineEntry:
    return KlineEntry(row.row, row.line, "", "bad_bar", f"{file}: {row.cause}: {row.text!r:.60}")


def _by_symbol(cells: Cells, roles: Roles, rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each symbol of a file, as it is spelt first, as ' (symbol)', with the rows it has: bool (rows,); one '' where no
    column names any."""
    if roles.symbol is None:
        yield "", np.ones(rows, bool)
        return
    symbols = cells.texts[roles.symbol].astype("str").str.strip().fillna("")
    codes, names = symbols.factorize()
    groups, keys = pd.factorize(np.array([market_key(name) for name in names], object))
    for group in range(len(keys)):
        name = names[int(np.argmax(groups == group))]
        yield (f" ({name})" if name else ""), groups[codes] == group


def _part(bars: FileBars, kept: np.ndarray, market: str, *, alone: bool) -> FileBars:
    """The kept bars as those of a market, where they are all of the file in the same memory."""
    market = market or bars.market
    if kept.all():
        return FileBars(bars.file, market, bars.times, bars.values, bars.rows, bars.lines)
    values = keep_rows(bars.values, kept) if alone else bars.values[kept]
    lines = None if bars.lines is None else bars.lines[kept]
    return FileBars(bars.file, market, bars.times[kept], values, bars.rows[kept], lines)
