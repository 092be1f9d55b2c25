"""Files that are read: on this machine, or wherever a room can read them from, such as an object store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from .errors import DataError
from .files import friendly_os_errors, read_into


class InputFile(Protocol):
    """One file of bytes; picklable, so that any executor can read it.

    name: for messages. size: its bytes when it was found. seen: the size, and what changes with the content: the
    modification time in ns, or an e-tag; plain data.
    """

    @property
    def name(self) -> str:
        """The last part of its name."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def seen(self) -> list[int | str]:
        """The size, and what changes with the content."""
        ...

    @property
    def is_far(self) -> bool:
        """Whether it is read through answers that are held in memory besides."""
        ...

    def now(self) -> list[int | str]:
        """Return `seen` as it is now; DataError where the file is gone."""
        ...

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return bytes [start, stop) as uint8, in `buffer` if given; DataError if the file is not what it was."""
        ...

    def read_parts(self, parts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Return the bytes of several ranges [start, stop), uint8 each."""
        ...

    def open(self) -> BinaryIO:
        """Return a stream that can seek; the caller closes it."""
        ...

    def openable(self) -> Any:
        """Return what libraries open: a path, or a stream of its own."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, as it was when it was found by `at`; see `InputFile`."""

    path: Path
    size: int
    modified_ns: int
    is_far = False

    @classmethod
    def at(cls, path: Path) -> LocalFile:
        """Return the file at a path, made absolute; DataError where there is none that can be read."""
        with friendly_os_errors(f"reading {path.name}"):
            status = path.stat()
        return cls(path.absolute(), status.st_size, status.st_mtime_ns)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def seen(self) -> list[int | str]:
        """Its size and modification time (ns)."""
        return [self.size, self.modified_ns]

    def now(self) -> list[int | str]:
        """Return its size and modification time now."""
        return LocalFile.at(self.path).seen

    def read(self, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """Return bytes [start, stop) as uint8, in `buffer` if given; DataError if it became shorter."""
        return self.read_parts([(start, stop)])[0] if buffer is None else self._read(start, buffer)

    def read_parts(self, parts: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Return the bytes of several ranges [start, stop), uint8 each."""
        return [self._read(start, np.empty(stop - start, np.uint8)) for start, stop in parts]

    def _read(self, start: int, buffer: np.ndarray) -> np.ndarray:
        with friendly_os_errors(f"reading {self.name}"):
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                read_into(descriptor, buffer.data, start, shorter=became_shorter(self.name))
            finally:
                os.close(descriptor)
        return buffer

    def open(self) -> BinaryIO:
        """Return the file, opened; the caller closes it."""
        return open(self.path, "rb")

    def openable(self) -> Path:
        """Return its path."""
        return self.path


def became_shorter(name: str) -> str:
    """Return the message for a file that is shorter than when it was found."""
    return f"{name} became shorter while it was being read; run again when it is complete"


def states(files: Sequence[InputFile]) -> list[list[int | str]]:
    """Return size and modification time (ns), or e-tag, of every file, as they are now."""
    return [file.now() for file in files]


def local_paths(files: Sequence[InputFile]) -> list[Path]:
    """Return the paths of the files that are on this machine."""
    return [file.path for file in files if isinstance(file, LocalFile)]


def need_local(file: InputFile, kind: str) -> Path:
    """Return the path of a file of a kind that is read only from this machine; DataError for any other."""
    if isinstance(file, LocalFile):
        return file.path
    raise DataError(
        f"{file.name} is {kind}, which is read only from this machine; copy it here, or write it as Parquet"
    )
