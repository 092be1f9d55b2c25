"""From bars to rows: windows of every timeframe, indicators, context, price and targets, none of them across a gap.

Neighbouring windows share all but a few bars. So each bar is turned into text once, and the text of a window joins the
texts of its bars: writing rows costs little more than copying them. Texts no later window needs are let go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..times import SECOND, duration_name
from .bars import NEVER, Bars, aggregate
from .indicators import CLOSE, LONG, Indicators, context

_DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Layout:
    """What a row holds. timeframes and step in ns; window in bars; horizons in steps; breaks: crosses them or not."""

    timeframes: tuple[int, ...]
    window: int
    step: int
    horizons: int
    breaks: bool = False

    def check(self, interval: int) -> None:
        """Raise SettingsError unless bars of `interval` ns can make these rows."""
        for name, length in [("timeframe", t) for t in self.timeframes] + [("step", self.step)]:
            if length % interval:
                raise SettingsError(
                    f"{name} {duration_name(length)} is not a multiple of the source's {duration_name(interval)} bars"
                )
        if len(set(self.timeframes)) < len(self.timeframes):
            raise SettingsError(f"timeframes {', '.join(map(duration_name, self.timeframes))}: give each only once")
        for length in self.timeframes:
            if _DAY % length:
                raise SettingsError(
                    f"timeframe {duration_name(length)} does not divide a day; use such as 5min, 1h, 1D"
                )
        if self.window < 1 or self.horizons < 1:
            raise SettingsError(f"window={self.window}, horizons={self.horizons}: both must be at least 1")

    @property
    def past(self) -> int:
        """How far back a row looks, in nanoseconds, where nothing is missing."""
        return max([(self.window + 1) * length for length in self.timeframes] + [(LONG + 1) * self.step])


_RULES = (
    ((5, 15, 60), 20),
    ((15, 60, 240), 60),
    ((60, 240, 1440), 240),
    ((240, 720, 1440), 720),
    ((1440,), 1440),
)
"""Timeframes and step in minutes for bars of different lengths: the first of which all are multiples of the bar's."""


def default_lengths(interval: int) -> tuple[tuple[int, ...], int]:
    """Return timeframes and step in ns for bars of `interval` ns: the shortest of _RULES that such bars can make.

    >>> [length // (60 * SECOND) for length in default_lengths(15 * 60 * SECOND)[0]]
    [15, 60, 240]
    """
    minute = 60 * SECOND
    for timeframes, step in _RULES:
        if not any(length * minute % interval for length in (*timeframes, step)):
            return tuple(length * minute for length in timeframes), step * minute
    raise SettingsError(
        f"bars of {duration_name(interval)} make no window of a day or less; use bars that divide a day, such as 1h"
    )


class _Timeframe:
    """The bars of one timeframe, with the text and indicators of each, computed when first needed."""

    def __init__(self, bars: Bars, compute: Indicators):
        self.bars = bars
        self._compute = compute
        self._texts: list[str | None] = [None] * len(bars.open_times)
        self._kept_from = 0
        self._indicators: tuple[int, int, np.ndarray] = (-1, 0, np.empty(0))

    def last_closed(self, times: np.ndarray) -> np.ndarray:
        """Index of the last bar that has closed at each time, or -1."""
        return np.searchsorted(self.bars.open_times, times - self.bars.interval, side="right") - 1

    def window_text(self, last: int, bars: int) -> str:
        """JSON of the window [1, bars, channels] that ends with bar `last`; windows are asked for in order of time."""
        texts, first = self._texts, last - bars + 1
        if first > self._kept_from:
            texts[self._kept_from : first] = [None] * (first - self._kept_from)
            self._kept_from = first
        for index in range(first, last + 1):
            if texts[index] is None:
                texts[index] = json.dumps(self.bars.values[index].tolist())
        return "[[" + ", ".join(texts[first : last + 1]) + "]]"  # type: ignore[arg-type]

    def indicators(self, last: int, first: int) -> np.ndarray:
        """Indicators after bar `last` from bars of which `first` is the earliest that may be used."""
        if self._indicators[:2] != (last, first):
            self._indicators = (last, first, self._compute(self.bars.values[first : last + 1]))
        return self._indicators[2]


@dataclass(frozen=True)
class Row:
    """One row at `time` (ns UTC): JSON text per timeframe, indicators, context, last close, targets (NaN: none)."""

    time: int
    windows: list[str]
    indicators: np.ndarray
    context: np.ndarray
    price: float
    targets: np.ndarray


@dataclass
class Plan:
    """At which times rows are made, and why not at the others: counts of times by cause, in the order of causes.

    times int64 ns (rows,); lasts int64 (rows,), the index of the bar that closes at each; starts int64 ns (rows,), the
    open time of the first bar since the last gap that a row may not cross.
    """

    times: np.ndarray
    lasts: np.ndarray
    starts: np.ndarray
    lost: dict[str, int]


