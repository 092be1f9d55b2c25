"""Rows of an unfinished store put in order of time, where the user asks for it; of rows of one time, one stays.

Blocks keep their places in the source, by which a store is compared with its data; the rows in their files are others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..settings import Arrangement
from ..sources.blocks import Fault
from ..sources.protocol import Source
from ..sources.statistics import Moments
from ..times import iso_time
from .checked_file import checksum
from .layout import MARKETS, POSITIONS, STATISTICS, TIMESTAMPS, BlockRecord, Column, feature_columns
from .writer import StoreWriter

_COPY_BYTES = 8 << 20


def arrange(writer: StoreWriter, source: Source) -> bool:
    """Rewrite the files of a store, and the records of its blocks, in the order of `source.arrangement`.

    Rows of several markets are always in order of time, so that a split at an instant cuts all of them. Return whether
    anything was rewritten: the rows in the place of a block are then not those that the source has there.
    """
    if not may_rewrite(source.arrangement, writer.markets):
        return False
    times = writer.written(_column(writer, TIMESTAMPS))
    codes = writer.written(_column(writer, MARKETS)) if writer.schema.has_markets else np.zeros(len(times), np.int32)
    if source.arrangement.is_default and (np.diff(times) >= 0).all():
        return False
    order, repeated = arranged(times, source.arrangement, markets=codes)
    if not len(repeated) and (np.diff(order) == 1).all():
        return False
    records = _without(writer, source, repeated, times)
    for column in writer.columns:
        if not column.per_block:
            writer.rewrite(column, _gathered(writer, column, order))
    writer.records = _described(writer, records)
    return True


def may_rewrite(arrangement: Arrangement, markets: Sequence[str]) -> bool:
    """Whether the rows of a store of these markets may have to leave their places in the source."""
    return not arrangement.is_default or len(markets) > 1


def arranged(
    times: np.ndarray, arrangement: Arrangement, *, markets: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that stay, in order of time, and the others that repeat a time, ascending: int64 positions.

    markets: codes of the rows' markets, (rows,); rows of one time are in their order.

    >>> [found.tolist() for found in arranged(np.array([5, 3, 5]), Arrangement(sort=True, duplicates="last"))]
    [[1, 2], [0]]
    """
    codes = np.zeros(len(times), np.int32) if markets is None else markets
    order = np.lexsort((codes, times))
    repeats = (np.diff(times[order]) == 0) & (np.diff(codes[order]) == 0)
    edge = np.ones(1, bool)
    last_stays = arrangement.duplicates == "last"
    stays = np.concatenate([~repeats, edge] if last_stays else [edge, ~repeats]) if len(order) else np.ones(0, bool)
    return order[stays], np.sort(order[~stays])


def _column(writer: StoreWriter, file: str) -> Column:
    return next(column for column in writer.columns if column.file == file)


def _gathered(writer: StoreWriter, column: Column, order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of a column in this order, some megabytes at a time."""
    rows = np.memmap(writer.folder / column.file, column.dtype, "r").reshape(-1, *column.shape)
    some = max(1, _COPY_BYTES // column.stride)
    for start in range(0, len(order), some):
        yield rows[order[start : start + some]]


def _without(writer: StoreWriter, source: Source, repeated: np.ndarray, times: np.ndarray) -> list[BlockRecord]:
    """Return the records with the rows that repeat a time rejected."""
    positions = writer.written(_column(writer, POSITIONS))
    edges = np.cumsum([0, *(record.usable for record in writer.records)])
    found: list[BlockRecord] = []
    file, line = -1, 0
    for record, start, stop in zip(writer.records, edges[:-1], edges[1:], strict=True):
        if record.place.file != file:
            file, line = record.place.file, source.first_line(record.place.file)
        rejected = repeated[(repeated >= start) & (repeated < stop)]
        rows = np.setdiff1d(np.arange(record.rows), [fault.row for fault in record.faults])[rejected - start]
        faults = [
            Fault(row, positions[at, 0] - line, positions[at, 1], "timestamp", "repeated", _detail(times[at]))
            for row, at in zip(rows.tolist(), rejected.tolist(), strict=True)
        ]
        faults = [replace(fault, line=int(fault.line), byte_offset=int(fault.byte_offset)) for fault in faults]
        faults = sorted([*record.faults, *faults], key=lambda fault: fault.row)
        found.append(replace(record, usable=record.usable - len(rejected), faults=faults))
        line += record.lines
    return found


def _detail(time: int) -> str:
    return f"another row of {iso_time(int(time))} is kept"


def _described(writer: StoreWriter, records: Sequence[BlockRecord]) -> list[BlockRecord]:
    """Return the records with checksums, counts and statistics of the rows now in their files; write the latter."""
    features = writer.schema.features
    columns = [column for column in writer.columns if not column.per_block]
    files = {c.file: np.memmap(writer.folder / c.file, c.dtype, "r").reshape(-1, *c.shape) for c in columns}
    names = [column.file for column in feature_columns(writer.schema)]
    found, statistics, start = [], [], 0
    for record in records:
        rows = slice(start, start + record.usable)
        values = [files[name][rows] for name in names]
        moments = [Moments(feature) for feature in features]
        for table, numbers in zip(moments, values, strict=True):
            table.add(numbers)
        statistics.append(np.concatenate([table.numbers() for table in moments]))
        checksums = {column.file: checksum(files[column.file][rows]) for column in columns}
        checksums[STATISTICS] = checksum(statistics[-1].astype("<f8"))
        nonfinite = [int(np.count_nonzero(~np.isfinite(numbers))) for numbers in values]
        found.append(replace(record, checksums=checksums, nonfinite=nonfinite))
        start += record.usable
    writer.rewrite(_column(writer, STATISTICS), iter(statistics))
    return found
