"""Which rows of every step one of several workers takes: whole passes, in order, as many each as can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """The part of worker `number` of `count`, where a step of `step_rows` rows is cut in passes of `batch_size` rows.

    The cut is that of one process, so that a pass has the same rows, and the same sums, whoever computes it. A worker
    may cut its own part further.

    >>> [Share(number, 3, batch_size=2, step_rows=8).of_step(0, 8) for number in range(3)]
    [(0, 2), (2, 4), (4, 8)]
    """

    number: int
    count: int
    batch_size: int
    step_rows: int

    def of_step(self, start: int, stop: int) -> tuple[int, int]:
        """Return the positions [first, last) that are this worker's in the step of positions [start, stop)."""
        passes = -(-(stop - start) // self.batch_size)
        first, last = (start + passes * part // self.count * self.batch_size for part in (self.number, self.number + 1))
        return first, min(last, stop)

    def passes(self, start: int, samples: int, *, batch_size: int) -> Iterator[tuple[int, int]]:
        """Yield the positions [first, last) of this worker's passes of at most `batch_size` rows, from `start` on."""
        for step in range(start - start % self.step_rows, samples, self.step_rows):
            first, last = self.of_step(step, min(step + self.step_rows, samples))
            for position in range(max(first, start), last, batch_size):
                yield position, min(position + batch_size, last)

    def holds(self, positions: np.ndarray, samples: int) -> np.ndarray:
        """Return which positions of an epoch of `samples` rows are this worker's, bool (positions,)."""
        starts = positions - positions % self.step_rows
        passes = -(-np.minimum(self.step_rows, samples - starts) // self.batch_size)
        number = (positions - starts) // self.batch_size
        return (passes * self.number // self.count <= number) & (number < passes * (self.number + 1) // self.count)