class RowMaker:
    """Rows of a series of bars; but for its targets, a row at t holds only what was known at t.

    `known` are the times at which gaps became known breaks (sessions.known_breaks); None where no gap may be crossed.
    """

    def __init__(self, base: Bars, layout: Layout, known: np.ndarray | None = None):
        self._base, self._layout = base, layout
        self._gaps = base.gaps()
        self._known = np.full(len(self._gaps), NEVER) if known is None else known
        compute = Indicators(layout.window)
        self._indicator_bars = compute.bars
        self._frames = [_Timeframe(aggregate(base, length, known), compute) for length in layout.timeframes]
        self._step_bars = layout.step // base.interval
        self._crossable = np.concatenate([[0], np.cumsum(self._known == NEVER)])

    def plan(self, times: np.ndarray | None = None) -> Plan:
        """Return the times of the rows: those on the step's grid, or those of `times`, that no gap makes impossible.

        A row is lost to the shortest look-back that a gap or the start of the data cuts.
        """
        closes = self._base.open_times + self._base.interval
        if times is None:
            step = self._layout.step
            times = np.arange(-(-int(closes[0]) // step) * step, int(closes[-1]) + 1, step)
        asked = len(times)
        lasts = np.minimum(np.searchsorted(closes, times), len(closes) - 1)
        there = closes[lasts] == times
        times, lasts = times[there], lasts[there]
        starts = self._starts(times, lasts)
        kept = np.ones(len(times), bool)
        lost: dict[str, int] = {}
        for name, reach in self._reaches(times, lasts):
            short = kept & (reach < starts)
            warm_up = short & (starts == self._base.open_times[0])
            lost["warm-up"] = lost.get("warm-up", 0) + int(warm_up.sum())
            lost[f"gap in {name}"] = int((short & ~warm_up).sum())
            kept &= ~short
        lost = {"no bar closes": asked - len(times), **lost}
        return Plan(times[kept], lasts[kept], starts[kept], lost)

    def _starts(self, times: np.ndarray, lasts: np.ndarray) -> np.ndarray:
        """Open time of the first bar after the latest gap that is not yet a known break at each time."""
        opens = self._base.open_times
        never = self._gaps[self._known == NEVER]
        position = np.searchsorted(never, lasts)  # a gap after bar `last` is no matter
        starts = np.where(position > 0, opens[np.append(never, 0)[position - 1] + 1], opens[0])
        later = self._known < NEVER
        for gap, since in zip(self._gaps[later].tolist(), self._known[later].tolist(), strict=True):
            first, last = np.searchsorted(lasts, gap, side="right"), np.searchsorted(times, since)
            if first < last:
                starts[first:last] = np.maximum(starts[first:last], opens[gap + 1])
        return starts

    def _reaches(self, times: np.ndarray, lasts: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """How far back each part of a row looks, int64 ns (times,), the nearest first; 0 for before the first bar."""
        opens, layout = self._base.open_times, self._layout
        first = lasts - LONG * self._step_bars
        reaches = [("the context", np.where(first >= 0, opens[np.maximum(first, 0)], 0))]
        for frame in self._frames:
            first = frame.last_closed(times) - layout.window + 1
            reach = frame.bars.open_times[np.maximum(first, 0)] if len(frame.bars.open_times) else first
            reaches.append((f"the {duration_name(frame.bars.interval)} window", np.where(first >= 0, reach, 0)))
        lengths = [LONG * layout.step, *(layout.window * length for length in layout.timeframes)]
        return [reaches[index] for index in np.argsort(lengths, kind="stable")]

    def rows(self, plan: Plan) -> Iterator[Row]:
        """Yield the rows of the plan, in order of time."""
        lasts = [frame.last_closed(plan.times) for frame in self._frames]
        firsts = [
            np.maximum(frame_lasts - self._indicator_bars + 1, np.searchsorted(frame.bars.open_times, plan.starts))
            for frame, frame_lasts in zip(self._frames, lasts, strict=True)
        ]
        for number, (time, last) in enumerate(zip(plan.times.tolist(), plan.lasts.tolist(), strict=True)):
            ends = [int(frame_lasts[number]) for frame_lasts in lasts]
            begins = [int(frame_firsts[number]) for frame_firsts in firsts]
            yield self._row(time, last, ends, begins)

    def _row(self, time: int, last: int, ends: list[int], begins: list[int]) -> Row:
        base, window = self._base, self._layout.window
        parts = list(zip(self._frames, ends, begins, strict=True))
        numbers = context(
            base.values[last - LONG * self._step_bars : last + 1],
            step_bars=self._step_bars,
            seconds_of_day=time % _DAY / SECOND,
        )
        if self._layout.breaks:
            numbers = np.append(numbers, self._steps_since_break(last))
        return Row(
            time,
            [frame.window_text(end, window) for frame, end, _ in parts],
            np.concatenate([frame.indicators(end, begin) for frame, end, begin in parts]),
            numbers,
            float(base.values[last, CLOSE]),
            self._targets(time, last),
        )

    def _steps_since_break(self, last: int) -> float:
        """Steps of trading since the latest break, at most as many as the context looks back on."""
        before = int(np.searchsorted(self._gaps, last))
        since = last - int(self._gaps[before - 1]) if before else LONG * self._step_bars
        return min(float(LONG), since / self._step_bars)

    def _targets(self, time: int, last: int) -> np.ndarray:
        """Returns 1..horizons steps of the calendar ahead; NaN beyond a gap, within a break, or after the end."""
        base, layout = self._base, self._layout
        opens = time - base.interval + layout.step * np.arange(1, layout.horizons + 1)
        ahead = np.minimum(np.searchsorted(base.open_times, opens), len(base.open_times) - 1)
        crossed = self._crossable[np.searchsorted(self._gaps, [last, *ahead])]
        known = (base.open_times[ahead] == opens) & (crossed[1:] == crossed[0])
        targets = np.full(len(ahead), np.nan)
        targets[known] = base.values[ahead[known], CLOSE] / base.values[last, CLOSE] - 1
        return targets


def array_cell(values: np.ndarray) -> str:
    """Return a quoted CSV cell with the JSON of float64 values, a leading axis of 1 added."""
    return f'"{json.dumps([values.tolist()])}"'


def target_cells(targets: np.ndarray) -> list[str]:
    """Return one cell per target; a missing one is empty."""
    return ["" if np.isnan(target) else repr(float(target)) for target in targets]
