"""Search for the batch size that trains fastest: a few trials, each chosen by what the earlier ones measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .plan import Trial

MOST_TRIALS, SEARCH_SECONDS = 6, 150
"""Most trials in one search, and seconds after which no new one starts."""

FIRST_BATCH = 32
"""Rows per pass of the first trial, or the next smaller size: on a CPU, speed changes little above and much below."""

WORTH = 0.05
"""Relative gain in rows per second that justifies the memory of a larger batch."""


def first_batch(sizes: Sequence[int]) -> int:
    """Return the size of the first trial."""
    return max((size for size in sizes if size <= FIRST_BATCH), default=sizes[0])


def search(
    sizes: Sequence[int],
    try_out: Callable[[int], Trial],
    *,
    is_good: Callable[[Trial], bool],
    clock: Callable[[], float] = time.monotonic,
) -> list[Trial]:
    """Try sizes (ascending) until the smallest within WORTH of the fastest is known; return the trials in order.

    A trial that is not good, for lack of memory, rules out its size and all larger ones. Larger sizes are tried while
    the rate rises by at least WORTH, then smaller ones while it falls by no more.
    """
    trials: list[Trial] = []
    began = clock()

    def is_over() -> bool:
        return len(trials) >= MOST_TRIALS or clock() - began > SEARCH_SECONDS

    def attempt(at: int) -> float | None:
        trial = try_out(sizes[at])
        trials.append(trial)
        return (trial.rows_per_second or 0.0) if is_good(trial) else None

    first = at = sizes.index(first_batch(sizes))
    best = attempt(at)
    while best is None and at > 0 and not is_over():
        at -= 1
        best = attempt(at)
    while best is not None and first <= at < len(sizes) - 1 and not is_over():
        rate = attempt(at + 1)
        if rate is None or rate < (1 + WORTH) * best:
            break
        at, best = at + 1, rate
    while best is not None and 0 < at <= first and not is_over():
        rate = attempt(at - 1)
        if rate is None or rate < (1 - WORTH) * best:
            break
        at, best = at - 1, max(best, rate)
    return trials


def choose(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the smallest batch whose rate is within WORTH of the fastest; all `trials` must be good."""
    best = max(trial.rows_per_second or 0.0 for trial in trials)
    fast = (trial for trial in trials if (trial.rows_per_second or 0.0) >= (1 - WORTH) * best)
    return min(fast, key=lambda trial: trial.batch_size)
