"""Data files in an object store, read by ranges; every read is made on the e-tag that the file had when found."""

from __future__ import annotations

import fnmatch
import glob
import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ...files import atomic_write, friendly_os_errors, is_address, user_path
from . import client
from .address import Address

PART_BYTES = 4 << 20
"""Most bytes in one request: larger reads are made of several side by side (benchmarks/object_store.py)."""

AT_ONCE = 8
"""Requests under way in a process: with PART_BYTES each they hold 32 MiB."""

_PIECE_BYTES, _MOST_PIECES = 1 << 20, 32
"""What a stream reads at least, and how many such pieces it holds: a Parquet file has a stream per column."""


@dataclass(frozen=True)
class RemoteFile:
    """A file in an object store, as it was when it was found; see `InputFile`."""

    address: Address
    size: int
    e_tag: str
    is_far = True

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.address.name

    @property
    def seen(self) -> list[int | str]:
        """Its size and e-tag."""
        return [self.size, self.e_tag]

    def now(self) -> list[int | str]:
        """Return its size and e-tag now."""
        found = client.head(self.address)
        if found is None:
            raise client.ChangedError(f"{self.address} is no longer there; check the name")
        return [found.size, found.e_tag]

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return bytes [start, stop) as uint8, in `buffer` if given; DataError if the file was overwritten."""
        buffer = np.empty(stop - start, np.uint8) if buffer is None else buffer
        fetch([(self, at, buffer[at - start :][: min(PART_BYTES, stop - at)]) for at in range(start, stop, PART_BYTES)])
        return buffer

    def read_parts(self, parts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Return the bytes of several ranges [start, stop), uint8 each, read side by side."""
        buffers = [np.empty(stop - start, np.uint8) for start, stop in parts]
        fetch([(self, start, buffer) for (start, _), buffer in zip(parts, buffers, strict=True) if len(buffer)])
        return buffers

    def open(self) -> BinaryIO:
        """Return a stream of its bytes."""
        return cast(BinaryIO, RemoteStream(self))

    def openable(self) -> BinaryIO:
        """Return a stream of its bytes."""
        return self.open()

    def get(self, start: int, stop: int) -> Any:
        """Return bytes [start, stop) in one request, as a buffer."""
        return client.get(client.Found(self.address, self.size, self.e_tag), start, stop)

    def get_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[Any]:
        """Return several ranges [start, stop) as buffers, not conditional: for content with checksums."""
        starts, stops = zip(*ranges, strict=True)
        return client.get_ranges(client.Found(self.address, self.size, self.e_tag), list(starts), list(stops))


def fetch(parts: Sequence[tuple[RemoteFile, int, np.ndarray]]) -> None:
    """Fill buffers of uint8 with the bytes of files from an offset on, one request each, AT_ONCE of them at a time."""

    def fill(part: tuple[RemoteFile, int, np.ndarray]) -> None:
        file, start, buffer = part
        buffer[:] = np.frombuffer(file.get(start, start + len(buffer)), np.uint8)

    if len(parts) == 1:
        fill(parts[0])
        return
    waiting = [requests().submit(fill, part) for part in parts]
    try:
        for one in waiting:
            one.result()
    finally:
        for one in waiting:
            one.cancel()


@lru_cache(maxsize=1)
def requests() -> ThreadPoolExecutor:
    """Return the threads of this process that wait for answers."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="deeptrade-fetch")


class RemoteStream(io.RawIOBase):
    """The bytes of a file as a stream that can seek: for libraries that read files.

    It holds the pieces read last, so that small reads cost nothing, and reads ahead wherever reads follow each other.
    """

    def __init__(self, file: RemoteFile):
        super().__init__()
        self.name, self._file, self._at = file.name, file, 0
        self._pieces: dict[int, tuple[int, Future[Any]]] = {}

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset from the start, the position, or the end."""
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def size(self) -> int:
        """Return the bytes of the whole file, as pyarrow asks."""
        return self._file.size

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, less only at the end of the file, and return how many bytes that were."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._at < self._file.size:
            wanted = min(len(view) - done, self._file.size - self._at)
            if wanted >= PART_BYTES:
                self._file.read(self._at, self._at + wanted, np.frombuffer(view[done : done + wanted], np.uint8))
                self._at, done = self._at + wanted, done + wanted
                continue
            start, content = self._piece(wanted)
            part = content[self._at - start :][: len(view) - done]
            view[done : done + len(part)] = part
            self._at, done = self._at + len(part), done + len(part)
        return done

    def _piece(self, wanted: int) -> tuple[int, memoryview]:
        """The piece that holds the position, and where it starts; read now if there is none."""
        held = next((start for start, (stop, _) in self._pieces.items() if start <= self._at < stop), None)
        follows = any(stop == self._at for stop, _ in self._pieces.values())
        if held is None:
            held = self._at
            self._submit(held, wanted)
        else:
            follows = follows or held == self._at
        stop, future = self._pieces[held] = self._pieces.pop(held)  # the piece used last is the last
        if follows and stop not in self._pieces and stop < self._file.size:
            self._submit(stop, wanted)
        return held, memoryview(future.result())

    def _submit(self, start: int, wanted: int) -> None:
        stop = min(self._file.size, start + max(wanted, _PIECE_BYTES))
        if len(self._pieces) >= _MOST_PIECES:
            self._pieces.pop(next(iter(self._pieces)))[1].cancel()
        self._pieces[start] = stop, requests().submit(self._file.get, start, stop)


def find(address: Address) -> list[RemoteFile]:
    """Return the file at an address; if there is none, those that it matches as a glob, or those directly below it."""
    client.need_client(address)
    one = client.head(address) if address.key else None
    if one is not None:
        found = [one]
    elif is_glob(address):
        above = list(takewhile(lambda part: not glob.has_magic(part), address.key.split("/")))
        found = [file for file in client.listed(address.at("/".join(above))) if _matches(file.address, address)]
    else:
        found = client.listed(address, deep=False)
    return [RemoteFile(file.address, file.size, file.e_tag) for file in found]


def check_out(out: str | Path) -> None:
    """Raise SettingsError for an address that `written` cannot write to, before anything is done."""
    if is_address(out):
        client.need_client(Address.of(out))


@contextmanager
def written(out: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file that appears at a path or an address only when the block ends without an error.

    For an address it is written to the folder for temporary files first.
    """
    if not is_address(out):
        with atomic_write(user_path(out)) as file:
            yield file
        return
    address = Address.of(out)
    client.need_client(address)
    with tempfile.NamedTemporaryFile(prefix="deeptrade-") as temporary:
        yield cast(BinaryIO, temporary)
        with friendly_os_errors(f"writing {address.name} before it is sent"):
            temporary.flush()
        client.put(address, Path(temporary.name))


def is_glob(address: Address) -> bool:
    """Return whether an address may name several files, such as s3://bucket/2023-*.csv."""
    return glob.has_magic(address.key)


def _matches(address: Address, pattern: Address) -> bool:
    parts, patterns = address.key.split("/"), pattern.key.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
