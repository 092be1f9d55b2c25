"""Series of bars in time order, their gaps, and coarser bars made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEVER = np.iinfo(np.int64).max
"""The time from which on a gap is known as a regular break, where it is none."""

_SUMMED_FROM = 4
_SLOTS_AT_ONCE = 1024
"""The parts of so many coarser bars are copied at once, so that a long series is never copied whole."""


@dataclass(frozen=True)
class Bars:
    """Bars in time order: open_times int64 ns UTC (bars,); values float64 (bars, channels); interval in ns.

    Channels: open, high, low, close, then amounts (volume, quote volume, count, taker buy volumes).
    """

    open_times: np.ndarray
    values: np.ndarray
    interval: int

    def gaps(self) -> np.ndarray:
        """Return int64 (gaps,): the index of the last bar before each gap."""
        return np.flatnonzero(np.diff(self.open_times) != self.interval)


def aggregate(base: Bars, interval: int, known: np.ndarray | None = None) -> Bars:
    """Return the complete bars of `interval` ns, aligned to the calendar; a bar with a missing part is left out.

    With `known` (see sessions.known_breaks) a bar is complete, too, when all that it misses lies in regular breaks.
    """
    if interval == base.interval:
        return base
    slots = base.open_times // interval
    starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    ends = np.append(starts[1:], len(slots))
    whole = ends - starts == interval // base.interval
    if known is not None:
        whole |= _missing_only_breaks(base, interval, starts, ends, known)
    starts, ends = starts[whole], ends[whole]
    merged = np.empty((len(starts), base.values.shape[1]))
    for count in np.unique(ends - starts):
        chosen = np.flatnonzero(ends - starts == count)
        for first in range(0, len(chosen), _SLOTS_AT_ONCE):
            some = chosen[first : first + _SLOTS_AT_ONCE]
            merged[some] = _merged(base.values[starts[some][:, None] + np.arange(count)])
    return Bars(slots[starts] * interval, merged, interval)


def _merged(parts: np.ndarray) -> np.ndarray:
    """One bar of each group of bars: float64 (groups, bars, channels) to (groups, channels)."""
    merged = np.empty((parts.shape[0], parts.shape[2]))
    merged[:, 0], merged[:, 3] = parts[:, 0, 0], parts[:, -1, 3]
    merged[:, 1], merged[:, 2] = parts[:, :, 1].max(axis=1), parts[:, :, 2].min(axis=1)
    merged[:, _SUMMED_FROM:] = parts[:, :, _SUMMED_FROM:].sum(axis=1)
    return merged


def _missing_only_breaks(
    base: Bars, interval: int, starts: np.ndarray, ends: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Whether every gap that touches a slot is a regular break: bool (slots,)."""
    gaps = base.gaps()
    unknown = np.zeros(len(base.open_times) + 1, np.int64)
    unknown[gaps + 1] = known == NEVER
    before = np.cumsum(unknown)  # before[i]: gaps before bar i that are no breaks
    slot_times = base.open_times[starts] // interval * interval
    late_start = base.open_times[starts] > slot_times
    early_end = base.open_times[ends - 1] + base.interval < slot_times + interval
    first = np.where(late_start, starts - 1, starts)
    last = np.where(early_end, ends, ends - 1)
    return (first >= 0) & (last < len(base.open_times)) & (before[np.minimum(last, len(unknown) - 1)] == before[first])
