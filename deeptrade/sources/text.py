"""The text of a file by byte ranges: plain reads into a reused buffer, or a gzip stream read front to back."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors
from ..inputs import InputFile


class TextFile:
    """The text of one file by byte ranges: plain reads, or a gzip stream that can only be read forwards."""

    def __init__(self, file: InputFile):
        self.file, self.name, self.size = file, file.name, file.size
        self.compressed = file.name.lower().endswith(".gz")

    @property
    def text_size(self) -> int:
        """Bytes of text; for gzip an estimate: numbers compress to about 40%."""
        return int(2.5 * self.size) if self.compressed else self.size

    def head(self, size: int) -> np.ndarray:
        """Return the first `size` bytes, or all if there are fewer, as uint8."""
        if not self.compressed:
            return self.file.read(0, min(size, self.size))
        return next(self.ranges([(0, size)]))[1]

    def ranges(self, edges: Sequence[tuple[int, int]] | Iterator[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (start, bytes) of a gzip's text for each (start, stop), with rising starts; fewer bytes at its end.

        Stops before the first range that begins after the end of the text.
        """
        with friendly_os_errors(f"reading {self.name}"), gzip.open(self.file.openable(), "rb") as stream:
            held, at = bytearray(), 0
            for start, stop in edges:
                while at + len(held) < stop:
                    try:
                        more = stream.read(min(stop - at - len(held), 1 << 20))
                    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                        raise DataError(
                            f"{self.name} is not complete gzip data ({error}); decompress or download it again"
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
