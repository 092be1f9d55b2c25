"""The weekly pattern of closed hours: which gaps of a series are regular breaks, and from when on that was known.

Futures, currencies and stocks have nights and weekends. What is regular at t is learned from the weeks before t alone,
so that no row depends on its future: at every turn of a week, counted from the first bar, the closed hours are learned
anew; gaps before it become known breaks then, gaps in the week after it as soon as they end.
"""

from __future__ import annotations

import numpy as np

from ..times import SECOND
from .bars import NEVER, Bars

WEEK = 7 * 86_400 * SECOND
_SHIFT = 3600 * SECOND
_FEWEST_WEEKS, _MOST_WEEKS = 2, 26
_CLOSED_SHARE = 0.75
"""A gap is a break when this share of its missing bars falls into closed hours: a holiday between two nights of a stock
exchange is one; a currency's Christmas day, an outage and a halt are not."""
_ALIKE = 0.5
"""Share of the gaps that must look like breaks for the hint on sessions."""


def known_breaks(bars: Bars) -> np.ndarray:
    """Return int64 ns (gaps,): the time from which on each gap is known as a regular break, NEVER for the others.

    Gaps are in the order of `bars.gaps()`. Hours are closed when more than half of the latest 26 weeks (at least two)
    had no bar in them; a gap may lie up to an hour from them, as it does when the clocks change.
    """
    gaps = bars.gaps()
    known = np.full(len(gaps), NEVER)
    if not len(gaps):
        return known
    slots = max(1, WEEK // bars.interval)
    position = (bars.open_times - bars.open_times[0]) // bars.interval
    starts = position[gaps] + 1  # the first missing slot
    lengths = position[gaps + 1] - starts
    turns = int((position[-1] + 1) // slots)
    ends = bars.open_times[gaps + 1]
    present = np.zeros((_MOST_WEEKS, slots), bool)
    for week in range(turns):
        first, last = np.searchsorted(position, [week * slots, (week + 1) * slots])
        present[week % _MOST_WEEKS] = False
        present[week % _MOST_WEEKS, position[first:last] % slots] = True
        seen = min(week + 1, _MOST_WEEKS)
        if seen < _FEWEST_WEEKS:
            continue
        closed = 2 * present[:seen].sum(axis=0) < seen
        turn = bars.open_times[0] + (week + 1) * slots * bars.interval
        judged = np.flatnonzero(known[: np.searchsorted(ends, turn + slots * bars.interval, side="right")] == NEVER)
        regular = judged[_regular(closed, starts[judged], lengths[judged], _SHIFT // bars.interval)]
        known[regular] = np.maximum(ends[regular], turn)
    return known


def _regular(closed: np.ndarray, starts: np.ndarray, lengths: np.ndarray, shift: int) -> np.ndarray:
    """Whether gaps lie in closed slots of the week, as they are or `shift` slots earlier or later: bool (gaps,)."""
    slots = len(closed)
    before = np.concatenate([[0], np.cumsum(closed)])  # closed slots before each
    best = np.zeros(len(starts))
    for move in {-shift, 0, shift}:
        first = (starts + move) % slots
        last = first + lengths % slots
        inside = before[np.minimum(last, slots)] - before[first] + before[np.maximum(last - slots, 0)]
        best = np.maximum(best, (inside + lengths // slots * before[-1]) / lengths)
    return best >= _CLOSED_SHARE


def describe_breaks(bars: Bars) -> str:
    """Return the longest regular break and how many there are, where most gaps are regular; else ''."""
    gaps = bars.gaps()
    regular = known_breaks(bars) < NEVER
    if regular.sum() < max(2, _ALIKE * len(gaps)):
        return ""
    gaps = gaps[regular]
    start = bars.open_times[gaps] + bars.interval
    length = bars.open_times[gaps + 1] - start
    kinds: dict[tuple[str, str], int] = {}
    for begin, span in zip(start.tolist(), length.tolist(), strict=True):
        kind = (_week_time(begin), _week_time(begin + span))
        kinds[kind] = kinds.get(kind, 0) + 1
    most = [kind for kind in sorted(kinds, key=lambda kind: -kinds[kind])[:3] if kinds[kind] > 1]
    return "; ".join(f"{begin} to {end} ({kinds[begin, end]} times)" for begin, end in most)


def _week_time(time: int) -> str:
    """A time as day of the week and clock, UTC."""
    days, rest = divmod(time // SECOND, 86_400)
    return f"{('Thu', 'Fri', 'Sat', 'Sun', 'Mon', 'Tue', 'Wed')[days % 7]} {rest // 3600:02d}:{rest // 60 % 60:02d}"
