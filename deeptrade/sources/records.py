"""CSV records to numbers: the compiled parser for the usual form, the slow exact path for everything else."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import kernels
from .faults import RowFault, check_cells, decode, read_cell, read_number, split_record
from .schema import MARKET, Feature


@dataclass(frozen=True)
class Text:
    """Records in memory: record i is data[starts[i]:ends[i]], without its line break. data uint8, edges int64."""

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def record(self, index: int) -> bytes:
        """Return the bytes of one record."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()


@dataclass(frozen=True)
class Parsed:
    """Records as numbers: `features` float32 (records, *shape) each, `numbers` float32 (records, columns).

    `timestamps` holds each record's timestamp text, `markets` that of its market (empty unless asked for), `non_finite`
    int64 (records, features), `faults` why a record could not be read, by its position.
    """

    features: dict[str, np.ndarray]
    numbers: np.ndarray
    timestamps: list[bytes]
    markets: list[bytes]
    non_finite: np.ndarray
    faults: dict[int, RowFault]


_LEAST_BYTES = 1 << 20


class Pages:
    """Memory for the numbers of blocks, reused from block to block.

    One thread makes these arrays and another drops them. The C library keeps freed memory per thread, so what is
    held would grow by a quarter over a large file; fresh pages would have to be zeroed each time.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self, count: int) -> np.ndarray:
        """Return uninitialized float32 (count,); its memory is reused once the last view of it is dropped."""
        nbytes = 4 * count
        if nbytes < _LEAST_BYTES:
            return np.empty(count, np.float32)
        room = self._free.pop() if self._free else None
        if room is None or len(room) < nbytes:
            size = nbytes + _LEAST_BYTES  # rows differ in length, so the next block may hold one more
            room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        owner = (ctypes.c_char * nbytes).from_buffer(room)
        weakref.finalize(owner, self._free.append, room).atexit = False
        return np.frombuffer(memoryview(owner).cast("B"), np.float32)

    def clear(self) -> None:
        """Free the memory that nobody uses."""
        self._free.clear()


pages = Pages()


@dataclass(frozen=True)
class RecordParser:
    """Reads records of a CSV with the header `columns`; `number_columns` are the targets y_1..y_H, or price."""

    columns: tuple[str, ...]
    number_columns: tuple[str, ...]

    @property
    def has_markets(self) -> bool:
        """Whether records name their market."""
        return MARKET in self.columns

    def parse(
        self, texts: Sequence[tuple[Text, np.ndarray]], features: Sequence[Feature], *, timestamps: bool = False
    ) -> Parsed:
        """Return records as fresh arrays; bad ones are listed in `faults`.

        Arguments: texts, pairs of records and their int64 positions in the result, which together are 0..count-1;
        features, those to read.
        """
        count = sum(len(where) for _, where in texts)
        plan, lengths, bases = self._plan(features, count)
        out = pages.take(int(bases[-1]))
        numbers = np.full((count, len(self.number_columns)), np.nan, np.float32)
        spans = np.zeros((count, 4), np.int64)
        non_finite = np.zeros((count, max(1, len(features))), np.int64)
        trouble = np.full(count, -1, np.int64)
        for text, where in texts:
            kernels.parse_records(
                text.data, text.starts, text.ends, where, plan, lengths, out, numbers, spans, non_finite, trouble
            )
        values = {
            feature.name: out[base : base + count * feature.size].reshape(count, *feature.shape)
            for feature, base in zip(features, bases[:-1], strict=True)
        }
        parsed = Parsed(values, numbers, [b""] * count, [b""] * count, non_finite, {})
        for text, where in texts:
            for index in np.flatnonzero(trouble[where] >= 0):
                position = int(where[index])
                try:
                    cells = self._parse_slowly(parsed, position, text.record(int(index)), features)
                    parsed.timestamps[position] = cells["timestamp"]
                    parsed.markets[position] = cells.get(MARKET, b"")
                except RowFault as fault:
                    parsed.faults[position] = fault
            if timestamps:
                for index in np.flatnonzero((trouble[where] < 0) & (spans[where, 1] > 0)):
                    start, stop, first, last = text.starts[index] + spans[where[index]]
                    parsed.timestamps[where[index]] = text.data[start:stop].tobytes()
                    parsed.markets[where[index]] = text.data[first:last].tobytes()
        return parsed

    def _plan(self, features: Sequence[Feature], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the kernel does with each column: (plan, lengths, bases) as `parse_records` describes them."""
        plan = np.zeros((len(self.columns), 5), np.int64)
        lengths = np.zeros((max(1, len(features)), kernels.MAX_AXES), np.int64)
        bases = np.cumsum([0] + [feature.size * count for feature in features])
        plan[0, 0] = kernels.TEXT
        if MARKET in self.columns:
            plan[self.columns.index(MARKET), :2] = kernels.TEXT, 1
        for slot, name in enumerate(self.number_columns):
            plan[self.columns.index(name), :2] = kernels.NUMBER, slot
        for slot, feature in enumerate(features):
            axes = len(feature.cell_shape)
            lengths[slot, :axes] = feature.cell_shape
            plan[self.columns.index(feature.name)] = kernels.FEATURE, slot, axes, feature.size, bases[slot]
        return plan, lengths, bases

    def _parse_slowly(
        self, parsed: Parsed, position: int, text: bytes, features: Sequence[Feature]
    ) -> dict[str, bytes]:
        """Fill one position by the slow exact path and return its cells; raises RowFault for a bad row."""
        record = split_record(text)
        check_cells(record, self.columns)
        cells = dict(zip(self.columns, record.cells, strict=True))
        decode(cells["timestamp"], "timestamp")
        for slot, feature in enumerate(features):
            values = read_cell(cells[feature.name], feature).reshape(feature.shape)
            parsed.features[feature.name][position] = values
            parsed.non_finite[position, slot] = np.count_nonzero(~np.isfinite(values))
        for slot, name in enumerate(self.number_columns):
            parsed.numbers[position, slot] = read_number(cells[name], name)
        return cells
