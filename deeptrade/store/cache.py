"""What is here of a store at an address: blocks are fetched on first use, checked, and kept in sparse files.

A block that was never fetched, or was given back, is a hole: it differs from its checksum, and so is fetched. No
journal is needed, and a kill at any moment costs what was under way. Within `cache_limit` the blocks used last stay;
the others are given back to the file system. Other processes may use the same files: none is given back while any of
them gathers rows, and a shared count tells them to check again.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import FULL_DISK, friendly_os_errors, told, write_at
from ..sources.remote.files import PART_BYTES, RemoteFile, requests
from .checked_file import CheckedFile, checksum
from .layout import EVICTIONS, BlockTable, Column

_SPARE = 8
"""Where room is needed, at least this part of the limit is made at once, so that choosing what goes stays rare."""

_PUNCH_HOLE, _KEEP_SIZE, _POPULATE_READ = 2, 1, 22
"""Of fallocate (linux/falloc.h) and of madvise (mman.h)."""


class CachedFile(CheckedFile):
    """One flat file of a store at an address; `remote` is the file there.

    A block that does not match its checksum as it comes is fetched once more; then DataError says that it is damaged.
    """

    _flags = os.O_RDWR

    def __init__(
        self,
        store: Path,
        column: Column,
        edges: np.ndarray,
        blocks: BlockTable,
        *,
        use_mmap: bool,
        remote: RemoteFile | None,
        cache: Cache,
        may_go: bool,
    ):
        super().__init__(store, column, edges, blocks, use_mmap=use_mmap)
        self.may_go, self._remote, self._cache = may_go, remote, cache
        self.last_used = np.zeros(len(blocks), np.int64)
        self.is_here = self._maybe_here()
        self._advice = f"publish it again: deeptrade compile DATA --store {cache.address} --fresh"
        cache.files.append(self)

    def take(self, places: np.ndarray, run: slice | None = None) -> np.ndarray:
        """Return the rows at int64 places, a fresh array; see `CheckedFile.take`."""
        with self._cache.using():
            self.last_used[self.blocks_at(places)] = self._cache.tick()
            return super().take(places, run)

    def faults(self) -> list[int]:
        """Return the numbers of all blocks that differ from their checksums at the address."""
        return [block for run in self.runs(np.arange(len(self._blocks))) for block in run if not self._arrives(block)]

    def lacking(self, blocks: np.ndarray) -> np.ndarray:
        """Return those of these blocks that are not here; the others count as checked from now on."""
        blocks = blocks[self._unchecked[blocks]]
        found = np.array([self.is_here[block] and self._is_sound(block) for block in blocks.tolist()], bool)
        self.is_here[blocks] = found
        self._unchecked[blocks[found]] = False
        return blocks[~found]

    def runs(self, blocks: np.ndarray) -> list[list[int]]:
        """Return ascending blocks as runs of neighbours, each of at most PART_BYTES (or one block)."""
        runs: list[list[int]] = []
        for block in blocks.tolist():
            joined = runs and block == runs[-1][-1] + 1 and self._stop(block) - self._start(runs[-1][0]) <= PART_BYTES
            if joined:
                runs[-1].append(block)
            else:
                runs.append([block])
        return runs

    def bytes_of(self, blocks: np.ndarray) -> int:
        """Return the bytes that blocks hold together."""
        return int((self._edges[blocks + 1] - self._edges[blocks]).sum()) * self._column.stride

    def portions(self, blocks: np.ndarray) -> list[list[list[int]]]:
        """Return ascending blocks as portions of runs, each portion of at most PART_BYTES (or one run)."""
        portions: list[list[list[int]]] = []
        room = 0
        for run in self.runs(blocks):
            size = self._stop(run[-1]) - self._start(run[0])
            if not portions or size > room:
                portions.append([])
                room = PART_BYTES
            portions[-1].append(run)
            room -= size
        return portions

    def fetch(self, runs: Sequence[Sequence[int]]) -> None:
        """Fetch runs of neighbouring blocks, one request each, check every block, and write it here.

        A block that differs is fetched once more, on the e-tag that the file had, so that an overwritten file is told.
        """
        wanted = [(self._start(run[0]), self._stop(run[-1])) for run in runs]
        for run, (first, _), content in zip(runs, wanted, self._get_all(wanted), strict=True):
            for block in run:
                part = content[self._start(block) - first : self._stop(block) - first]
                if not self._matches(block, part):
                    part = self._get(block, block)
                if not self._matches(block, part):
                    raise DataError(self._damage(block))
                write_at(self._file, part.data, self._start(block))
                self.is_here[block] = True
                self._unchecked[block] = False
            self._populate(self._start(run[0]), self._stop(run[-1]))

    def give_back(self, block: int) -> int:
        """Make a hole of a block, and return the bytes it held."""
        self.is_here[block], self._unchecked[block], self._all_checked = False, True, False
        start, stop = self._hole(block)
        if stop > start and _libc().fallocate(
            self._file, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(start), ctypes.c_long(stop - start)
        ):
            code = ctypes.get_errno()
            raise DataError(
                f"the cache of {self._cache.address} cannot give room back ({os.strerror(code)}); leave out "
                "--cache_limit, or move the cache with XDG_CACHE_HOME to a file system that can, such as ext4 or xfs"
            )
        return self._stop(block) - self._start(block)

    def _hole(self, block: int) -> tuple[int, int]:
        """The bytes of a block, and the rest of the pages at its ends where nothing on them is here any more."""
        start, stop, edges = self._start(block), self._stop(block), self._edges * self._column.stride
        low, high = start // mmap.PAGESIZE * mmap.PAGESIZE, -(-stop // mmap.PAGESIZE) * mmap.PAGESIZE
        first, last = np.searchsorted(edges, low, side="right") - 1, np.searchsorted(edges, high)
        before, after = self.is_here[first:block].any(), self.is_here[block + 1 : last].any()
        return start if before else low, stop if after else high

    def held_bytes(self) -> int:
        """Return the bytes that the file takes on the disk."""
        return os.fstat(self._file).st_blocks * 512

    def forget_checks(self) -> None:
        """Check every block again before its next use."""
        self._unchecked[:], self._all_checked = True, False

    def _populate(self, start: int, stop: int) -> None:
        """Map what was just written in one go: page by page, the faults took twice as long as all the fetching."""
        if self._map is not None and stop > start:
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            with suppress(OSError, ValueError):  # kernels before 5.14; a map that is being closed
                self._map.madvise(_POPULATE_READ, first, stop - first)

    def _check_blocks(self, blocks: np.ndarray) -> None:
        self._cache.fetch([(self, blocks)])
        self._all_checked = not self._unchecked.any()

    def _arrives(self, block: int) -> bool:
        """Whether a block matches its checksum as it comes from the address, at the second try at the latest."""
        return any(self._matches(block, self._get(block, block)) for _ in range(2))

    def _matches(self, block: int, content: np.ndarray) -> bool:
        return checksum(content) == self._blocks.checksum(self._column.file, block)

    def _get(self, first: int, last: int) -> np.ndarray:
        """The bytes of neighbouring blocks at the address, uint8."""
        start, stop = self._start(first), self._stop(last)
        if stop == start or self._remote is None:
            return np.empty(0, np.uint8)
        return np.frombuffer(self._remote.get(start, stop), np.uint8)

    def _get_all(self, ranges: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Several ranges of the file at the address, uint8, not conditional."""
        asked = [(start, stop) for start, stop in ranges if stop > start]
        answers = iter(self._remote.get_ranges(asked)) if asked and self._remote else iter(())
        return [
            np.frombuffer(next(answers), np.uint8) if stop > start else np.empty(0, np.uint8) for start, stop in ranges
        ]

    def _start(self, block: int) -> int:
        return int(self._edges[block]) * self._column.stride

    def _stop(self, block: int) -> int:
        return int(self._edges[block + 1]) * self._column.stride

    def _maybe_here(self) -> np.ndarray:
        """Whether the file may hold a block: bool (blocks,), False where there is nothing but a hole."""
        here, at, starts = np.zeros(len(self._blocks), bool), 0, self._edges * self._column.stride
        with suppress(OSError):  # at the last hole
            while at < starts[-1]:
                begin = os.lseek(self._file, at, os.SEEK_DATA)
                at = os.lseek(self._file, begin, os.SEEK_HOLE)
                first, last = np.searchsorted(starts, [begin, at - 1], side="right") - 1
                here[first : last + 1] = True
        return here


