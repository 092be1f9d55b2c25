"""Leak detection: does anonymous memory keep growing step after step, and what holds it?

Growth is measured by the slope of Theil (1950) and Sen (1968), the median over all pairs of samples, with Sen's
confidence interval: a single jump or spike does not move it. Growth that disappears when the allocator releases freed
memory is not a leak. What remains is traced for some steps to find its source.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .collection import trim
from .process import read_memory
from .timeline import Sample, phase_names, phase_visits

LEAST_SLOPE, LEAST_GROWTH = 5_000, 16_000_000
"""Bytes per step, and bytes over the tested samples, below which growth does not count as a leak.

The heap of a fresh run grows by some 13 MB over hundreds of steps as it settles; 2,000 steps at the least slope are
10 MB.
"""

LEAK_WARM_UP_STEPS, SAMPLES, TRACED_STEPS = 50, 100, 20
"""Steps ignored at the start, latest samples tested together, steps of tracing."""

LEAST_SHARE = 0.22
"""Least share of the total growth in each of the three rises between quarters: steady growth has a third in each, a
settling heap less and less."""

LEAST_VISITS = 6
"""Visits of a phase from which growth is tested: noise of 50 MB passes for growth in 0.4% of cases (simulated)."""

_EVERY, _KEPT, _LEAST_SAMPLES, _MOST_TRACINGS = 10, 400, 10, 3
_TRACER = tracemalloc.__file__
_GRAPHS = ("FuncGraph", "ConcreteFunction", "AtomicFunction")


@dataclass(frozen=True)
class Slope:
    """Bytes per step: the median over all pairs of samples, and its 95% interval."""

    bytes_per_step: float
    low: float
    high: float


@dataclass(frozen=True)
class Leak:
    """Memory that keeps growing. `holder` is 'python', 'retracing' or 'native'; `detail` is what is known about it."""

    step: int
    holder: str
    bytes_per_step: float
    low: float
    high: float
    detail: str


def theil_sen(steps: np.ndarray, sizes: np.ndarray, *, reach: int | None = None) -> Slope:
    """Return the slope of sizes over steps (both (samples,), ascending steps), robust to 29% of outliers.

    With `reach`, only pairs at most that many samples apart count: one jump then moves the slope less.

    The interval uses the ranks of Sen (1968), by the normal approximation of Kendall's statistic. Its variance follows
    from the correlation of two pairs with one sample in common: 1/3 if it is the earlier or the later one of both, -1/3
    if it is the later one of one pair and the earlier one of the other.
    """
    n = len(steps)
    reach = reach or n
    first, second = np.triu_indices(n, 1)
    near = second - first <= reach
    first, second = first[near], second[near]
    slopes = np.sort((sizes[second] - sizes[first]) / (steps[second] - steps[first]))
    later = np.minimum(np.arange(n)[::-1], reach)  # pairs in which a sample is the earlier one
    earlier = later[::-1]
    variance = len(slopes) + np.sum(later * (later - 1) + earlier * (earlier - 1) - 2 * later * earlier) / 3
    half = 1.96 * np.sqrt(variance) / 2
    low = max(0, int(len(slopes) / 2 - half))
    high = min(len(slopes) - 1, int(len(slopes) / 2 + half))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def find_growth(samples: Sequence[tuple[int, int]]) -> Slope | None:
    """Return the slope over (step, bytes) if memory grows with 95% confidence, steadily and not in one jump."""
    steps, sizes = np.array(samples, float).T
    slope = theil_sen(steps, sizes)
    rises = np.diff([np.median(part) for part in np.array_split(sizes, 4)])
    steady = rises.min() > LEAST_SHARE * rises.sum() > 0
    growth = slope.low * (steps[-1] - steps[0])
    return slope if steady and slope.low > LEAST_SLOPE and growth > LEAST_GROWTH else None


@dataclass(frozen=True)
class PhaseGrowth:
    """Whether a phase leaves more memory held each time: bytes per visit, and whether `find_growth` confirms it."""

    phase: str
    visits: int
    slope: Slope
    is_growth: bool


def phase_growth(samples: Sequence[Sample]) -> list[PhaseGrowth]:
    """Return, for phases with at least LEAST_VISITS visits, how memory after a visit changes from visit to visit."""
    found = []
    for name in phase_names(samples):
        ends = [visit[-1].anon_bytes for visit in phase_visits(name, samples)]
        if len(ends) >= LEAST_VISITS:
            points = list(enumerate(ends))
            growth = find_growth(points)
            found.append(PhaseGrowth(name, len(ends), growth or theil_sen(*np.array(points, float).T), bool(growth)))
    return found


class LeakWatch:
    """Checks anonymous memory once per step; call `observe` at the end of each step, after garbage is collected.

    It tests the latest 100 samples, which finds 0.2 MB per step within 200 steps, and up to 400 of the whole run, each
    the lowest of some steps, which finds slow leaks. The cost is one read of the process's status per step (20
    microseconds), slopes every ten steps (up to 10 ms), and, only when memory grows and stays, Python's tracing of
    allocations for twenty steps, at most three times. `look` must leave out memory that is accounted for elsewhere,
    such as a cache that fills.

    `slope` is in bytes per step, since the warm-up, the last tracing or the last call of `restart`. Samples far apart
    are not compared: malloc's free memory falls into more pieces now and then, and a jump of a few MB in 2,000 steps is
    no growth.
    """

    def __init__(self, *, look: Callable[[], int] | None = None):
        self._look = look or (lambda: read_memory().anon_bytes)
        self._recent: list[tuple[int, int]] = []
        self._all: list[tuple[int, int]] = []
        self._stretch: list[tuple[int, int]] = []
        self._before_restart: list[tuple[int, int]] = []
        self._stride = 1
        self._steps = 0
        self._tracing: _Tracing | None = None
        self._tracings = 0
        self.leaks: list[Leak] = []

    @property
    def slope(self) -> Slope | None:
        """Slope over the samples so far, or over those before the last restart; None with fewer than ten."""
        samples = self._all if len(self._all) >= _LEAST_SAMPLES else self._before_restart
        if len(samples) < _LEAST_SAMPLES:
            return None
        return theil_sen(*np.array(samples, float).T, reach=max(2, len(samples) // 4))

    def restart(self) -> None:
        """Begin anew: from here on memory holds something once that it did not hold before, such as a traced graph."""
        self.close()
        if len(self._all) >= _LEAST_SAMPLES:
            self._before_restart = self._all
        self._forget()

    def observe(self, step: int) -> Leak | None:
        """Sample the memory of this step; return a leak if its source has just been found."""
        self._steps += 1
        if self._steps <= LEAK_WARM_UP_STEPS:
            return None
        if self._tracing is not None:
            return self._end_tracing(step) if self._tracing.is_over(self._steps) else None
        self._keep((self._steps, self._look()))
        if self._steps % _EVERY == 0 and self._tracings < _MOST_TRACINGS:
            self._judge(self._recent)
            if self._tracing is None and self._steps % (_EVERY * self._stride) == 0:
                self._judge(self._all)
        return None

    def close(self) -> None:
        """Stop tracing if it is on."""
        if self._tracing is not None:
            self._tracing.close()
            self._tracing = None

    def _keep(self, sample: tuple[int, int]) -> None:
        """Keep the latest samples, and of each stride the lowest: there, malloc has just released its free memory."""
        self._recent = [*self._recent[1 - SAMPLES :], sample]
        self._stretch.append(sample)
        if len(self._stretch) >= self._stride:
            self._all.append(_lowest(self._stretch))
            self._stretch = []
        if len(self._all) > _KEPT:
            self._all = [_lowest(self._all[at : at + 2]) for at in range(0, len(self._all), 2)]
            self._stride *= 2

    def _forget(self) -> None:
        self._recent, self._all, self._stretch, self._stride = [], [], [], 1

    def _judge(self, samples: Sequence[tuple[int, int]]) -> None:
        """Start tracing if memory grows, and does not fall when all free memory is released."""
        slope = find_growth(samples) if len(samples) >= SAMPLES // 2 else None
        if slope is None:
            return
        gc.collect()
        trim()
        half_grown = slope.bytes_per_step * (samples[-1][0] - samples[0][0]) / 2
        if self._look() > samples[-1][1] - half_grown:
            self._tracing = _Tracing(self._steps, slope, self._look())
            self._tracings += 1
        else:
            self._recent = []

    def _end_tracing(self, step: int) -> Leak | None:
        """The leak found by tracing; None if memory did not grow meanwhile, or the leak is already known."""
        assert self._tracing is not None
        tracing, self._tracing = self._tracing, None
        self._forget()
        if self._look() < tracing.size + tracing.slope.bytes_per_step * TRACED_STEPS / 2:
            tracing.close()
            return None
        leak = tracing.name(step)
        if leak.holder in (known.holder for known in self.leaks):
            return None
        self.leaks.append(leak)
        return leak


def _lowest(samples: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(samples, key=lambda sample: sample[1])


class _Tracing:
    """Python's allocations and new objects over some steps, to find what grows."""

    def __init__(self, started: int, slope: Slope, size: int):
        self._started, self.slope, self.size = started, slope, size
        self._was_tracing = tracemalloc.is_tracing()
        if not self._was_tracing:
            tracemalloc.start(1)
        self._census = _census()
        self._before = tracemalloc.take_snapshot()

    def is_over(self, steps: int) -> bool:
        return steps >= self._started + TRACED_STEPS

    def close(self) -> None:
        if not self._was_tracing:
            tracemalloc.stop()

    def name(self, step: int) -> Leak:
        gc.collect()
        after = tracemalloc.take_snapshot()
        self.close()
        lines = [line for line in after.compare_to(self._before, "lineno") if line.traceback[0].filename != _TRACER]
        traced = sum(line.size_diff for line in lines) / TRACED_STEPS
        came = {name: (count - self._census[name]) / TRACED_STEPS for name, count in _census().items()}
        graphs = sum(came.get(name, 0) for name in _GRAPHS)
        if graphs >= 0.5:
            holder = "retracing"
            detail = f"{graphs:.1f} new graphs a step stay: a tf.function is retraced for new shapes or Python values"
        elif traced >= 0.5 * self.slope.low and lines:
            top = max(lines, key=lambda line: line.size_diff)
            where = f"{Path(top.traceback[0].filename).name}:{top.traceback[0].lineno}"
            holder, detail = "python", f"{traced / 1e6:.2f} MB of Python objects stay each step, most from {where}"
        else:
            holder = "native"
            detail = f"Python objects grow by {max(0, traced) / 1e6:.2f} MB a step, so it is held outside of Python"
        return Leak(step, holder, self.slope.bytes_per_step, self.slope.low, self.slope.high, detail)


def _census() -> Counter[str]:
    """Number of live objects by type, as tracked by the garbage collector."""
    return Counter(type(item).__name__ for item in gc.get_objects())
