"""Any source to a store, once: read in parallel, written in order, continued after a kill, published whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError, DoesNotFitError, SettingsError
from ..files import atomic_write, friendly_os_errors, locked_folder, sync_folder, write_json
from ..memory.budget import ByteBudget
from ..sources.identity import look
from ..sources.kinds import open_source
from ..sources.scan import read_blocks, reading_threads, say_chunk, worker_count
from ..sources.schema import Schema
from ..units import format_bytes, parse_bytes
from .layout import (
    JOURNAL,
    LEDGER,
    MANIFEST,
    TIMESTAMPS,
    BlockRecord,
    BlockTable,
    Manifest,
    all_columns,
    derived_columns,
    is_complete,
    is_foreign,
    ledger_entries,
)
from .ledger import ledger_text
from .locate import find_manifest, find_sound, is_current, is_store, note_seen, partial_path, reading_of, store_path
from .reader import checksum
from .summary import BlockSummary, Summary, find_warnings, refuse_too_many, source_notes
from .targets import make_targets
from .writer import StoreWriter

Sink = Callable[[str], None]


def compile_store(
    data: str | Path,
    *,
    store: str | Path = "",
    workers: int = 0,
    memory_limit: str = "",
    chunk_size: int = 10_000,
    max_bad_rows: float = 0.01,
    full_check: bool = False,
    fresh: bool = False,
    horizons: int = 10,
    executor: Executor | None = None,
    sink: Sink | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Compile data to a store and return its path; where the store holds the data already, nothing is read again.

    Arguments: data, a file, folder or glob; store, where it goes (default: beside the data); workers, blocks read at
    once (0: one per processor); memory_limit, such as 512MiB, bounds the blocks held; chunk_size, most rows parsed at
    once; max_bad_rows, the share of rejected rows above which it stops; full_check, compare every byte with what the
    store was made of; fresh, start over; executor, any of concurrent.futures to read the blocks (default: threads; give
    a pool of processes initializer=deeptrade.sources.scan.end_with_parent: none outlives this one then); sink takes a
    line of text; progress takes (bytes read, bytes).

    After a kill it goes on behind the last whole block; rows appended to the data are all that is parsed then. Equal
    data gives equal bytes in every file.

    Raises DataError, TooManyBadRowsError, DoesNotFitError for a full disk or a block over the memory limit.
    """
    say = sink or (lambda line: None)
    if workers < 0:
        raise SettingsError(f"workers={workers} is not accepted; use at least 0, which means one per processor")
    if is_store(data):
        raise DataError(f"{data} is a store already; give the data it was made of, or verify it")
    path = store_path(data, store)
    source = open_source(data, horizons=horizons)
    _refuse_place(path, source.paths)
    if path.is_symlink():  # the store goes where the link points
        path = path.resolve()
    partial = partial_path(path)
    unfinished = any(left.exists() for left in (partial, path / JOURNAL, _old_path(path)))
    if not fresh and not unfinished and is_current(path, source, full_check=full_check):
        say(f"{path.name} holds this data already, nothing was changed")  # also where nothing may be written
        return path
    with friendly_os_errors(f"making the store {path.name}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(partial, taken=lambda: say(f"waiting: another process is making {path.name}")):
        _restore_old(path)
        source = open_source(data, horizons=horizons)  # the data may have changed while this waited
        if fresh:
            _empty(partial)
        elif is_current(path, source, full_check=full_check):
            (path / JOURNAL).unlink(missing_ok=True)
            say(f"{path.name} holds this data already, nothing was changed")
            _empty(partial)
            return path
        budget = ByteBudget.of_process(parse_bytes(memory_limit) if memory_limit else 0)
        started = time.perf_counter()
        say_chunk(source, chunk_size, say)
        _check_disk(path, source, partial)
        with StoreWriter(partial, source.schema, reading_of(source)) as writer:
            kept = _usable_blocks(writer, source, path if not fresh else None, say)
            writer.keep(kept)
            file = kept[-1].place.file if kept else 0
            line = source.first_line(file) + sum(record.lines for record in kept if record.place.file == file)
            with nullcontext(executor) if executor else reading_threads(workers) as pool:
                at_once = workers or worker_count()
                for block in read_blocks(
                    source,
                    pool,
                    budget=budget,
                    at_once=at_once,
                    after=kept[-1].place if kept else None,
                    chunk_size=chunk_size,
                ):
                    if block.place.file != file:
                        file, line = block.place.file, source.first_line(block.place.file)
                    writer.add(block, first_line=line)
                    line += block.lines
                    if progress:
                        progress(*source.progress(block.place))
            manifest = _finish(writer, source, max_bad_rows)
        if look(source.paths) != source.seen:
            raise DataError(f"{source.name} has changed while it was read; run again when it is whole")
        _publish(partial, path)
        # Last: a kill before it costs one look at every byte, never a wrong answer.
        note_seen(path, manifest.source["content_hash"], source.seen)
    seconds = time.perf_counter() - started
    parsed = sum(block.rows for block in manifest.blocks[len(kept) :])
    for warning in manifest.warnings:
        say(warning)
    say(
        f"{path.name}: {manifest.usable} rows stored, {manifest.rows - manifest.usable} rejected; "
        f"{parsed} rows parsed in {seconds:.1f} s"
    )
    return path


def _usable_blocks(writer: StoreWriter, source: Any, old: Path | None, say: Sink) -> list[BlockRecord]:
    """The blocks that are there already: from a compile that was ended, or from the store of an earlier state."""
    records = writer.journaled()
    manifest = None if records or old is None else find_manifest(old)
    if manifest and manifest.source["reading"] == reading_of(source) and is_complete(old, manifest):  # type: ignore[arg-type]
        records = list(manifest.blocks)
        for column in writer.columns:
            with friendly_os_errors(f"copying {column.file}"):
                shutil.copyfile(old / column.file, writer.folder / column.file)  # type: ignore[operator]
    kept = find_sound(source, list(writer.sound_blocks(records)))
    if kept:
        say(f"going on behind row {sum(record.rows for record in kept)}, {len(kept)} blocks are there")
    return kept


def _check_disk(path: Path, source: Any, partial: Path) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    needed = source.estimate_rows() * sum(c.stride for c in all_columns(source.schema) if not c.per_block)
    held = sum(file.stat().st_size for file in partial.iterdir())
    with friendly_os_errors(f"looking at the disk of {path.name}"):
        free = shutil.disk_usage(path.parent).free
    if needed - held > free:
        raise DoesNotFitError(
            f"the store of {source.name} needs about {format_bytes(needed)} of disk, {format_bytes(free)} are free at "
            f"{path.parent}; free some space, or choose another place with --store"
        )


def _finish(writer: StoreWriter, source: Any, max_bad_rows: float) -> Manifest:
    """Write what follows from all blocks together: derived targets, the ledger, the manifest."""
    schema, records = writer.schema, writer.records
    ledger = list(ledger_entries(records, first_line=source.first_line(0), files=len(source.paths)))
    rows = sum(record.rows for record in records)
    if not rows:
        raise DataError(f"{source.name} has a header but no rows")
    refuse_too_many(ledger, rows, max_bad_rows)
    summary = Summary(source.name, source.file_bytes, "", schema, rows=rows, ledger=ledger)
    summary.blocks = [
        BlockSummary(record.rows, record.usable, dict(zip(schema.names, record.nonfinite, strict=True)), {})
        for record in records
    ]
    targets = _write_targets(writer, summary)
    timestamps = writer.written(next(column for column in writer.columns if column.file == TIMESTAMPS))
    content = ledger_text(ledger).encode()
    with atomic_write(writer.folder / LEDGER) as file:
        file.write(content)
    hashes = [[record.place.file, record.place.start, record.place.stop, record.source_hash] for record in records]
    manifest = Manifest(
        schema,
        {
            "kind": source.kind,
            "reading": reading_of(source),
            "data_id": source.content_id(),
            "former_data_ids": list(source.former_content_ids()),
            "content_hash": "xxh3:" + xxhash.xxh3_128_hexdigest(repr(hashes).encode()),
            "file_bytes": source.file_bytes,
            "file_sizes": [size for size, _ in source.seen],
            "ledger_checksum": xxhash.xxh3_64_hexdigest(content),
        },
        BlockTable.of(records),
        find_warnings(summary, timestamps, targets, notes=source_notes(source)),
    )
    write_json(writer.folder / MANIFEST, manifest.to_json())
    writer.sync()
    return manifest


def _write_targets(writer: StoreWriter, summary: Summary) -> np.ndarray:
    """Return the targets of all usable rows; where they come from prices, write them and their checksums first."""
    schema, records = writer.schema, writer.records
    numbers = writer.written(_number_column(writer, schema))
    targets = make_targets(schema, numbers, summary.usable)
    for column in derived_columns(schema):
        with atomic_write(writer.folder / column.file) as file:
            file.write(np.ascontiguousarray(targets, column.dtype).data)
        start = 0
        for record in records:
            record.checksums[column.file] = checksum(targets[start : start + record.usable])
            start += record.usable
    return targets


def _number_column(writer: StoreWriter, schema: Schema) -> Any:
    return writer.columns[len(schema.features)]


def _refuse_place(path: Path, sources: Sequence[Path]) -> None:
    """Raise DataError where a store at `path` would take the place of the data, or of anything but a store."""
    for source in sources:
        if path.resolve() == source.resolve() or path.resolve() in source.resolve().parents:
            raise DataError(f"a store at {path} would take the place of the data; choose another place with --store")
    if is_foreign(path):
        raise DataError(f"{path} holds what is no store; choose another place with --store")


def _publish(partial: Path, path: Path) -> None:
    """Give the finished folder its name; a store that has the name already is there until the new one is."""
    old = _old_path(path)
    with friendly_os_errors(f"publishing {path.name}"):
        if path.exists():
            os.rename(path, old)
        os.rename(partial, path)
        sync_folder(path.parent)
        (path / JOURNAL).unlink()
        shutil.rmtree(old, ignore_errors=True)


def _old_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _restore_old(path: Path) -> None:
    """A kill between two renames of `_publish` leaves the old store under a name of its own: take it back, or away."""
    old = _old_path(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
