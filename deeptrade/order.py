"""Which rows train, which validate, and in which order: pure functions, so that any position can be resumed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .errors import SettingsError

ORDER_VERSION = 1
_ROUNDS = 6


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, int64, ascending."""

    train: np.ndarray
    validation: np.ndarray
    purged: np.ndarray


def chronological_split(usable: np.ndarray, *, val_ratio: float, horizons: int) -> Split:
    """Split rows by time: the latest share `val_ratio` validates; rows near the boundary are left out.

    `usable` is bool (rows,) in time order. At least `horizons` rows on each side of the boundary are purged, so
    that no training target looks into validation and no validation row's past targets were trained on.

    Raises SettingsError when a part would be empty.
    """
    rows = len(usable)
    boundary = rows - max(1, round(rows * val_ratio))
    numbers = np.flatnonzero(usable)
    train = numbers[numbers < boundary - horizons]
    validation = numbers[numbers >= boundary + horizons]
    if not len(train) or not len(validation):
        empty = "validation" if len(train) else "training"
        raise SettingsError(
            f"val_ratio={val_ratio} of {rows} rows leaves no {empty} row after purging {horizons} rows on each side "
            f"of the boundary; use more rows or another val_ratio"
        )
    purged = numbers[(numbers >= boundary - horizons) & (numbers < boundary + horizons)]
    return Split(train, validation, purged)


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
