"""A leak alarm: does anonymous memory grow step after step, for good, and who holds it?

Growth is judged by the slope of Theil (1950) and Sen (1968), the median over all pairs of samples, with Sen's
confidence interval: one large step up or a spike does not move it. Growth that goes when the allocator is asked to give
freed memory back is no leak. What remains is traced for some steps, to name it.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .collection import trim
from .process import read_memory

LEAST_SLOPE = 5_000
"""Bytes per step below which growth is not called a leak: 2,000 steps of it are 10 MB."""

WARM_UP_STEPS, SAMPLES, TRACED_STEPS = 20, 100, 20
"""Steps left out at the start, samples that are judged together, steps of tracing: an alarm comes within 200 steps."""

_EVERY = 10
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
    """Memory that grows for good. `kind` is 'python', 'retracing' or 'native'; `detail` says what is known of it."""

    step: int
    kind: str
    bytes_per_step: float
    low: float
    high: float
    detail: str


def theil_sen(steps: np.ndarray, sizes: np.ndarray) -> Slope:
    """Return the slope of sizes over steps (both (samples,), ascending steps), robust to 29% of outliers.

    The interval takes the ranks of Sen (1968), by the normal approximation of Kendall's statistic.
    """
    first, second = np.triu_indices(len(steps), 1)
    slopes = np.sort((sizes[second] - sizes[first]) / (steps[second] - steps[first]))
    n = len(steps)
    half = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    low = max(0, int(len(slopes) / 2 - half))
    high = min(len(slopes) - 1, int(len(slopes) / 2 + half))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


def grows(sizes: np.ndarray) -> bool:
    """Whether each quarter's median lies above the one before by a fair share of the whole growth: no single step."""
    medians = np.array([np.median(part) for part in np.array_split(sizes, 4)])
    rises = np.diff(medians)
    return bool((rises > 0.15 * rises.sum()).all() and rises.sum() > 0)


class LeakWatch:
    """Looks at anonymous memory once a step; call `observe` at the end of each, after garbage is collected.

    It costs one read of the process's status a step (20 microseconds), a slope every ten (1 ms), and, only when memory
    grows and stays, Python's tracing of allocations for twenty steps. Memory that grew once is said once.

    `slope` is that of all steps after the warm-up, over at most 400 samples.
    """

    def __init__(self, *, look: Callable[[], int] | None = None):
        self._look = look or (lambda: read_memory().anon_bytes)
        self._recent: list[tuple[int, int]] = []
        self._all: list[tuple[int, int]] = []
        self._stride = 1
        self._steps = 0
        self._trimmed_at: int | None = None
        self._tracing: _Tracing | None = None
        self.leaks: list[Leak] = []

    @property
    def slope(self) -> Slope | None:
        """Growth over the whole run so far; None before there are ten samples."""
        if len(self._all) < 10:
            return None
        return theil_sen(*np.array(self._all, float).T)

    def observe(self, step: int) -> Leak | None:
        """Take this step's memory into account; return a leak when one has just been named."""
        self._steps += 1
        if self._steps <= WARM_UP_STEPS:
            return None
        if self._tracing is not None:
            return self._end_tracing(step) if self._tracing.is_over(self._steps) else None
        size = self._look()
        self._keep(step, size)
        self._recent = [*self._recent[1 - SAMPLES :], (step, size)]
        if self._steps % _EVERY or len(self._recent) < SAMPLES // 2:
            return None
        slope = self._suspicious_slope()
        if slope is None:
            return None
        if self._trimmed_at is None:
            gc.collect()
            trim()
            self._trimmed_at = self._steps
            self._recent = self._recent[-SAMPLES // 2 :] if self._look() > self._half_grown() else []
        elif not self.leaks:
            self._tracing = _Tracing(self._steps, slope)
        return None

    def close(self) -> None:
        """Stop tracing, where it is on."""
        if self._tracing is not None:
            self._tracing.close()
            self._tracing = None

    def _keep(self, step: int, size: int) -> None:
        if self._steps % self._stride == 0:
            self._all.append((step, size))
        if len(self._all) > 400:
            self._all = self._all[::2]
            self._stride *= 2

    def _half_grown(self) -> float:
        sizes = [size for _, size in self._recent]
        return (np.median(sizes[:5]) + np.median(sizes[-5:])) / 2

    def _suspicious_slope(self) -> Slope | None:
        steps, sizes = np.array(self._recent, float).T
        slope = theil_sen(steps, sizes)
        return slope if slope.low > LEAST_SLOPE and grows(sizes) else None

    def _end_tracing(self, step: int) -> Leak:
        assert self._tracing is not None
        leak = self._tracing.name(step, self._steps)
        self._tracing = None
        self._recent = []
        self.leaks.append(leak)
        return leak


class _Tracing:
    """Python's allocations over some steps, and the objects that came: who is it that grows?"""

    def __init__(self, started: int, slope: Slope):
        self._started, self._slope = started, slope
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

    def name(self, step: int, steps: int) -> Leak:
        gc.collect()
        after = tracemalloc.take_snapshot()
        self.close()
        passed = steps - self._started
        lines = [line for line in after.compare_to(self._before, "lineno") if line.traceback[0].filename != _TRACER]
        traced = sum(line.size_diff for line in lines) / passed
        came = {name: (count - self._census[name]) / passed for name, count in _census().items()}
        graphs = sum(came.get(name, 0) for name in _GRAPHS)
        if graphs >= 0.5:
            kind = "retracing"
            detail = f"{graphs:.1f} graphs a step stay: a tf.function is traced anew for new shapes or Python values"
        elif traced >= 0.5 * self._slope.low and lines:
            top = max(lines, key=lambda line: line.size_diff)
            where = f"{Path(top.traceback[0].filename).name}:{top.traceback[0].lineno}"
            kind, detail = "python", f"{traced / 1e6:.2f} MB a step of Python objects stay, most from {where}"
        else:
            kind = "native"
            detail = f"Python's own objects grow by {max(0, traced) / 1e6:.2f} MB a step: it is held outside of Python"
        return Leak(step, kind, self._slope.bytes_per_step, self._slope.low, self._slope.high, detail)


def _census() -> Counter[str]:
    """Live objects by type, those that the collector knows."""
    return Counter(type(item).__name__ for item in gc.get_objects())
