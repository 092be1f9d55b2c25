"""One flat file of a store: rows gathered from a map (or read plainly), every block checked on first use."""

from __future__ import annotations

import itertools
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
import xxhash

from ..errors import DataError
from ..files import friendly_os_errors, map_file, read_into
from .layout import BlockTable, Column


class CheckedFile:
    """One flat file: `take` gathers rows, and checks each block against its checksum before its first use.

    is_growing: more blocks may follow those that are given.

    Raises DataError naming file and block where a bit has changed.
    """

    _flags = os.O_RDONLY
    _advice = "make it again: deeptrade compile DATA --fresh"

    def __init__(
        self,
        store: Path,
        column: Column,
        edges: np.ndarray,
        blocks: BlockTable,
        *,
        use_mmap: bool,
        is_growing: bool = False,
    ):
        self._column, self._edges, self._blocks = column, edges, blocks
        self._name = f"{store.name}/{column.file}"
        with friendly_os_errors(f"reading {self._name}"):
            self._file = os.open(store / column.file, self._flags)
        self._closing = weakref.finalize(self, os.close, self._file)  # also if a reader is dropped without being closed
        size, needed = os.fstat(self._file).st_size, int(edges[-1]) * column.stride
        if size < needed or (size > needed and not is_growing):
            self._closing()
            raise DataError(f"{self._name} has {size} bytes instead of {needed}; {self._advice}")
        self._map = map_file(self._file, self._name, needed) if use_mmap and needed else None
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
            raise DataError(f"{self._name} has become shorter; {self._advice}")
        return self._array.take(places, axis=0) if run is None else self._array[run].copy()

    def whole(self) -> np.ndarray:
        """Return all rows: a view of the map, or a fresh array."""
        self.check_all()
        return self._array if self._array is not None else self._read(0, int(self._edges[-1]))

    def check_all(self) -> None:
        """Check every block."""
        self._check_blocks(np.arange(len(self._blocks)))

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
        self._check_blocks(self.blocks_at(places))

    def blocks_at(self, places: np.ndarray) -> np.ndarray:
        """Return the numbers of the blocks that hold rows at int64 places, ascending."""
        return np.unique(np.searchsorted(self._edges, places, side="right") - 1)

    def _check_blocks(self, blocks: np.ndarray) -> None:
        for block in blocks[self._unchecked[blocks]].tolist():
            self._check(block)
        self._all_checked = not self._unchecked.any()

    def _check(self, block: int) -> None:
        if not self._is_sound(block):
            raise DataError(self._damage(block))
        self._unchecked[block] = False

    def _damage(self, block: int) -> str:
        """The line on a block that differs from its checksum."""
        return (
            f"{self._name} is damaged in block {block} ({'blocks' if self._column.per_block else 'usable rows'} "
            f"{self._edges[block]} to {self._edges[block + 1] - 1}); {self._advice}"
        )

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
        shorter = f"{self._name} has become shorter; {self._advice}"
        with friendly_os_errors(f"reading {self._name}"):
            read_into(self._file, view, start * self._column.stride, shorter=shorter)

    def _read_plainly(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at `places`, with one read for each run of consecutive ones."""
        rows = np.empty((len(places), *self._column.shape), self._column.dtype)
        starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
        for start, stop in itertools.pairwise([*starts, len(places)]):
            self._read_into(rows[start:stop], int(places[start]))
        return rows


def checksum(values: np.ndarray) -> str:
    """Return the XXH3-64 of an array's bytes."""
    data = np.ascontiguousarray(values)
    return xxhash.xxh3_64_hexdigest(data.data if data.size else b"")
