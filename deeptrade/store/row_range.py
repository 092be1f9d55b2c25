"""A range of row numbers without the rejected ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np


class RowRange:
    """The row numbers start..stop-1 without the rejected ones, in constant memory: usable row i is computed from i.

    `rejected` holds all rejected row numbers of the data, int64, ascending.
    """

    def __init__(self, start: int, stop: int, rejected: np.ndarray | Sequence[int] = ()):
        self.start, self.stop = start, max(start, stop)
        self._rejected = np.asarray(rejected, np.int64)
        # Usable row number n of the whole data is n + the count of rejected rows before it: entry k of the
        # rejected rows has that many usable rows before it.
        self._usable_before = self._rejected - np.arange(len(self._rejected))
        self._first, last = (edge - int(np.searchsorted(self._rejected, edge)) for edge in (self.start, self.stop))
        self._count = last - self._first

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowRange) and np.array_equal(self.numbers(), other.numbers())

    __hash__ = None  # type: ignore[assignment]

    @property
    def key(self) -> str:
        """SHA-256 of the row numbers in the range, and of nothing else: equal for equal rows."""
        edges = self.at(np.array([0, len(self) - 1])) if len(self) else np.empty(0, np.int64)
        inside = self._rejected[(self._rejected >= edges[0]) & (self._rejected <= edges[1])] if len(self) else edges
        return hashlib.sha256(np.concatenate([edges, inside]).astype("<i8").tobytes()).hexdigest()

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the int64 row numbers at int64 positions from 0."""
        usable = positions + self._first
        if not len(self._rejected):
            return usable
        return usable + np.searchsorted(self._usable_before, usable, side="right")

    def part(self, start: int, stop: int) -> RowRange:
        """Return the rows at positions [start, stop), at least one."""
        first, last = self.at(np.array([start, stop - 1])).tolist()
        return RowRange(first, last + 1, self._rejected)

    def parts(self, count: int) -> list[RowRange]:
        """Return `count` consecutive ranges of nearly equal length."""
        edges = np.linspace(self.start, self.stop, count + 1).astype(np.int64).tolist()
        return [RowRange(start, stop, self._rejected) for start, stop in pairwise(edges)]

    def numbers(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the int64 row numbers at positions [start, stop)."""
        return self.at(np.arange(start, len(self) if stop is None else min(stop, len(self)), dtype=np.int64))
