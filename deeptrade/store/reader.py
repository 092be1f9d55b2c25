"""An opened store: rows gathered from mapped files (or read plainly), every block checked on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError
from ..files import friendly_os_errors
from ..memory.budget import ByteBudget, Lease
from ..settings import Arrangement
from ..sources.protocol import Source
from ..sources.remote.files import AT_ONCE, PART_BYTES
from ..sources.schema import Feature, Schema
from ..sources.statistics import Moments
from .cache import Cache, CachedFile
from .checked_file import CheckedFile
from .layout import (
    ENDING,
    LEDGER,
    MARKETS,
    POSITIONS,
    STATISTICS,
    TARGETS,
    TIMESTAMPS,
    BlockRecord,
    BlockTable,
    Manifest,
    all_columns,
    feature_columns,
    ledger_entries,
    read_manifest,
)
from .ledger import LedgerEntry, read_ledger
from .origin import local_store, read_origin
from .summary import BlockSummary, Summary


def read_store(path: Path, *, use_mmap: bool = True, cache_limit: int = 0) -> tuple[Summary, StoreRows]:
    """Return the summary in a store's manifest and ledger, and its rows, which the caller closes.

    With use_mmap off, files are read plainly. cache_limit: most bytes that the copy of a store at an address takes here
    (0: all of it). Raises DataError if the folder is not a store, or a file of it has the
    wrong length.
    """
    manifest = read_manifest(path)
    rows = StoreRows(path, manifest, use_mmap=use_mmap, cache_limit=cache_limit)
    try:
        summary = Summary(
            name=path.resolve().name.removesuffix(ENDING),
            file_bytes=manifest.source["file_bytes"],
            data_id=manifest.source["data_id"],
            content_hash=manifest.source["content_hash"],
            former_data_ids=manifest.former_data_ids,
            schema=manifest.schema,
            markets=manifest.blocks.markets,
            arrangement=Arrangement(**manifest.source["reading"].get("arrangement", {})),
            rows=manifest.rows,
            ledger=_ledger(path, manifest),
            blocks=_BlockSummaries(manifest, rows),
            warnings=manifest.warnings,
        )
    except BaseException:
        rows.close()
        raise
    return summary, rows


def read_unfinished(
    folder: Path, source: Source, records: Sequence[BlockRecord], *, use_mmap: bool = True
) -> tuple[Summary, StoreRows]:
    """Return the summary and the rows of the first blocks of a store that is being made, as `read_store` does.

    Its targets must be in columns: those from prices are made at the end. content_hash is '', there are no warnings.
    """
    manifest = Manifest(source.schema, {}, BlockTable.of(records), [])
    rows = StoreRows(folder, manifest, use_mmap=use_mmap, is_growing=True)
    summary = Summary(
        name=source.name,
        file_bytes=source.file_bytes,
        data_id=source.content_id(),
        former_data_ids=source.former_content_ids(),
        schema=source.schema,
        rows=manifest.rows,
        ledger=list(ledger_entries(records, first_line=source.first_line(0), files=len(source.files))),
        blocks=_BlockSummaries(manifest, rows),
    )
    return summary, rows


def _ledger(path: Path, manifest: Manifest) -> list[LedgerEntry]:
    if _ledger_differs(path, manifest):
        raise DataError(f"{path.name}/{LEDGER} is damaged; make it again: deeptrade compile DATA --fresh")
    with friendly_os_errors(f"reading {LEDGER} of {path.name}"):
        return read_ledger(path / LEDGER)


def _as_run(places: np.ndarray) -> slice | None:
    """Return the places as a slice, which copies faster than a gather, if they are consecutive."""
    if len(places) and places[-1] - places[0] == len(places) - 1 and (places[1:] - places[:-1] == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return None


def checked_files(
    path: Path, manifest: Manifest, *, use_mmap: bool, cache_limit: int = 0, is_growing: bool = False
) -> tuple[dict[str, CheckedFile], Cache | None]:
    """Return every column of a store, opened, by its file name; and the cache that they share where it is a copy.

    is_growing: blocks may follow those of the manifest.
    """
    origin = read_origin(path)
    cache = None if origin is None else Cache(path, str(origin.address), limit_bytes=cache_limit)
    features = {column.file for column in feature_columns(manifest.schema)}
    by_row = np.concatenate([[0], np.cumsum(manifest.blocks.usable)])
    by_block = np.arange(len(manifest.blocks) + 1)
    opened: dict[str, CheckedFile] = {}
    try:
        for column in all_columns(manifest.schema):
            edges = by_block if column.per_block else by_row
            if origin is None or cache is None:
                opened[column.file] = CheckedFile(
                    path, column, edges, manifest.blocks, use_mmap=use_mmap, is_growing=is_growing
                )
                continue
            opened[column.file] = CachedFile(
                path,
                column,
                edges,
                manifest.blocks,
                use_mmap=use_mmap,
                remote=origin.files.get(column.file),
                cache=cache,
                may_go=column.file in features,
            )
    except BaseException:
        close_files(opened, cache)
        raise
    return opened, cache


def close_files(opened: Mapping[str, CheckedFile], cache: Cache | None) -> None:
    """Close what `checked_files` has opened."""
    for file in opened.values():
        file.close()
    if cache is not None:
        cache.close()


class StoreRows:
    """The usable rows of a store; thread-safe."""

    def __init__(
        self, path: Path, manifest: Manifest, *, use_mmap: bool, cache_limit: int = 0, is_growing: bool = False
    ):
        self._files, self._cache = checked_files(
            path, manifest, use_mmap=use_mmap, cache_limit=cache_limit, is_growing=is_growing
        )
        self._lease: Lease | None = None
        names = manifest.schema.names
        columns = feature_columns(manifest.schema)
        self._features = {name: self._files[column.file] for name, column in zip(names, columns, strict=True)}

    def book(self, budget: ByteBudget) -> None:
        """Take a lease, until `close`, for the answers of an object store that are held at once."""
        if self._cache is not None:
            self._lease = budget.lease(AT_ONCE * PART_BYTES, "the answers of the object store")

    @property
    def timestamps(self) -> np.ndarray:
        """int64 (usable rows,), ns UTC."""
        return self._files[TIMESTAMPS].whole()

    @property
    def targets(self) -> np.ndarray:
        """float32 (usable rows, horizons), NaN where missing."""
        return self._files[TARGETS].whole()

    @property
    def market_codes(self) -> np.ndarray | None:
        """int32 (usable rows,), which of the markets each row is of; None where rows name none."""
        return self._files[MARKETS].whole() if MARKETS in self._files else None

    def read_targets(self, usable: np.ndarray) -> np.ndarray:
        """Return float32 (rows, horizons), a fresh array."""
        return self._files[TARGETS].take(usable)

    def read(self, usable: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        """Return float32 (rows, *shape) by feature name, fresh arrays; other features' files are not read."""
        run = _as_run(usable)
        with self._fetched([self._features[feature.name] for feature in features], usable):
            return {feature.name: self._features[feature.name].take(usable, run) for feature in features}

    @contextmanager
    def _fetched(self, files: Sequence[CheckedFile], usable: np.ndarray) -> Iterator[None]:
        """Fetch what these files lack of these rows, all together, and keep it within the block."""
        if self._cache is None:
            yield
            return
        with self._cache.using():
            self._cache.fetch([(f, f.blocks_at(usable)) for f in files if isinstance(f, CachedFile)])
            yield

    def locate(self, usable: int) -> tuple[int, int]:
        """Return (line from 1, byte offset) of a usable row in its source."""
        line, offset = self._files[POSITIONS].take(np.array([usable]))[0]
        return int(line), int(offset)

    def moments(self, block: int) -> np.ndarray:
        """Return the float64 numbers of one block's statistics."""
        return self._files[STATISTICS].take(np.array([block]))[0]

    def release(self) -> None:
        """Release mapped pages."""
        for file in self._files.values():
            file.release()

    def close(self) -> None:
        """Close maps and files."""
        close_files(self._files, self._cache)
        self._cache = None
        if self._lease is not None:
            self._lease.release()


