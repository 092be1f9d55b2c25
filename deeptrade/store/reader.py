"""An opened store: rows gathered from mapped files (or read plainly), every block checked on first use."""

from __future__ import annotations

import itertools
import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError
from ..files import friendly_os_errors, map_file, read_into, user_path
from ..settings import Arrangement
from ..sources.schema import Feature, Schema
from ..sources.statistics import Moments
from .layout import (
    ENDING,
    LEDGER,
    MARKETS,
    POSITIONS,
    STATISTICS,
    TARGETS,
    TIMESTAMPS,
    BlockTable,
    Column,
    Manifest,
    all_columns,
    feature_columns,
    read_manifest,
)
from .ledger import LedgerEntry, read_ledger
from .summary import BlockSummary, Summary


def read_store(path: Path, *, use_mmap: bool = True) -> tuple[Summary, StoreRows]:
    """Return the summary in a store's manifest and ledger, and its rows, which the caller closes.

    With use_mmap off, files are read plainly. Raises DataError if the folder is not a store, or a file of it has the
    wrong length.
    """
    manifest = read_manifest(path)
    rows = StoreRows(path, manifest, use_mmap=use_mmap)
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


def _ledger(path: Path, manifest: Manifest) -> list[LedgerEntry]:
    if _ledger_differs(path, manifest):
        raise DataError(f"{path.name}/{LEDGER} is damaged; make it again: deeptrade compile DATA --fresh")
    with friendly_os_errors(f"reading {LEDGER} of {path.name}"):
        return read_ledger(path / LEDGER)


