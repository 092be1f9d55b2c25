"""Anonymous memory within training steps: what each phase of a pass adds, and the passes in which it jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .process import read_memory

SPIKE_BYTES, SPIKE_SHARE = 16 << 20, 0.03
"""Anonymous memory above the highest so far by more than both is a spike."""

WARM_UP_STEPS = 10
_KEPT_SPIKES = 100
_LOOK_EVERY = 10


@dataclass(frozen=True)
class StepPhase:
    """One phase of training steps: bytes by which it moved anonymous memory, over all its visits.

    `first_bytes` is the first visit's change, when memory is taken that later visits find again.
    """

    phase: str
    visits: int
    first_bytes: int
    mean_bytes: float
    largest_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class MemorySpike:
    """Anonymous memory rose to `anon_bytes`, `rise_bytes` above its highest before, at the end of a phase of a pass."""

    step: int
    batch: int
    phase: str
    anon_bytes: int
    rise_bytes: int


class StepMemory:
    """Attributes changes of anonymous memory to phases: `begin` a step, then `mark` the end of each phase.

    A mark reads the process's status: 20 to 100 microseconds. Of the phases inside a pass every tenth step is looked
    at, and the first ten (`is_looking`); the passes of the others end in 'pass'.
    """

    def __init__(self, *, look: Callable[[], int] | None = None, sink: Callable[[MemorySpike], None] | None = None):
        self._look = look or (lambda: read_memory().anon_bytes)
        self._sink = sink or (lambda spike: None)
        self._sums: dict[str, list[int]] = {}  # visits, first, sum, largest, peak
        self._step = self._batch = self._steps = 0
        self._last = self._highest = 0
        self.spikes: list[MemorySpike] = []

    def begin(self, step: int) -> None:
        """Begin the passes of a step; what memory did since the last mark belongs to no phase of it."""
        self._step, self._batch = step, 0
        self._steps += 1
        self._last = self._look()
        self._highest = max(self._highest, self._last)

    @property
    def is_looking(self) -> bool:
        """Whether phases inside the passes of this step are to be marked."""
        return self._steps <= WARM_UP_STEPS or self._steps % _LOOK_EVERY == 0

    def next_batch(self) -> None:
        """The marks from here on belong to the step's next pass."""
        self._batch += 1

    def mark(self, phase: str) -> None:
        """The named phase ends here."""
        size = self._look()
        change, self._last = size - self._last, size
        sums = self._sums.setdefault(phase, [0, change, 0, change, size])
        sums[0] += 1
        sums[2] += change
        sums[3] = max(sums[3], change)
        sums[4] = max(sums[4], size)
        rise = size - self._highest
        if rise > 0:
            self._highest = size
            if self._steps > WARM_UP_STEPS and rise > max(SPIKE_BYTES, SPIKE_SHARE * size):
                self._note(MemorySpike(self._step, self._batch, phase, size, rise))

    def table(self) -> list[StepPhase]:
        """Return one row per phase, in order of first appearance."""
        return [
            StepPhase(phase, visits, first, float(np.divide(total, visits)), largest, peak)
            for phase, (visits, first, total, largest, peak) in self._sums.items()
        ]

    def _note(self, spike: MemorySpike) -> None:
        if len(self.spikes) < _KEPT_SPIKES:
            self.spikes.append(spike)
            self._sink(spike)
