"""Anonymous memory within training steps: what each phase of a pass adds, and in which passes it jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .process import read_memory

SPIKE_BYTES, SPIKE_SHARE = 16 << 20, 0.03
"""Anonymous memory that exceeds the highest so far by more than both is a spike."""

SPIKE_WARM_UP_STEPS = 10
"""Steps at the start in which no rise counts as a spike, and whose phases are all marked."""
_KEPT_SPIKES = 100
_LOOK_EVERY = 10


@dataclass(frozen=True)
class StepPhase:
    """One phase of training steps: the bytes by which it changed anonymous memory, over all its visits.

    `first_bytes` is the change in the first visit, which allocates memory that later visits reuse.
    """

    phase: str
    visits: int
    first_bytes: int
    mean_bytes: float
    largest_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class MemorySpike:
    """Anonymous memory rose to `anon_bytes`, `rise_bytes` above its previous peak, at the end of a phase of a pass."""

    step: int
    batch: int
    phase: str
    anon_bytes: int
    rise_bytes: int


class StepMemory:
    """Attributes changes of anonymous memory to phases: `begin` a step, then `mark` the end of each phase.

    A mark reads the process's status: 20 to 100 microseconds. Phases inside a pass are marked only in the first ten
    steps and every tenth one (`is_looking`); in the others each pass is one phase, 'pass'.
    """

    def __init__(self, *, look: Callable[[], int] | None = None, sink: Callable[[MemorySpike], None] | None = None):
        self._look = look or (lambda: read_memory().anon_bytes)
        self._sink = sink or (lambda spike: None)
        self._sums: dict[str, list[int]] = {}  # visits, first, sum, largest, peak
        self._step = self._batch = self._steps = 0
        self._last = self._highest = 0
        self.spikes: list[MemorySpike] = []

    def begin(self, step: int) -> None:
        """Begin the passes of a step; changes since the last mark belong to none of its phases."""
        self._step, self._batch = step, 0
        self._steps += 1
        self._last = self._look()
        self._highest = max(self._highest, self._last)

    @property
    def is_looking(self) -> bool:
        """Whether to mark phases inside the passes of this step."""
        return self._steps <= SPIKE_WARM_UP_STEPS or self._steps % _LOOK_EVERY == 0

    def next_batch(self) -> None:
        """Begin the next pass of the step: later marks belong to it."""
        self._batch += 1

    def mark(self, phase: str) -> None:
        """End the named phase here."""
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
            if self._steps > SPIKE_WARM_UP_STEPS and rise > max(SPIKE_BYTES, SPIKE_SHARE * size):
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
