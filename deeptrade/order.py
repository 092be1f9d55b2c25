"""Which rows train, which validate, and in which order: pure functions, so that any position can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import SettingsError

ORDER_VERSION = 1
_ROUNDS = 6


class Rows:
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
        return isinstance(other, Rows) and np.array_equal(self.numbers(), other.numbers())

    __hash__ = None  # type: ignore[assignment]

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the int64 row numbers at int64 positions from 0."""
        usable = positions + self._first
        if not len(self._rejected):
            return usable
        return usable + np.searchsorted(self._usable_before, usable, side="right")

    def numbers(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the int64 row numbers at positions [start, stop)."""
        return self.at(np.arange(start, len(self) if stop is None else min(stop, len(self)), dtype=np.int64))


@dataclass(frozen=True)
class Split:
    """The rows of the three parts, each ascending."""

    train: Rows
    validation: Rows
    purged: Rows


def chronological_split(
    rows: int, rejected: np.ndarray | Sequence[int] = (), *, val_ratio: float, horizons: int
) -> Split:
    """Split `rows` rows by time: the latest share `val_ratio` validates; rows near the boundary are left out.

    `rejected` are row numbers, ascending, that are in no part. At least `horizons` rows on each side of the
    boundary are purged, so that no training target looks into validation and no validation row's past targets were
    trained on.

    Raises SettingsError when a part would be empty.
    """
    boundary = rows - max(1, round(rows * val_ratio))
    left, right = max(0, boundary - horizons), min(rows, boundary + horizons)
    split = Split(Rows(0, left, rejected), Rows(right, rows, rejected), Rows(left, right, rejected))
    if not len(split.train) or not len(split.validation):
        empty = "validation" if len(split.train) else "training"
        raise SettingsError(
            f"val_ratio={val_ratio} of {rows} rows leaves no {empty} row after purging {horizons} rows on each side "
            f"of the boundary; use more rows or another val_ratio"
        )
    return split


@dataclass(frozen=True)
class Permutation:
    """A shuffle of 0..count-1 in constant memory: entry i is computed from i alone.

    A balanced Feistel network over the next even number of bits, cycle-walked into range (Black and Rogaway 2002).
    """

    count: int
    keys: tuple[int, ...]

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return int64 entries [start, stop)."""
        start, stop, _ = part.indices(self.count)
        return self.at(np.arange(start, stop))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the entries at int64 positions."""
        half = max(1, ((self.count - 1).bit_length() + 1) // 2)
        values = self._encrypt(positions.astype(np.uint64), half)
        # The network covers fewer than 4 * count numbers; those out of range are sent through again.
        while (outside := values >= self.count).any():
            values[outside] = self._encrypt(values[outside], half)
        return values.astype(np.int64)

    def _encrypt(self, values: np.ndarray, half: int) -> np.ndarray:
        mask = np.uint64((1 << half) - 1)
        left, right = values >> np.uint64(half), values & mask
        for key in self.keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        return (left << np.uint64(half)) | right


def _mix(values: np.ndarray, key: int) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over values plus key."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def epoch_order(count: int, *, key: str, seed: int, epoch: int) -> Permutation:
    """Return the shuffle of `count` samples for one epoch; `key` names the data and the split.

    >>> sorted(epoch_order(5, key="data", seed=0, epoch=0)[0:5].tolist())
    [0, 1, 2, 3, 4]
    """
    text = f"{ORDER_VERSION}/{key}/{seed}/{epoch}/"
    digests = (hashlib.sha256(f"{text}{number}".encode()).digest() for number in range(_ROUNDS))
    return Permutation(count, tuple(int.from_bytes(digest[:8], "little") for digest in digests))
