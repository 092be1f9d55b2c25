"""Rows per pass that follow the available memory: fewer when little is left, more again when it is back.

The rows of an optimizer step and their order stay the same; only the number of passes changes, between steps.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from ..memory import ByteBudget, MemoryMonitor
from ..memory.limits import pressure_file
from ..memory.monitor import Recent
from ..planning.rules import batch_sizes

LOW = 0.06
"""Share of the limit below which memory counts as low, capped at what one pass holds. Plans leave a tenth free at the
peak; planned runs alone on a machine were seen to leave 8%."""

_STALLED = 10.0
"""Percent of the last ten seconds in which some task waited for memory; above it, the low-memory threshold doubles."""

_SETTLING_STEPS, _WAIT_DOWN, _WAIT_UP = 10, 3, 20
"""Steps at the start, until memory used for tracing is released. Steps between two reductions, enough to see whether
freed memory was released. Steps in a row with room before a pass grows again, doubled each time it had to shrink after
growing: whatever took the memory may take it again."""

_KNOWN_STEPS = 20
"""Latest steps whose highest memory is taken as what the next step needs."""

_SPARE = 1.1
"""Factor on the predicted memory of additional rows."""


class MicroBatch:
    """The current rows per pass, from 1 to the number requested, and whether memory is scarce.

    Arguments: batch_size requested; effective_batch; row_bytes, what a pass holds per row; limit_bytes; adapt, False to
    keep the rows per pass fixed.
    """

    def __init__(self, batch_size: int, effective_batch: int, *, row_bytes: int, limit_bytes: int, adapt: bool = True):
        self.size = batch_size
        self.is_scarce = False
        smaller = {size for size in batch_sizes(effective_batch) if size < batch_size} if adapt else set()
        self._sizes = sorted(smaller | {batch_size})
        self._row_bytes, self._low_bytes = row_bytes, min(int(LOW * limit_bytes), batch_size * row_bytes)
        self._steps = 0
        self._since_change = _WAIT_DOWN
        self._roomy_steps = self._easy_steps = 0
        self._wait_up, self._has_grown = _WAIT_UP, False

    def after_step(self, available_bytes: int, *, stalled_percent: float = 0.0) -> int | None:
        """Return a new number of rows per pass, or None; available_bytes is what is left at the step's peak."""
        self._steps += 1
        self._since_change += 1
        low = self._low_bytes * (2 if stalled_percent > _STALLED else 1)
        self._note_scarcity(available_bytes < low)
        self._roomy_steps = self._roomy_steps + 1 if self._fits(self._next(), available_bytes, low) else 0
        may_fall = self._steps > _SETTLING_STEPS and self._since_change > _WAIT_DOWN and self.size > self._sizes[0]
        if available_bytes < low and may_fall:
            smaller = [size for size in self._sizes if size < self.size]
            self._wait_up *= 2 if self._has_grown else 1
            self._has_grown = False
            return self._take(
                max((size for size in smaller if self._fits(size, available_bytes, low)), default=smaller[0])
            )
        if self._roomy_steps >= self._wait_up:
            self._has_grown = True
            larger = [size for size in self._sizes if size > self.size]
            return self._take(max(size for size in larger if self._fits(size, available_bytes, low)))
        return None

    @property
    def is_largest(self) -> bool:
        """Whether a pass has the requested number of rows."""
        return self.size == self._sizes[-1]

    def _note_scarcity(self, is_low: bool) -> None:
        self._easy_steps = 0 if is_low else self._easy_steps + 1
        if is_low and self._steps > _SETTLING_STEPS:
            self.is_scarce = True
        elif self._easy_steps >= _WAIT_UP:
            self.is_scarce = False

    def _next(self) -> int:
        """The next larger size, or the current one if it is the largest."""
        return next((size for size in self._sizes if size > self.size), self.size)

    def _fits(self, size: int, available_bytes: int, low: int) -> bool:
        more = (size - self.size) * self._row_bytes
        return size != self.size and available_bytes - (_SPARE * more if more > 0 else more) >= low

    def _take(self, size: int) -> int:
        self.size, self._since_change, self._roomy_steps = size, 0, 0
        return size


class StepPeak:
    """Memory left at the peak of a step; if samples miss the peak, the peaks of earlier steps stand in for it."""

    def __init__(self) -> None:
        self._most: deque[int] = deque(maxlen=_KNOWN_STEPS)

    def forget(self) -> None:
        """Forget earlier peaks: the steps from here on differ."""
        self._most.clear()

    def available_bytes(self, recent: Recent) -> int:
        """Return the bytes left at the step's peak, from the samples since the previous step."""
        self._most.append(recent.most_anon_bytes)
        rise = max(self._most) - recent.latest.anon_bytes
        return min(recent.least_available_bytes, recent.latest.available_bytes - rise)


class MemoryFollower:
    """Checks after every step how much memory is left, shrinks the budget while it is scarce, and sizes the passes.

    `available_bytes` is what was left at the peak of the last step.
    """

    def __init__(self, micro_batch: MicroBatch, monitor: MemoryMonitor, budget: ByteBudget):
        self._micro_batch, self._monitor, self._budget = micro_batch, monitor, budget
        self._peak, self._pressure = StepPeak(), pressure_file()
        self._steps = 0
        self.available_bytes = 0

    @property
    def size(self) -> int:
        """Rows per pass now."""
        return self._micro_batch.size

    @property
    def is_scarce(self) -> bool:
        """Whether memory is scarce, or was when the passes became smaller than requested."""
        return self._micro_batch.is_scarce or not self._micro_batch.is_largest

    def settle(self) -> None:
        """Discard earlier samples, which say nothing about the next steps: after validation or a new pass size."""
        self._monitor.sample()
        self._monitor.take_recent()
        self._peak.forget()

    def after_step(self, step: int) -> int | None:
        """Return a new number of rows per pass, or None; given one, the caller resizes, trims and then settles."""
        self._steps += 1
        self.available_bytes = self._peak.available_bytes(self._monitor.take_recent())
        was_scarce = self._micro_batch.is_scarce
        size = self._micro_batch.after_step(self.available_bytes, stalled_percent=stalled_percent(self._pressure))
        if self._micro_batch.is_scarce != was_scarce:
            self._budget.squeeze(not was_scarce)
            content = {"step": step, "scarce": not was_scarce, "available_bytes": self.available_bytes}
            self._monitor.note("scarce", **content)
        if self._steps == _SETTLING_STEPS or self._micro_batch.is_scarce != was_scarce:
            self.settle()
        return size


def stalled_percent(path: Path) -> float:
    """Return the percent of the last ten seconds in which some task waited for memory; 0 if unknown.

    `path` is a file of pressure stall information, as returned by `pressure_file`.
    """
    try:
        first = path.read_text().split("\n", 1)[0]
        return float(first.split("avg10=", 1)[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0.0
