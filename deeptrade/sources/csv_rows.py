"""Rows read straight from CSV text by number, one seek and one parse each: for data that has no store."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors, map_file, read_into
from ..inputs import became_shorter, local_paths
from .blocks import Block
from .csv import CsvSource
from .records import Text
from .schema import Feature


class _File:
    """The bytes of one file: a memory map, or plain reads where `use_mmap` is off."""

    def __init__(self, path: Path, *, use_mmap: bool):
        self.path = path
        with friendly_os_errors(f"reading {path.name}"):
            self._file = open(path, "rb")  # noqa: SIM115 (open as long as the rows)
            self.size = os.fstat(self._file.fileno()).st_size
        try:
            self._map = map_file(self._file.fileno(), path.name) if self.size and use_mmap else None
        except BaseException:
            self._file.close()
            raise
        self._mapped = np.frombuffer(self._map, np.uint8) if self._map else None

    def gather(self, starts: np.ndarray, ends: np.ndarray) -> Text:
        """Return the records at these edges: in the memory map, or read into a buffer of their own."""
        if os.fstat(self._file.fileno()).st_size < self.size:
            raise DataError(became_shorter(self.path.name))
        if self._mapped is not None:
            return Text(self._mapped, starts, ends)
        lengths = ends - starts
        stops = np.cumsum(lengths + 1) - 1
        buffer = np.zeros(int(stops[-1]) + 1, np.uint8)  # a zero byte after each record ends its last number
        with friendly_os_errors(f"reading {self.path.name}"):
            for start, length, stop in zip(starts, lengths, stops, strict=True):
                view = buffer[stop - length : stop].data
                read_into(self._file.fileno(), view, int(start), shorter=became_shorter(self.path.name))
        return Text(buffer, stops - lengths, stops)

    def release(self) -> None:
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._mapped = None
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:  # a reader still holds a view; the map is freed with it
                self._map = None
        self._file.close()


class CsvRows:
    """The usable rows of a CSV source, numbered from 0 without gaps; thread-safe.

    It keeps only the targets and 36 bytes of index and time per row. `add` fills it block by block.
    """

    def __init__(self, source: CsvSource, *, use_mmap: bool = True):
        self._source = source
        self._files = [_File(path, use_mmap=use_mmap) for path in local_paths(source.files)]
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._index = np.empty((0, 3), np.int64)
        self._file_of = np.empty(0, np.int32)
        self.timestamps, self.market_codes = np.empty(0, np.int64), None
        self.targets = np.empty((0, source.schema.horizons), np.float32)

    def add(self, block: Block, *, first_line: int) -> None:
        """Index the rows of a block; `first_line` is the line number of its first line."""
        lines = np.array([first_line, 0, 0])
        self._parts.append((block.positions + lines, np.full(block.usable, block.place.file, np.int32)))

    def finish(self, timestamps: np.ndarray, targets: np.ndarray) -> None:
        """Complete the index of the blocks added, and take their times and targets."""
        self.timestamps, self.targets = timestamps, targets
        self._index = np.concatenate([index for index, _ in self._parts])
        self._file_of = np.concatenate([files for _, files in self._parts])
        self._parts.clear()

    def locate(self, usable: int) -> tuple[int, int]:
        """Return (line from 1, byte offset) of a usable row within its file."""
        line, start, _ = self._index[usable]
        return int(line), int(start)

    def record(self, usable: int) -> bytes:
        """Return the text of one usable row, without its line break."""
        _, start, end = self._index[usable]
        return self._files[self._file_of[usable]].gather(np.array([start]), np.array([end])).record(0)

    def read_targets(self, usable: np.ndarray) -> np.ndarray:
        """Return float32 (rows, horizons), a fresh array."""
        return self.targets[usable]

    def read(self, usable: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        """Return float32 (rows, *shape) by feature name, fresh arrays; raises DataError for a row that has changed."""
        file_of = self._file_of[usable]
        texts = []
        for number in np.unique(file_of):
            where = np.flatnonzero(file_of == number)
            _, starts, ends = np.ascontiguousarray(self._index[usable[where]].T)
            texts.append((self._files[number].gather(starts, ends), where))
        parsed = self._source.parser.parse(texts, features)
        for position, fault in parsed.faults.items():
            line, _ = self.locate(int(usable[position]))
            raise DataError(f"line {line} can no longer be read ({fault}); has the file changed? Run again")
        return parsed.features

    def release(self) -> None:
        """Release mapped pages; they are loaded again when used."""
        for file in self._files:
            file.release()

    def close(self) -> None:
        """Close all maps and files."""
        for file in self._files:
            file.close()