class Cache:
    """The files of one copy together: what is fetched in one go, and what goes when room is needed.

    limit_bytes: most bytes of disk that they take, 0 for as many as there are. What one call needs at once may exceed
    it for the time of that call.
    """

    def __init__(self, store: Path, address: str, *, limit_bytes: int = 0):
        self.address, self.limit_bytes = address, limit_bytes
        self.files: list[CachedFile] = []
        self._name = store.name
        with friendly_os_errors(f"opening the cache of {address}"):
            self._shared = os.open(store / EVICTIONS, os.O_RDWR | os.O_CREAT, 0o666)
            os.ftruncate(self._shared, 8)
            self._map = mmap.mmap(self._shared, 8)
        self._count = np.frombuffer(self._map, np.int64)
        self._seen, self._depth, self._ticks, self._lock = int(self._count[0]), 0, 0, RLock()

    def close(self) -> None:
        """Close the shared count; the files are closed by their owner."""
        del self._count
        self._map.close()
        os.close(self._shared)

    def tick(self) -> int:
        """Return a number that rises with every call: a time of use."""
        self._ticks += 1
        return self._ticks

    @contextmanager
    def using(self) -> Iterator[None]:
        """Let nothing be given back, by this process or another, within the block."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._flock(fcntl.LOCK_SH)
                    self._notice()
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._flock(fcntl.LOCK_UN)

    def fetch(self, wanted: Sequence[tuple[CachedFile, np.ndarray]]) -> None:
        """Fetch those of these blocks that are not here, in as few requests as they make, side by side.

        Within `using` all of them are here and checked from then on.
        """
        with self.using():
            while lacking := [(file, blocks) for file, some in wanted if len(blocks := file.lacking(some))]:
                self._make_room(sum(file.bytes_of(blocks) for file, blocks in lacking), wanted)
                portions = [(file, portion) for file, blocks in lacking for portion in file.portions(blocks)]
                try:
                    self._fetch(portions)
                except OSError as error:
                    if error.errno not in FULL_DISK:
                        raise told(error, f"writing the cache of {self.address}") from None
                    self._give_back(self.held_bytes(), wanted)
                    with friendly_os_errors(f"writing the cache of {self.address} (XDG_CACHE_HOME moves it)"):
                        self._fetch(portions)
                # Where room was made, another process may have given back some of these meanwhile: look again.

    def held_bytes(self) -> int:
        """Return the bytes that all files take on the disk."""
        return sum(file.held_bytes() for file in self.files)

    def trim(self) -> None:
        """Give back what exceeds the limit."""
        with self.using():
            self._make_room(0, [])

    def _fetch(self, portions: Sequence[tuple[CachedFile, list[list[int]]]]) -> None:
        waiting = [
            requests().submit(file.fetch, runs)
            for file, portion in portions
            if (runs := [run for run in portion if not file.is_here[run].all()])
        ]
        try:
            for one in waiting:
                one.result()
        finally:
            for one in waiting:
                one.cancel()
            _wait(waiting)

    def _make_room(self, needed: int, kept: Sequence[tuple[CachedFile, np.ndarray]]) -> None:
        excess = self.held_bytes() + needed - self.limit_bytes
        if self.limit_bytes and excess > 0:
            self._give_back(max(excess, self.limit_bytes // _SPARE), kept)

    def _give_back(self, wanted_bytes: int, kept: Sequence[tuple[CachedFile, np.ndarray]]) -> None:
        """Make holes of the blocks used longest ago, but for those kept, until so many bytes are free."""
        files = [file for file in self.files if file.may_go]
        numbers = [np.flatnonzero(file.is_here) for file in files]
        for at, file in enumerate(files):
            used_now = [blocks for one, blocks in kept if one is file]
            numbers[at] = np.setdiff1d(numbers[at], np.concatenate(used_now)) if used_now else numbers[at]
        owners = np.repeat(np.arange(len(files)), [len(some) for some in numbers])
        blocks = np.concatenate([*numbers, np.empty(0, np.int64)]).astype(np.int64)
        used = np.concatenate([*(file.last_used[some] for file, some in zip(files, numbers, strict=True)), [0]])[:-1]
        self._flock(fcntl.LOCK_EX)
        self._notice()
        self._count[0] += 1  # first: a kill between the two costs others a check
        self._seen = int(self._count[0])
        try:
            for at in np.argsort(used, kind="stable").tolist():
                if wanted_bytes <= 0:
                    break
                wanted_bytes -= files[owners[at]].give_back(int(blocks[at]))
        finally:
            self._flock(fcntl.LOCK_SH)
            self._notice()

    def _notice(self) -> None:
        """Check everything again where another process has given blocks back."""
        if int(self._count[0]) != self._seen:
            self._seen = int(self._count[0])
            for file in self.files:
                if file.may_go:
                    file.forget_checks()

    def _flock(self, how: int) -> None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._shared, how)


def _wait(futures: Sequence[Any]) -> None:
    """Wait until none of these runs any more: what they write to may be closed then."""
    for future in futures:
        if not future.cancelled():
            future.exception()


def _libc() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "fallocate"):
        raise DataError("this system cannot give back parts of files; leave out --cache_limit")
    return library
