"""Any source to a store, once: read in parallel, written in order, resumed after a kill, published whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError, DiskFullError, SettingsError, interruptible
from ..files import friendly_os_errors, locked_folder, sync_folder
from ..inputs import local_paths, states
from ..memory.budget import ByteBudget
from ..memory.limits import MemoryLimits
from ..settings import Arrangement
from ..sources.blocks import Block, Place
from ..sources.protocol import Source
from ..sources.scan import read_blocks, reading_threads, say_chunk, worker_count
from ..sources.time_order import RECENT, TimeOrder, may_end_ahead
from ..units import as_bytes, count_of, format_bytes
from .arrange import may_rewrite
from .finish import CHECKED, REWRITTEN, finish
from .layout import (
    JOURNAL,
    BlockRecord,
    Manifest,
    all_columns,
    is_complete,
    is_foreign,
)
from .locate import (
    Located,
    find_manifest,
    find_sound,
    is_current,
    is_in_time_order,
    locate,
    note_seen,
    partial_path,
    reading_of,
)
from .origin import other_store, publish, read_origin
from .reader import trim_copy
from .writer import StoreWriter

Sink = Callable[[str], None]
Written = Callable[[Path, Sequence[BlockRecord]], None]


@interruptible()
def compile_store(
    data: str | Path | Located,
    *,
    store: str | Path = "",
    workers: int = 0,
    memory_limit: str | int | MemoryLimits = "",
    chunk_size: int = 10_000,
    max_bad_rows: float = 0.01,
    full_check: bool = False,
    fresh: bool = False,
    horizons: int = 10,
    sort: bool = False,
    duplicates: str = "error",
    cache_limit: str | int = 0,
    executor: Executor | None = None,
    sink: Sink | None = None,
    progress: Callable[[int, int], None] | None = None,
    written: Written | None = None,
) -> Path:
    """Compile data to a store and return its path; if the store holds the data already, nothing is read again.

    Arguments: data, a file, folder or glob, or where `locate` found it; store, where it goes (default: beside the
    data), an address too: it is made here, then published there, and its path is that of the copy here; workers, blocks
    read at once (0: one per processor); memory_limit, such as 512MiB or `MemoryLimits`, bounds the blocks held;
    chunk_size, most rows parsed at once; max_bad_rows, the share of rejected rows above which it stops; sort, take rows
    by time instead of rejecting those out of order; duplicates, which of the rows of one time stays, 'first' or 'last'
    ('error': the first, the others are rejected); cache_limit, most bytes of a published store that stay here (0: all);
    full_check, compare every byte with what the store was made of; fresh, start over; executor, any of
    concurrent.futures to read the blocks (default: threads; a pool of processes should be made with
    initializer=deeptrade.sources.scan.end_with_parent, so that no worker outlives this process); sink takes a line of
    text; progress takes (bytes read, bytes); written takes the folder in which the store is made and the blocks that
    are there, each time there are more.

    After a kill it resumes after the last whole block; of data that was appended to, only the new rows are parsed.
    Equal data gives equal bytes in every file.

    Raises DataError, TooManyBadRowsError, DoesNotFitError for a full disk or a block over the memory limit; ExistsError
    where another store is at the address, unless `fresh`.
    """
    say = sink or (lambda line: None)
    if workers < 0:
        raise SettingsError(f"workers={workers} is not accepted; use at least 0, which means one per processor")
    reading = _Reading(
        workers=workers or worker_count(),
        executor=executor,
        budget=ByteBudget.of_process(MemoryLimits.of(memory_limit)),
        chunk_size=chunk_size,
        progress=progress,
        written=written or (lambda folder, records: None),
    )
    located = locate(data, store=store, horizons=horizons, arrangement=Arrangement(sort, duplicates))
    if located.address is None:
        return _compile(located, reading, max_bad_rows=max_bad_rows, full_check=full_check, fresh=fresh, say=say)
    if not fresh and read_origin(located.store) and not located.is_stored:
        raise other_store(located.address)
    path = _compile(located, reading, max_bad_rows=max_bad_rows, full_check=full_check, fresh=fresh, say=say)
    if read_origin(path) is None:
        say(f"publishing {path.name} to {located.address}")
        publish(path, located.address, replace=fresh)
    if cache_limit:
        trim_copy(path, as_bytes(cache_limit))
    return path


def _compile(
    located: Located, reading: _Reading, *, max_bad_rows: float, full_check: bool, fresh: bool, say: Sink
) -> Path:
    """Make the store here, or find that it is there, and return its path."""
    place = _Place.of(located)

    def is_there() -> bool:
        return located.is_stored and (not full_check or is_current(place.path, located.opened(), full_check=True))

    if not fresh and not place.is_unfinished and is_there():
        say(f"{place.path.name} holds this data already, nothing was changed")  # also where nothing may be written
        return place.path
    with friendly_os_errors(f"making the store {place.path.name}"):
        place.path.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(place.partial, taken=lambda: say(f"waiting: another process is making {place.path.name}")):
        place.restore_old()
        located = located.again()  # it may have changed while this waited, or another process may have made the store
        if fresh:
            place.empty_partial()
        elif is_there():
            (place.path / JOURNAL).unlink(missing_ok=True)
            say(f"{place.path.name} holds this data already, nothing was changed")
            place.empty_partial()
            return place.path
        started = time.perf_counter()
        manifest, kept_blocks = _write(
            place, located.opened(), reading, max_bad_rows=max_bad_rows, fresh=fresh, say=say
        )
        place.publish()
        # Last: a kill before it costs one look at every byte, never a wrong answer.
        note_seen(place.path, manifest.source["content_hash"], located.opened().seen)
    for warning in manifest.warnings:
        say(warning)
    parsed = sum(block.rows for block in manifest.blocks[kept_blocks:])
    say(
        f"{place.path.name}: {count_of(manifest.usable, 'row')} stored, {manifest.rows - manifest.usable:,} rejected; "
        f"{count_of(parsed, 'row')} parsed in {time.perf_counter() - started:.1f} s"
    )
    return place.path


@dataclass(frozen=True)
class _Place:
    """Where a store is made and published: under its own name only when it is whole."""

    path: Path

    @classmethod
    def of(cls, located: Located) -> _Place:
        """The place of the store of some data; DataError where it would take the place of anything but a store."""
        _refuse_place(located.store, local_paths(located.opened().files))
        return cls(located.store.resolve() if located.store.is_symlink() else located.store)  # where the link points

    @property
    def partial(self) -> Path:
        """The folder in which it is made."""
        return partial_path(self.path)

    @property
    def old(self) -> Path:
        """Where the previous store is kept while the new one is renamed."""
        return self.path.with_name(f".{self.path.name}.old")

    @property
    def is_unfinished(self) -> bool:
        """Whether an earlier process has left something to go on with, or to tidy up."""
        return any(left.exists() for left in (self.partial, self.path / JOURNAL, self.old))

    def restore_old(self) -> None:
        """Take the old store back, or remove it: a kill between the two renames of `publish` leaves it there."""
        if self.old.exists():
            if self.path.exists():
                shutil.rmtree(self.old)
            else:
                os.rename(self.old, self.path)

    def empty_partial(self) -> None:
        """Remove what has been made so far."""
        for file in self.partial.iterdir():
            file.unlink()

    def publish(self) -> None:
        """Give the finished folder its name; an existing store stays until the new one replaces it."""
        with friendly_os_errors(f"publishing {self.path.name}"):
            if self.path.exists():
                os.rename(self.path, self.old)
            os.rename(self.partial, self.path)
            sync_folder(self.path.parent)
            (self.path / JOURNAL).unlink()
            shutil.rmtree(self.old, ignore_errors=True)


@dataclass(frozen=True)
class _Reading:
    """How the blocks of a source are read: how many at once, by which executor (None: threads), within which budget."""

    workers: int
    executor: Executor | None
    budget: ByteBudget
    chunk_size: int
    progress: Callable[[int, int], None] | None
    written: Written

    def blocks(self, source: Source, *, after: Place | None) -> Iterator[Block]:
        """Yield the blocks after a place in order, and report progress."""
        with nullcontext(self.executor) if self.executor else reading_threads(self.workers) as pool:
            for block in read_blocks(
                source, pool, budget=self.budget, at_once=self.workers, after=after, chunk_size=self.chunk_size
            ):
                yield block
                if self.progress:
                    self.progress(*source.progress(block.place))


def _write(
    place: _Place, source: Source, reading: _Reading, *, max_bad_rows: float, fresh: bool, say: Sink
) -> tuple[Manifest, int]:
    """Write a whole store to the partial folder, going on with what is there; return its manifest and blocks kept."""
    say_chunk(source, reading.chunk_size, say)
    _check_disk(place.path, source, place.partial)
    with StoreWriter(place.partial, source.schema, reading_of(source) | CHECKED) as writer:
        kept = _usable_blocks(writer, source, None if fresh else place.path, say)
        writer.keep(kept)
        reading.written(place.partial, writer.records)
        file = kept[-1].place.file if kept else 0
        merges = source.arrangement.duplicates != "error"  # then every file has an order of its own
        begin = sum(record.usable for record in kept if record.place.file < file) if merges else 0
        line = source.first_line(file) + sum(record.lines for record in kept if record.place.file == file)
        order = TimeOrder(
            [file.name for file in source.files],
            source.schema.features,
            arrangement=source.arrangement,
            recent=_latest(writer.times_by_market(begin, writer.usable, writer.markets)),
            file=file,
        )
        for block in order.check(reading.blocks(source, after=kept[-1].place if kept else None)):
            if block.place.file != file:
                file, line = block.place.file, source.first_line(block.place.file)
            writer.add(block, first_line=line)
            reading.written(place.partial, writer.records)
            line += block.lines
        manifest = finish(writer, source, max_bad_rows)
    if states(source.watched) != source.seen:
        raise DataError(f"{source.name} has changed while it was read; run again when it is whole")
    return manifest, len(kept)


def _usable_blocks(writer: StoreWriter, source: Source, old: Path | None, say: Sink) -> list[BlockRecord]:
    """The blocks that exist already: from an unfinished compile, or from the store of an earlier state of the data."""
    records = writer.journaled()
    manifest = None if records or old is None else find_manifest(old)
    if manifest and old and _may_be_kept(old, manifest, source):
        records = list(manifest.blocks)
        for column in writer.columns:
            with friendly_os_errors(f"copying {column.file}"):
                shutil.copyfile(old / column.file, writer.folder / column.file)
    kept = find_sound(source, list(writer.sound_blocks(records)))
    if kept and _may_end_ahead(writer, kept):
        kept.pop()
    if kept:
        done = "1 block is" if len(kept) == 1 else f"{len(kept)} blocks are"
        say(f"resuming after row {sum(record.rows for record in kept)}: {done} done")
    return kept


def _may_be_kept(old: Path, manifest: Manifest, source: Source) -> bool:
    """Whether the blocks of a store were made as those of this source would be."""
    return (
        manifest.source["reading"] == reading_of(source)
        and is_complete(old, manifest)
        and is_in_time_order(old, manifest)
        and not manifest.source.get(REWRITTEN, may_rewrite(source.arrangement, manifest.blocks.markets))
    )


def _may_end_ahead(writer: StoreWriter, kept: Sequence[BlockRecord]) -> bool:
    """Whether rows that have been appended may tell that the last rows of these blocks are outliers."""
    stop = sum(record.usable for record in kept)
    start = stop - kept[-1].usable
    markets = [name for record in kept for name in record.markets]
    before = writer.times_by_market(0, start, markets)
    return any(
        may_end_ahead(times, before.get(market, times[:0]))
        for market, times in writer.times_by_market(start, stop, markets).items()
    )


def _latest(times: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {market: of_market[-RECENT:] for market, of_market in times.items()}


def _check_disk(path: Path, source: Source, partial: Path) -> None:
    """Refuse, before the first byte is written, what the disk cannot hold."""
    needed = source.estimate_rows() * sum(c.stride for c in all_columns(source.schema) if not c.per_block)
    held = sum(file.stat().st_size for file in partial.iterdir())
    with friendly_os_errors(f"looking at the disk of {path.name}"):
        free = shutil.disk_usage(path.parent).free
    if needed - held > free:
        raise DiskFullError(
            f"the store of {source.name} needs about {format_bytes(needed)} of disk, {format_bytes(free)} are free at "
            f"{path.parent}; free some space, or choose another place with --store"
        )


def _refuse_place(path: Path, sources: Sequence[Path]) -> None:
    """Raise DataError where a store at `path` would take the place of the data, or of anything but a store."""
    for source in sources:
        if path.resolve() == source.resolve() or path.resolve() in source.resolve().parents:
            raise DataError(f"a store at {path} would take the place of the data; choose another place with --store")
    if is_foreign(path):
        raise DataError(f"{path} holds something that is not a store; choose another place with --store")
