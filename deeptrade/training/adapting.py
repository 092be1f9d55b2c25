"""Rows per pass that follow the memory there is: fewer when little is left, more again when it has come back.

The rows of an optimizer step and their order stay; only into how many passes they are cut changes, between two steps.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from ..memory import ByteBudget, MemoryMonitor
from ..memory.limits import pressure_file
from ..memory.monitor import Recent
from ..planning.rules import batch_sizes

LOW = 0.06
"""Share of the limit below which what is left counts as little, if a pass holds as much. Plans leave a tenth free at
the peak, and runs so planned were seen to leave 8% when they were alone."""

_STALLED = 10.0
"""Percent of the last ten seconds in which some task waited for memory, above which twice as much counts as little."""

_WARM_UP, _WAIT_DOWN, _WAIT_UP = 10, 3, 20
"""Steps at the start, until what tracing took is given back. Steps between two reductions, which show when freed memory
has been given back. Steps in a row with room before there are more rows again, twice as many each time that they had to
go again: who took memory may do it again."""

_KNOWN_STEPS = 20
"""Steps whose highest memory is what the next one is reckoned to need."""

_SPARE = 1.1
"""What more rows are reckoned to take, in units of the prediction."""


class MicroBatch:
    """The rows per pass now, between 1 and those asked for, and whether memory is scarce.

    Arguments: batch_size asked for; effective_batch; row_bytes, what a pass holds for each of its rows; limit_bytes;
    adapt, False to keep the rows per pass as they are.
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
        """Return another number of rows per pass, or None; available_bytes is what a step's fullest moment leaves."""
        self._steps += 1
        self._since_change += 1
        low = self._low_bytes * (2 if stalled_percent > _STALLED else 1)
        self._note_scarcity(available_bytes < low)
        self._roomy_steps = self._roomy_steps + 1 if self._fits(self._next(), available_bytes, low) else 0
        may_fall = self._steps > _WARM_UP and self._since_change > _WAIT_DOWN and self.size > self._sizes[0]
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
        """Whether a pass has the rows that were asked for."""
        return self.size == self._sizes[-1]

    def _note_scarcity(self, is_low: bool) -> None:
        self._easy_steps = 0 if is_low else self._easy_steps + 1
        if is_low and self._steps > _WARM_UP:
            self.is_scarce = True
        elif self._easy_steps >= _WAIT_UP:
            self.is_scarce = False

    def _next(self) -> int:
        """The next larger size; the size itself where there is none."""
        return next((size for size in self._sizes if size > self.size), self.size)

    def _fits(self, size: int, available_bytes: int, low: int) -> bool:
        more = (size - self.size) * self._row_bytes
        return size != self.size and available_bytes - (_SPARE * more if more > 0 else more) >= low

    def _take(self, size: int) -> int:
        self.size, self._since_change, self._roomy_steps = size, 0, 0
        return size


class StepPeak:
    """What the fullest moment of a step leaves: samples that miss it know how high the steps before went."""

    def __init__(self) -> None:
        self._most: deque[int] = deque(maxlen=_KNOWN_STEPS)

    def forget(self) -> None:
        """Steps are others from here on."""
        self._most.clear()

    def available_bytes(self, recent: Recent) -> int:
        """Return the bytes left at a step's peak, from the samples since the step before."""
        self._most.append(recent.most_anon_bytes)
        rise = max(self._most) - recent.latest.anon_bytes
        return min(recent.least_available_bytes, recent.latest.available_bytes - rise)


class MemoryFollower:
    """Asks a monitor after every step what is left, squeezes the budget while that is scarce, and sizes the passes.

    `available_bytes` is what the last step left at its fullest moment.
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
        """Whether memory is scarce, or was when the passes became smaller than asked for."""
        return self._micro_batch.is_scarce or not self._micro_batch.is_largest

    def settle(self) -> None:
        """What was held until now says nothing of the steps to come: after validation, or a change of the passes."""
        self._monitor.sample()
        self._monitor.take_recent()
        self._peak.forget()

    def after_step(self, step: int) -> int | None:
        """Return another number of rows per pass, or None; with it, the caller resizes, trims and then settles."""
        self._steps += 1
        self.available_bytes = self._peak.available_bytes(self._monitor.take_recent())
        was_scarce = self._micro_batch.is_scarce
        size = self._micro_batch.after_step(self.available_bytes, stalled_percent=stalled_percent(self._pressure))
        if self._micro_batch.is_scarce != was_scarce:
            self._budget.squeeze(not was_scarce)
            content = {"step": step, "scarce": not was_scarce, "available_bytes": self.available_bytes}
            self._monitor.note("scarce", **content)
        if self._steps == _WARM_UP or self._micro_batch.is_scarce != was_scarce:
            self.settle()
        return size


def stalled_percent(path: Path) -> float:
    """Return the percent of the last ten seconds in which some task waited for memory; 0 where it is not told.

    `path` is a file of pressure stall information, such as `pressure_file` gives.
    """
    try:
        first = path.read_text().split("\n", 1)[0]
        return float(first.split("avg10=", 1)[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0.0
