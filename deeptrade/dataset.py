"""A checked dataset: every row has been parsed once, and what is wrong with any of them is in the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DataError, DoesNotFitError
from .ledger import LedgerEntry
from .order import Split, chronological_split
from .schema import Schema
from .sources import open_source
from .sources.csv import CsvSource, Parsed
from .sources.diagnosis import RowFault, read_timestamp
from .statistics import FeatureStatistics, Moments, merge_all
from .units import format_bytes

BLOCK_ROWS = 256
"""Rows per block of statistics and unit of parallel work: 6.6 MiB of float32 in the original's layout."""

_PARSE_BYTES = 16 << 20
_NO_TIME = np.iinfo(np.int64).min


class TooManyBadRowsError(DataError):
    """More rows are rejected than max_bad_rows allows; `ledger` names them all."""

    def __init__(self, line: str, ledger: list[LedgerEntry]):
        super().__init__(line)
        self.ledger = ledger


class Dataset:
    """Rows of one data file (or several in time order), numbered from 0 in file order; use as a context manager.

    name, file_bytes: of the data. schema: what a row holds. data_id: 'sha256:...' of the content. rows: in the file.
    timestamps: int64 (rows,), ns UTC. targets: float32 (rows, horizons), NaN where missing. usable: bool (rows,),
    False where the row is rejected. ledger: the rejected rows. nonfinite: NaN or infinite numbers by feature, in
    usable rows. warnings: one line each.
    """

    def __init__(self, source: CsvSource, *, data_id: str, sink: Callable[[str], None]):
        self._source, self._sink = source, sink
        self.name, self.file_bytes, self.data_id = source.name, source.file_bytes, data_id
        self.schema: Schema = source.schema
        self.rows = source.rows
        self.timestamps = np.full(self.rows, _NO_TIME, np.int64)
        self.targets = np.full((self.rows, self.schema.horizons), np.nan, np.float32)
        self.usable = np.ones(self.rows, bool)
        self.ledger: list[LedgerEntry] = []
        self.nonfinite = dict.fromkeys(self.schema.names, 0)
        self.warnings: list[str] = []
        self._blocks: list[dict[str, Moments]] = []
        self._loaded: dict[str, np.ndarray] | None = None

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back maps, files and loaded rows."""
        self._loaded = None
        self._source.close()

    def locate(self, row: int) -> tuple[int, int]:
        """Return (line from 1, byte offset) of a row in its file."""
        return self._source.locate(row)

    def entry(self, row: int, column: str, reason: str, detail: str) -> LedgerEntry:
        """Return a ledger entry for a row."""
        return LedgerEntry(row, *self.locate(row), column, reason, detail)

    def read(self, row_ids: np.ndarray, features: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return float32 (len(row_ids), *shape) by feature name, fresh arrays; safe from several threads.

        Raises DataError for a row that is rejected or has changed since it was checked.
        """
        chosen = self.schema.select(features).features
        rows = np.asarray(row_ids, np.int64)
        if not self.usable[rows].all():
            bad = rows[~self.usable[rows]][0]
            raise DataError(f"row {bad} is rejected; see the ledger, and read usable rows only")
        if self._loaded is not None:
            return {feature.name: self._loaded[feature.name][rows] for feature in chosen}
        parsed = self._source.parse(rows, chosen)
        for position, fault in parsed.faults.items():
            raise DataError(f"row {rows[position]} cannot be read any more ({fault}); has the file changed?")
        return parsed.features

    def split(self, val_ratio: float) -> Split:
        """Return the chronological split with a purge gap of `horizons` rows on each side of its boundary."""
        return chronological_split(self.usable, val_ratio=val_ratio, horizons=self.schema.horizons)

    def statistics(self, row_ids: np.ndarray, features: Sequence[str] | None = None) -> dict[str, FeatureStatistics]:
        """Return the statistics over exactly these rows (ascending), from whole blocks and re-read part blocks."""
        chosen = self.schema.select(features).features
        wanted = np.zeros(self.rows, bool)
        wanted[row_ids] = True
        parts: dict[str, list[Moments]] = {feature.name: [] for feature in chosen}
        for number, whole in enumerate(self._blocks):
            block = slice(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
            here = np.flatnonzero(wanted[block]) + block.start
            if not len(here):
                continue
            if np.array_equal(wanted[block], self.usable[block]):
                block_moments = whole
            else:
                block_moments = {feature.name: Moments(feature) for feature in chosen}
                values = self.read(here, [feature.name for feature in chosen])
                for name, moments in block_moments.items():
                    moments.add(values[name])
            for name, list_of_parts in parts.items():
                list_of_parts.append(block_moments[name])
        return {feature.name: merge_all(feature, parts[feature.name]) for feature in chosen}

    def load(self, *, limit_bytes: int) -> None:
        """Read all rows into memory.

        Raises DoesNotFitError with the needed and the available bytes when they do not fit.
        """
        needed = self.rows * self.schema.row_bytes
        if needed > limit_bytes:
            raise DoesNotFitError(
                f"no_lazy_loading needs {format_bytes(needed)} for {self.rows} rows, {format_bytes(limit_bytes)} "
                f"are available; leave it out, or use fewer rows with max_rows"
            )
        loaded = {f.name: np.zeros((self.rows, *f.shape), np.float32) for f in self.schema.features}
        for start in range(0, self.rows, BLOCK_ROWS):
            rows = np.flatnonzero(self.usable[start : start + BLOCK_ROWS]) + start
            for name, values in self.read(rows).items():
                loaded[name][rows] = values
        self._loaded = loaded


def open_dataset(
    data: str | Path,
    *,
    max_bad_rows: float = 0.01,
    max_rows: int = 0,
    chunk_size: int = 10_000,
    horizons: int = 10,
    use_mmap: bool = True,
    load_all: bool = False,
    memory_limit: int = 0,
    sink: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open data and check every row of it once, on all cores.

    Arguments: data, a CSV file, or a folder or glob of them; max_bad_rows, the share of rejected rows above which
    it stops; max_rows, use only the first (0: all); chunk_size, most rows parsed at once; horizons, targets
    computed where the data holds a price only; load_all, keep all rows in memory, within memory_limit bytes;
    sink takes a line of text; progress takes (rows checked, rows).

    Raises DataError when the data is missing or is not DeepTrade data, TooManyBadRowsError, DoesNotFitError.
    """
    source = open_source(data, use_mmap=use_mmap, horizons=horizons)
    try:
        source.index(max_rows=max_rows)
        dataset = Dataset(source, data_id=source.content_id(), sink=sink or (lambda line: None))
        _check(dataset, chunk_size=chunk_size, progress=progress)
        _refuse_too_many(dataset, max_bad_rows)
        if load_all:
            dataset.load(limit_bytes=memory_limit or _available_bytes())
    except BaseException:
        source.close()
        raise
    return dataset


def _available_bytes() -> int:
    from .memory.limits import memory_limit

    return memory_limit().available_bytes


@dataclass(frozen=True)
class _CheckedBlock:
    """What one block of rows told: per row its number columns, time and fault; moments over its usable rows."""

    start: int
    numbers: np.ndarray
    timestamps: np.ndarray
    faults: dict[int, RowFault]
    nonfinite: np.ndarray
    moments: dict[str, Moments]


def _check(dataset: Dataset, *, chunk_size: int, progress: Callable[[int, int], None] | None) -> None:
    chunk = max(1, min(chunk_size, BLOCK_ROWS, _PARSE_BYTES // dataset.schema.row_bytes))
    if chunk < min(chunk_size, dataset.rows):
        dataset._sink(
            f"chunk_size={chunk_size} lowered to {chunk} rows ({format_bytes(chunk * dataset.schema.row_bytes)}): "
            f"rows are checked in blocks of at most {BLOCK_ROWS} rows and {format_bytes(_PARSE_BYTES)}"
        )
    prices = np.full(dataset.rows, np.nan, np.float32)
    for block in _in_parallel(dataset, chunk):
        rows = slice(block.start, block.start + len(block.timestamps))
        dataset.timestamps[rows] = block.timestamps
        if dataset.schema.target_source == "price":
            prices[rows] = block.numbers[:, 0]
        else:
            dataset.targets[rows] = np.where(np.isfinite(block.numbers), block.numbers, np.nan)
        for position, fault in sorted(block.faults.items()):
            row = block.start + position
            dataset.usable[row] = False
            dataset.ledger.append(dataset.entry(row, fault.column, fault.reason, fault.detail))
        for name, count in zip(dataset.schema.names, block.nonfinite, strict=True):
            dataset.nonfinite[name] += int(count)
        dataset._blocks.append(block.moments)
        if progress:
            progress(rows.stop, dataset.rows)
    if dataset.schema.target_source == "price":
        dataset.targets[:] = returns_ahead(prices, dataset.schema.horizons)
    dataset.targets[~dataset.usable] = np.nan
    dataset.warnings.extend(_warnings(dataset))


def _in_parallel(dataset: Dataset, chunk: int) -> Iterator[_CheckedBlock]:
    """Blocks in file order, checked by one thread per core with one block of read-ahead each."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    starts = iter(range(0, dataset.rows, BLOCK_ROWS))
    with ThreadPoolExecutor(workers, thread_name_prefix="deeptrade-check") as pool:
        waiting: list[Future[_CheckedBlock]] = []
        try:
            for start in starts:
                waiting.append(pool.submit(_check_block, dataset, start, chunk))
                if len(waiting) > workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _check_block(dataset: Dataset, start: int, chunk: int) -> _CheckedBlock:
    features = dataset.schema.features
    stop = min(start + BLOCK_ROWS, dataset.rows)
    moments = {feature.name: Moments(feature) for feature in features}
    numbers, timestamps, faults = [], np.full(stop - start, _NO_TIME, np.int64), {}
    nonfinite = np.zeros(len(features), np.int64)
    for first in range(start, stop, chunk):
        rows = np.arange(first, min(first + chunk, stop))
        parsed = dataset._source.parse(rows, features, timestamps=True)
        chunk_faults = dict(parsed.faults)
        for position, text in enumerate(parsed.timestamps):
            fault = chunk_faults.get(position) or _empty_feature(parsed, position, dataset.schema)
            try:
                if fault:
                    raise fault
                timestamps[first - start + position] = read_timestamp(text)
            except RowFault as found:
                chunk_faults[position] = found
        good = np.ones(len(rows), bool)
        good[list(chunk_faults)] = False
        for name, table in moments.items():
            table.add(parsed.features[name] if good.all() else parsed.features[name][good])
        nonfinite += parsed.non_finite[good].sum(axis=0)
        numbers.append(parsed.numbers)
        faults.update({first - start + position: fault for position, fault in chunk_faults.items()})
    return _CheckedBlock(start, np.concatenate(numbers), timestamps, faults, nonfinite, moments)


def _empty_feature(parsed: Parsed, position: int, schema: Schema) -> RowFault | None:
    """A fault when a feature of the row holds not one finite number."""
    for feature, count in zip(schema.features, parsed.non_finite[position], strict=True):
        if count == feature.size:
            return RowFault("non_finite", feature.name, f"all {feature.size} numbers are NaN or infinite")
    return None


def returns_ahead(prices: np.ndarray, horizons: int) -> np.ndarray:
    """Return y[t, i-1] = price[t+i] / price[t] - 1 clamped to [-1, 1], float32 (rows, horizons).

    NaN where one of the two prices is missing or not above zero, and at the end.
    """
    prices = np.where(prices > 0, prices, np.nan).astype(np.float64)
    ahead = np.full((len(prices), horizons), np.nan)
    for step in range(1, min(horizons, len(prices) - 1) + 1):
        ahead[:-step, step - 1] = prices[step:] / prices[:-step] - 1
    return np.clip(ahead, -1, 1).astype(np.float32)


def _refuse_too_many(dataset: Dataset, max_bad_rows: float) -> None:
    rejected = len(dataset.ledger)
    if rejected > max_bad_rows * dataset.rows or rejected == dataset.rows:
        first = dataset.ledger[0]
        raise TooManyBadRowsError(
            f"{rejected} of {dataset.rows} rows are rejected, max_bad_rows={max_bad_rows:g} allows "
            f"{int(max_bad_rows * dataset.rows)}; first: line {first.line}, column {first.column!r}, "
            f"{first.reason}: {first.detail}; mend the file or raise --max_bad_rows",
            dataset.ledger,
        )


def _warnings(dataset: Dataset) -> Iterator[str]:
    source = dataset._source
    if source.unused_columns:
        yield f"{len(source.unused_columns)} columns are not used: {', '.join(source.unused_columns)[:200]}"
    times = dataset.timestamps[dataset.usable]
    rows = np.flatnonzero(dataset.usable)
    for step, word in (
        (np.diff(times) < 0, "go back in time"),
        (np.diff(times) == 0, "repeat the one before"),
    ):
        if step.any():
            yield f"{int(step.sum())} timestamps {word}, first at row {rows[1:][step][0]}; their rows are kept"
    missing = np.isnan(dataset.targets[dataset.usable]).sum()
    if missing:
        yield f"{int(missing)} targets are missing; they are masked in the loss"
    for name, count in dataset.nonfinite.items():
        if count:
            yield f"{count} numbers of {name!r} are NaN or infinite; the model sees the training mean there"
    if not source.ends_with_line_break():
        yield "the file does not end with a line break; its last line may be cut off"