class _BlockSummaries(Sequence[BlockSummary]):
    """The blocks of a store; their statistics are read on demand."""

    def __init__(self, manifest: Manifest, rows: StoreRows):
        self._manifest, self._rows = manifest, rows

    def __len__(self) -> int:
        return len(self._manifest.blocks)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        block, schema = self._manifest.blocks[index], self._manifest.schema
        nonfinite = dict(zip(schema.names, block.nonfinite, strict=True))
        return BlockSummary(block.rows, block.usable, nonfinite, _Moments(schema, self._rows, index))


class _Moments(dict[str, Moments]):
    """Moments of one block by feature, read on demand."""

    def __init__(self, schema: Schema, rows: StoreRows, block: int):
        super().__init__()
        self._schema, self._rows, self._block = schema, rows, block

    def __missing__(self, name: str) -> Moments:
        numbers, at = self._rows.moments(self._block), 0
        for feature in self._schema.features:
            width = Moments.width(feature)
            self[feature.name] = Moments.from_numbers(feature, numbers[at : at + width])
            at += width
        return self[name]


def trim_copy(path: Path, cache_limit: int) -> None:
    """Give back the bytes that the copy of a store at an address takes beyond a limit."""
    files, cache = checked_files(path, read_manifest(path), use_mmap=False, cache_limit=cache_limit)
    if cache is not None:
        cache.trim()
    close_files(files, cache)


def verify_store(path: str | Path) -> list[str]:
    """Return one line per file and block of a store that does not match its checksum; empty if all match.

    Of a store at an address, what lies there is checked. Raises DataError if there is no store, or a file of it has the
    wrong length.
    """
    path = local_store(path)
    manifest = read_manifest(path)
    lines = []
    if _ledger_differs(path, manifest):
        lines.append(f"{LEDGER} differs from the manifest")
    files, cache = checked_files(path, manifest, use_mmap=False)
    try:
        for name, file in files.items():
            lines += [f"{name}, block {block} of {len(manifest.blocks)}" for block in file.faults()]
    finally:
        close_files(files, cache)
    return lines


def _ledger_differs(path: Path, manifest: Manifest) -> bool:
    try:
        content = (path / LEDGER).read_bytes()
    except OSError:
        return True
    return xxhash.xxh3_64_hexdigest(content) != manifest.source["ledger_checksum"]
