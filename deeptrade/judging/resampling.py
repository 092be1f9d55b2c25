"""Resampling blocks of time, for intervals that know that neighbouring rows share most of their targets.

Blocks of consecutive steps in time are drawn with replacement and wrap around at the end (the circular block bootstrap
of Politis and Romano 1992); all rows of a step stay together, since markets move together. Every score is a function of
sums over rows, so a resample costs sums over blocks and not over rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

RESAMPLES, LEAST_BLOCKS = 1000, 10
"""Bootstrap samples; minimum blocks for an interval."""

_MOST_STARTS = 500_000
"""Blocks that are looked up at once: 4 MB."""


class Blocks:
    """Resamples of rows in blocks of `length` steps in time; seeded.

    times: int64 (rows,), ascending; rows of equal time are one step.
    """

    def __init__(self, times: np.ndarray, *, length: int, seed: int = 0):
        self.length = length
        self._first = np.flatnonzero(np.concatenate([[True], np.diff(times) > 0])) if len(times) else np.empty(0, int)
        self.steps = len(self._first)
        self._blocks, self._seed = -(-self.steps // length), seed
        self.are_enough = self._blocks >= LEAST_BLOCKS

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Return the sums over rows of float64 (rows, columns): over all of them, then over each resample.

        The result is (1 + RESAMPLES, columns), or (1, columns) where there are too few blocks.
        """
        whole = columns.sum(axis=0, keepdims=True)
        if not self.are_enough:
            return whole
        by_step = np.add.reduceat(columns, self._first, axis=0)
        sums = [_block_sums(column, self.length) for column in by_step.T]
        found = [whole]
        for starts in self.starts():
            found.append(np.stack([values[starts].sum(axis=1) for values in sums], axis=1))
        return np.concatenate(found)

    def starts(self) -> Iterator[np.ndarray]:
        """Yield where the blocks of some resamples begin, int64 (resamples, blocks), RESAMPLES in all."""
        generator, at_once = np.random.default_rng(self._seed), max(1, _MOST_STARTS // self._blocks)
        for first in range(0, RESAMPLES, at_once):
            yield generator.integers(0, self.steps, (min(at_once, RESAMPLES - first), self._blocks))


def _block_sums(values: np.ndarray, length: int) -> np.ndarray:
    """Return the sum of `length` consecutive values from each position, wrapping around at the end."""
    along = np.resize(values, len(values) + length - 1)
    running = np.concatenate([[0.0], np.cumsum(along)])
    return running[length:] - running[:-length]


def block_length(series: Iterable[np.ndarray], times: np.ndarray, *, overlap: int) -> int:
    """Return the length of blocks in steps of time that these series, float (rows,), NaN where unknown, ask for.

    The largest of the lengths of Politis and White (2004, corrected 2009) for the circular bootstrap, by
    `arch.bootstrap.optimal_block_length`, and of twice `overlap`, the steps until a row's last target is known.
    """
    from arch.bootstrap import optimal_block_length

    first = np.flatnonzero(np.concatenate([[True], np.diff(times) > 0])) if len(times) else np.empty(0, int)
    longest = 2.0 * overlap
    for values in series:
        known = np.isfinite(values)
        counts = np.add.reduceat(known.astype(float), first) if len(first) else np.empty(0)
        by_step = np.add.reduceat(np.where(known, values, 0.0), first)[counts > 0] if len(first) else counts
        if len(by_step) > 20 and np.ptp(by_step) > 0:
            longest = max(longest, float(optimal_block_length(by_step)["circular"].iloc[0]))
    return max(1, int(np.ceil(longest)))
