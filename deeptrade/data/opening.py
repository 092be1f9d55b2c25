"""Data of any kind as a checked dataset: from its store, or straight from CSV text where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ..errors import DataError, interruptible
from ..memory.budget import ByteBudget
from ..memory.limits import MemoryLimits
from ..settings import AS_THEY_COME, Arrangement, check_settings, limited
from ..sources.blocks import fault_detail
from ..sources.csv import CsvSource
from ..sources.csv_rows import CsvRows
from ..sources.scan import read_blocks, reading_threads, say_chunk, worker_count
from ..sources.schema import Schema
from ..sources.time_order import TimeOrder
from ..store import Located, compile_store, local_store, locate, read_store
from ..store.ledger import LedgerEntry
from ..store.summary import BlockSummary, Summary, find_warnings, refuse_too_many, source_notes
from ..store.targets import make_targets
from ..units import as_bytes
from .dataset import Dataset


@dataclass(frozen=True)
class _Reading:
    """The numeric arguments of `open_dataset`, with the limits that `fit` has for them."""

    max_rows: int = limited("max_rows")
    chunk_size: int = limited("chunk_size")
    max_bad_rows: float = limited("max_bad_rows")


@interruptible()
def open_dataset(
    data: str | Path | Located,
    *,
    store: str | Path = "",
    compiled: bool = False,
    max_bad_rows: float = 0.01,
    max_rows: int = 0,
    chunk_size: int = 10_000,
    horizons: int = 10,
    sort: bool = False,
    duplicates: str = "error",
    needs_targets: bool = True,
    use_mmap: bool = True,
    load_all: bool = False,
    memory_limit: int | MemoryLimits = 0,
    cache_limit: str | int = 0,
    sink: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open data whose every row has been checked.

    If a store holds the data, it is read; with `compiled` one is made first, unless max_rows asks for a part only.
    Otherwise the CSV text itself is checked and read, and a line says so.

    Arguments: data, a store, what `open_source` takes, or where `locate` found it; store, where its store lies
    (default: beside it); max_bad_rows, the share of rejected rows above which it stops; max_rows, use only the first
    (0: all); chunk_size, most rows parsed at once; horizons, targets computed where the data holds a price only; sort
    and duplicates, as `compile_store` has them; needs_targets off accepts data to forecast, which has none; use_mmap
    off reads plainly; load_all, keep all rows in memory; memory_limit in bytes or as `MemoryLimits`, for the process
    (0: what is available); cache_limit, most bytes kept here of a store at an address (0: all); sink takes a line of
    text; progress takes (bytes read, bytes).

    Raises DataError when the data is missing or is not DeepTrade data, TooManyBadRowsError, DoesNotFitError.
    """
    check_settings(_Reading(max_rows, chunk_size, max_bad_rows))
    located = locate(
        data,
        store=store,
        horizons=horizons,
        arrangement=Arrangement(sort, duplicates),
        needs_targets=needs_targets,
    )
    limits = MemoryLimits.of(memory_limit)
    source, stored = located.source, located.is_stored
    needs_store = source and (
        not source.seekable
        or not source.arrangement.is_default
        or source.schema.has_markets
        or (compiled and not max_rows)
    )
    if needs_store and not stored:
        compile_store(
            located,
            max_bad_rows=max_bad_rows,
            chunk_size=chunk_size,
            memory_limit=limits,
            cache_limit=cache_limit,
            sink=sink,
            progress=progress,
        )
        stored = True
    if stored:
        dataset = _opened(located.store, use_mmap=use_mmap, limits=limits, cache_limit=cache_limit)
    else:
        dataset = read_directly(
            cast(CsvSource, source),  # all other data is in a store by now
            max_rows=max_rows,
            chunk_size=chunk_size,
            use_mmap=use_mmap,
            limits=limits,
            sink=sink or (lambda line: None),
            progress=progress,
        )
    try:
        if max_rows:
            dataset = dataset.first(max_rows)
        refuse_too_many(dataset.bad_rows, dataset.rows, max_bad_rows)
        if load_all:
            dataset.load()
    except BaseException:
        dataset.close()
        raise
    return dataset