class CheckedFile:
    """One flat file: `take` gathers rows, and checks each block against its checksum before its first use.

    Raises DataError naming file and block where a bit has changed.
    """

    def __init__(self, store: Path, column: Column, edges: np.ndarray, blocks: BlockTable, *, use_mmap: bool):
        self._column, self._edges, self._blocks = column, edges, blocks
        self._name = f"{store.name}/{column.file}"
        with friendly_os_errors(f"reading {self._name}"):
            self._file = os.open(store / column.file, os.O_RDONLY)
        self._closing = weakref.finalize(self, os.close, self._file)  # also if a reader is dropped without being closed
        size, needed = os.fstat(self._file).st_size, int(edges[-1]) * column.stride
        if size != needed:
            self._closing()
            raise DataError(
                f"{self._name} has {size} bytes instead of {needed}; make it again: deeptrade compile DATA --fresh"
            )
        self._map = map_file(self._file, self._name) if use_mmap and size else None
        if self._map is not None:
            self._map.madvise(mmap.MADV_RANDOM)  # a row is a few pages: reading around it would read the file over
        self._array = self._view() if self._map is not None else None
        self._unchecked = np.ones(len(blocks), bool)
        self._all_checked = False
        self._closed = False

    def _view(self) -> np.ndarray:
        return np.frombuffer(self._map, self._column.dtype).reshape(-1, *self._column.shape)  # type: ignore[arg-type]

    def take(self, places: np.ndarray, run: slice | None = None) -> np.ndarray:
        """Return the rows at int64 places, a fresh array; `run` is the same places as a slice, if consecutive."""
        if self._closed:
            raise DataError(f"{self._name} is closed; open the store again")
        if not self._all_checked:
            self._check_at(places)
        if self._array is None:
            return self._read_plainly(places)
        if os.fstat(self._file).st_size < self._array.nbytes:  # reading a page that is gone would end the process
            raise DataError(f"{self._name} has become shorter; make it again: deeptrade compile DATA --fresh")
        return self._array.take(places, axis=0) if run is None else self._array[run].copy()

    def whole(self) -> np.ndarray:
        """Return all rows: a view of the map, or a fresh array."""
        self.check_all()
        return self._array if self._array is not None else self._read(0, int(self._edges[-1]))

    def check_all(self) -> None:
        """Check every block."""
        for block in np.flatnonzero(self._unchecked):
            self._check(int(block))
        self._all_checked = True

    def faults(self) -> list[int]:
        """Return the numbers of all blocks that differ from their checksums."""
        return [block for block in range(len(self._blocks)) if not self._is_sound(block)]

    def release(self) -> None:
        """Release the pages mapped so far; they are loaded again when used."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Close the map and the file."""
        self._closed, self._array = True, None
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:  # a view of `whole` is still held; the map is freed with it
                self._map = None
        self._closing()

    def _check_at(self, places: np.ndarray) -> None:
        blocks = np.unique(np.searchsorted(self._edges, places, side="right") - 1)
        for block in blocks[self._unchecked[blocks]]:
            self._check(int(block))
        self._all_checked = not self._unchecked.any()

    def _check(self, block: int) -> None:
        if not self._is_sound(block):
            raise DataError(
                f"{self._name} is damaged in block {block} ({'blocks' if self._column.per_block else 'usable rows'} "
                f"{self._edges[block]} to {self._edges[block + 1] - 1}); make it again: deeptrade compile DATA --fresh"
            )
        self._unchecked[block] = False

    def _is_sound(self, block: int) -> bool:
        """Return whether a block matches its checksum; read plainly, so that only the page cache holds the file."""
        start, stop = (int(edge) for edge in self._edges[block : block + 2])
        return checksum(self._read(start, stop)) == self._blocks.checksum(self._column.file, block)

    def _read(self, start: int, stop: int) -> np.ndarray:
        rows = np.empty((stop - start, *self._column.shape), self._column.dtype)
        self._read_into(rows, start)
        return rows

    def _read_into(self, rows: np.ndarray, start: int) -> None:
        view = memoryview(rows.data).cast("B") if rows.size else memoryview(b"")
        shorter = f"{self._name} has become shorter; make it again: deeptrade compile DATA --fresh"
        with friendly_os_errors(f"reading {self._name}"):
            read_into(self._file, view, start * self._column.stride, shorter=shorter)

    def _read_plainly(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at `places`, with one read for each run of consecutive ones."""
        rows = np.empty((len(places), *self._column.shape), self._column.dtype)
        starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
        for start, stop in itertools.pairwise([*starts, len(places)]):
            self._read_into(rows[start:stop], int(places[start]))
        return rows


def _as_run(places: np.ndarray) -> slice | None:
    """Return the places as a slice, which copies faster than a gather, if they are consecutive."""
    if len(places) and places[-1] - places[0] == len(places) - 1 and (places[1:] - places[:-1] == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return None


def checksum(values: np.ndarray) -> str:
    """Return the XXH3-64 of an array's bytes."""
    data = np.ascontiguousarray(values)
    return xxhash.xxh3_64_hexdigest(data.data if data.size else b"")


def checked_files(path: Path, manifest: Manifest, *, use_mmap: bool) -> dict[str, CheckedFile]:
    """Return every column of a store, opened, by its file name."""
    by_row = np.concatenate([[0], np.cumsum(manifest.blocks.usable)])
    by_block = np.arange(len(manifest.blocks) + 1)
    opened: dict[str, CheckedFile] = {}
    try:
        for column in all_columns(manifest.schema):
            edges = by_block if column.per_block else by_row
            opened[column.file] = CheckedFile(path, column, edges, manifest.blocks, use_mmap=use_mmap)
    except BaseException:
        for file in opened.values():
            file.close()
        raise
    return opened


class StoreRows:
    """The usable rows of a store; thread-safe."""

    def __init__(self, path: Path, manifest: Manifest, *, use_mmap: bool):
        self._files = checked_files(path, manifest, use_mmap=use_mmap)
        names = manifest.schema.names
        columns = feature_columns(manifest.schema)
        self._features = {name: self._files[column.file] for name, column in zip(names, columns, strict=True)}

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
        return {feature.name: self._features[feature.name].take(usable, run) for feature in features}

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
        for file in self._files.values():
            file.close()


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


def verify_store(path: str | Path) -> list[str]:
    """Return one line per file and block of a store that does not match its checksum; empty if all match.

    Raises DataError if the folder is not a store or a file has the wrong length.
    """
    path = user_path(path)
    manifest = read_manifest(path)
    lines = []
    if _ledger_differs(path, manifest):
        lines.append(f"{LEDGER} differs from the manifest")
    files = checked_files(path, manifest, use_mmap=False)
    try:
        for name, file in files.items():
            lines += [f"{name}, block {block} of {len(manifest.blocks)}" for block in file.faults()]
    finally:
        for file in files.values():
            file.close()
    return lines


def _ledger_differs(path: Path, manifest: Manifest) -> bool:
    try:
        content = (path / LEDGER).read_bytes()
    except OSError:
        return True
    return xxhash.xxh3_64_hexdigest(content) != manifest.source["ledger_checksum"]
