"""The text of a file by byte ranges: plain reads into a reused buffer, or a gzip stream read front to back."""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors, read_into


class TextFile:
    """The text of one file by byte ranges: plain reads, or a gzip stream that can only be read forwards."""

    def __init__(self, path: Path):
        self.path, self.compressed = path, path.suffix.lower() == ".gz"
        with friendly_os_errors(f"reading {path.name}"):
            self.size = path.stat().st_size

    @property
    def text_size(self) -> int:
        """Bytes of text; for gzip an estimate: numbers compress to about 40%."""
        return int(2.5 * self.size) if self.compressed else self.size

    def head(self, size: int) -> np.ndarray:
        """Return the first `size` bytes, or all if there are fewer, as uint8."""
        if not self.compressed:
            return read_range(self.path, 0, min(size, self.size))
        return next(self.ranges([(0, size)]))[1]

    def ranges(self, edges: Sequence[tuple[int, int]] | Iterator[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (start, bytes) of a gzip's text for each (start, stop), with rising starts; fewer bytes at its end.

        Stops before the first range that begins after the end of the text.
        """
        with friendly_os_errors(f"reading {self.path.name}"), gzip.open(self.path, "rb") as stream:
            held, at = bytearray(), 0
            for start, stop in edges:
                while at + len(held) < stop:
                    try:
                        more = stream.read(min(stop - at - len(held), 1 << 20))
                    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                        raise DataError(
                            f"{self.path.name} is not complete gzip data ({error}); decompress or download it again"
                        ) from None
                    if not more:
                        break
                    held += more
                    if at + len(held) <= start:
                        at, held = at + len(held), bytearray()
                del held[: start - at]
                at = max(at, start)
                if not held:
                    return
                yield start, np.frombuffer(bytes(held[: stop - start]), np.uint8)


_MOST_SCRATCH = 16 << 20


class Scratch(threading.local):
    """A buffer per thread for the text of one block, reused: fresh pages cost a tenth of the parsing."""

    room = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        """Return `size` bytes that belong to this thread until its next call."""
        if size > _MOST_SCRATCH:
            return np.empty(size, np.uint8)
        if size > len(self.room):
            self.room = np.empty(size, np.uint8)
        return self.room[:size]


def read_range(path: Path, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
    """Return bytes [start, stop) of a file as uint8, in `buffer` if given; raises DataError if it became shorter."""
    buffer = np.empty(stop - start, np.uint8) if buffer is None else buffer
    with friendly_os_errors(f"reading {path.name}"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            read_into(descriptor, buffer.data, start, shorter=become_shorter(path))
        finally:
            os.close(descriptor)
    return buffer


def become_shorter(path: Path) -> str:
    """Return the message for a text file that is shorter than when it was opened."""
    return f"{path.name} became shorter while it was being read; run again when it is complete"