def open_store(
    path: str | Path, *, use_mmap: bool = True, memory_limit: int | MemoryLimits = 0, cache_limit: str | int = 0
) -> Dataset:
    """Open a compiled store, at a path or an address; reading it needs no TensorFlow and no text.

    use_mmap off reads with plain reads, for file systems that cannot map; memory_limit in bytes bounds what readers
    hold (0: what is available), cache_limit what is kept here of a store at an address (0: all).
    Raises DataError where there is no store, or a file of it is not as long as it must be.
    """
    limits = MemoryLimits.of(memory_limit)
    return _opened(local_store(path), use_mmap=use_mmap, limits=limits, cache_limit=cache_limit)


def _opened(path: Path, *, use_mmap: bool, limits: MemoryLimits, cache_limit: str | int) -> Dataset:
    budget = ByteBudget.of_process(limits)
    summary, rows = read_store(path, use_mmap=use_mmap, cache_limit=as_bytes(cache_limit))
    try:
        rows.book(budget)
    except BaseException:
        rows.close()
        raise
    return Dataset(summary, rows, budget)


@dataclass(frozen=True)
class Head:
    """What is known of data before any row is read; `rows` is an estimate unless a store holds the data.

    content_hash: '' where no store holds the data. former_data_ids: what earlier versions called the same content.
    markets: how many there are, or _ASSUMED_MARKETS where rows name some and no store has counted them.
    """

    schema: Schema
    data_id: str
    content_hash: str
    file_bytes: int
    rows: int
    former_data_ids: tuple[str, ...] = ()
    markets: int = 1


_ASSUMED_MARKETS = 20


def look_at(
    data: str | Path | Located,
    *,
    store: str | Path = "",
    horizons: int = 10,
    arrangement: Arrangement = AS_THEY_COME,
) -> Head:
    """Return what the data holds, from its first rows or from its store; DataError where it is no data."""
    located = locate(data, store=store, horizons=horizons, arrangement=arrangement)
    if located.manifest is not None:
        manifest, known = located.manifest, located.manifest.source
        return Head(
            manifest.schema,
            known["data_id"],
            known["content_hash"],
            known["file_bytes"],
            manifest.rows,
            manifest.former_data_ids,
            max(1, len(manifest.blocks.markets)),
        )
    source = located.opened()
    former = source.former_content_ids()
    markets = _ASSUMED_MARKETS if source.schema.has_markets else 1
    return Head(source.schema, source.content_id(), "", source.file_bytes, source.estimate_rows(), former, markets)


def read_directly(
    source: CsvSource,
    *,
    max_rows: int = 0,
    chunk_size: int = 10_000,
    use_mmap: bool = True,
    limits: MemoryLimits | None = None,
    sink: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Check CSV text (the first `max_rows` rows, or all) on all cores and return its rows as they lie in the text."""
    sink(f"{source.name} has no store: rows are read from its text; deeptrade compile makes every later read faster")
    say_chunk(source, chunk_size, sink)
    summary = Summary(source.name, source.file_bytes, source.content_id(), source.schema)
    summary.former_data_ids = source.former_content_ids()
    summaries: list[BlockSummary] = []
    numbers, times, lines = [], [], [0] * len(source.files)
    rows, budget = CsvRows(source, use_mmap=use_mmap), ByteBudget.of_process(limits)
    try:
        with reading_threads() as pool:
            blocks = read_blocks(source, pool, budget=budget, at_once=worker_count() + 1, chunk_size=chunk_size)
            for block in TimeOrder([file.name for file in source.files], source.schema.features).check(blocks):
                file = block.place.file
                first_line = source.first_line(file) + lines[file]
                lines[file] += block.lines
                for fault in block.faults:
                    place = summary.rows + fault.row, first_line + fault.line, fault.byte_offset
                    detail = fault_detail(fault, file, len(source.files))
                    summary.ledger.append(LedgerEntry(*place, fault.column, fault.reason, detail))
                summary.rows += block.rows
                summaries.append(BlockSummary(block.rows, block.usable, block.nonfinite, block.moments))
                numbers.append(block.numbers)
                times.append(block.timestamps)
                rows.add(block, first_line=first_line)
                if progress:
                    progress(*source.progress(block.place))
                if max_rows and summary.rows >= max_rows:
                    break
        if not summary.rows:
            raise DataError(f"{source.name} has a header but no rows")
        summary.blocks = summaries
        timestamps = np.concatenate(times)
        targets = make_targets(source.schema, np.concatenate(numbers), timestamps, summary.places())
        rows.finish(timestamps, targets)
        summary.warnings = find_warnings(summary, timestamps, targets, notes=source_notes(source))
    except BaseException:
        rows.close()
        raise
    return Dataset(summary, rows, budget)
