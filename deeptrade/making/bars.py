"""From bars to rows: windows of every timeframe, indicators, context, price and targets, none of them across a gap.

Neighbouring windows share all but a few bars. So each bar is turned into text once, and the text of a window joins the
texts of its bars: writing rows costs little more than copying them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..times import SECOND, duration_name
from .indicators import CLOSE, INDICATOR_BARS, LONG, context, indicators

_DAY = 86_400 * SECOND
_SUMMED_FROM = 4


@dataclass(frozen=True)
class Bars:
    """Bars in time order: open_times int64 ns UTC (bars,); values float64 (bars, channels); interval in ns.

    Channels: open, high, low, close, then amounts (volume, quote volume, count, taker buy volumes).
    """

    open_times: np.ndarray
    values: np.ndarray
    interval: int

    def segments(self) -> np.ndarray:
        """Return int64 (bars,): a number that rises by one after every gap."""
        return np.concatenate([[0], np.cumsum(np.diff(self.open_times) != self.interval)])


@dataclass(frozen=True)
class Layout:
    """What a row holds. timeframes and step in ns; window in bars; horizons in steps."""

    timeframes: tuple[int, ...]
    window: int
    step: int
    horizons: int

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
        """How far back a row looks, in nanoseconds."""
        bars = max(self.window, INDICATOR_BARS)
        return max([(bars + 1) * length for length in self.timeframes] + [(LONG + 1) * self.step])


def aggregate(base: Bars, interval: int) -> Bars:
    """Return the complete bars of `interval` ns, aligned to the calendar; a bar with a missing part is left out."""
    parts = interval // base.interval
    slots = base.open_times // interval
    starts = np.flatnonzero(np.diff(slots, prepend=-1))
    counts = np.diff(np.append(starts, len(slots)))
    whole = starts[counts == parts]
    at = whole[:, None] + np.arange(parts)
    values = base.values[at]  # (bars, parts, channels)
    merged = np.empty((len(whole), base.values.shape[1]))
    merged[:, 0], merged[:, 3] = values[:, 0, 0], values[:, -1, 3]
    merged[:, 1], merged[:, 2] = values[:, :, 1].max(axis=1), values[:, :, 2].min(axis=1)
    merged[:, _SUMMED_FROM:] = values[:, :, _SUMMED_FROM:].sum(axis=1)
    return Bars(slots[whole] * interval, merged, interval)


class _Timeframe:
    """The bars of one timeframe, with the text and indicators of each, computed when first needed."""

    def __init__(self, bars: Bars):
        self.bars = bars
        self._texts: list[str | None] = [None] * len(bars.open_times)
        self._indicators: tuple[int, np.ndarray] = (-1, np.empty(0))

    def last_closed(self, time: int) -> int:
        """Index of the last bar that has closed at `time`, or -1."""
        return int(np.searchsorted(self.bars.open_times, time - self.bars.interval, side="right")) - 1

    def window_text(self, last: int, bars: int) -> str:
        """JSON of the window [1, bars, channels] that ends with bar `last`."""
        texts = self._texts
        for index in range(last - bars + 1, last + 1):
            if texts[index] is None:
                texts[index] = json.dumps(self.bars.values[index].tolist())
        return "[[" + ", ".join(texts[last - bars + 1 : last + 1]) + "]]"  # type: ignore[arg-type]

    def indicators(self, last: int) -> np.ndarray:
        if self._indicators[0] != last:
            self._indicators = (last, indicators(self.bars.values[last - INDICATOR_BARS + 1 : last + 1]))
        return self._indicators[1]


@dataclass(frozen=True)
class Row:
    """One row at `time` (ns UTC): JSON text per timeframe, indicators, context, last close, targets (NaN: none)."""

    time: int
    windows: list[str]
    indicators: np.ndarray
    context: np.ndarray
    price: float
    targets: np.ndarray


class RowMaker:
    """Rows of a series of bars; but for its targets, a row at t holds only what was known at t."""

    def __init__(self, base: Bars, layout: Layout):
        self._base, self._layout = base, layout
        self._segments = base.segments()
        self._frames = [
            _Timeframe(base if length == base.interval else aggregate(base, length)) for length in layout.timeframes
        ]

    def times(self) -> np.ndarray:
        """Return every time on the step's grid at which a bar closed, int64 ns."""
        closes = self._base.open_times + self._base.interval
        return closes[closes % self._layout.step == 0]

    def make(self, time: int) -> Row | None:
        """Return the row at `time`; None if a gap or the start of the data lies within what it looks back on."""
        layout, base = self._layout, self._base
        last = self._index_of_close(time)
        if last < 0:
            return None
        step_bars = layout.step // base.interval
        lasts = [frame.last_closed(time) for frame in self._frames]
        bars = max(layout.window, INDICATOR_BARS)
        firsts = [
            time // frame.bars.interval * frame.bars.interval - bars * frame.bars.interval for frame in self._frames
        ]
        first = min([*firsts, time - (LONG * step_bars + 1) * base.interval])
        if not self._joined(first, last):
            return None
        return Row(
            time,
            [frame.window_text(index, layout.window) for frame, index in zip(self._frames, lasts, strict=True)],
            np.concatenate([frame.indicators(index) for frame, index in zip(self._frames, lasts, strict=True)]),
            context(
                base.values[last - LONG * step_bars : last + 1],
                step_bars=step_bars,
                seconds_of_day=time % _DAY / SECOND,
            ),
            float(base.values[last, CLOSE]),
            self._targets(last, step_bars),
        )

    def _index_of_close(self, time: int) -> int:
        index = int(np.searchsorted(self._base.open_times, time - self._base.interval))
        there = index < len(self._base.open_times) and self._base.open_times[index] == time - self._base.interval
        return index if there else -1

    def _joined(self, first_open: int, last: int) -> bool:
        """Whether a bar opened at `first_open` and no bar is missing between it and bar `last`."""
        first = last - (int(self._base.open_times[last]) - first_open) // self._base.interval
        return first >= 0 and self._segments[first] == self._segments[last]

    def _targets(self, last: int, step_bars: int) -> np.ndarray:
        """Returns 1..horizons steps ahead, NaN beyond a gap or the end."""
        ahead = last + step_bars * np.arange(1, self._layout.horizons + 1)
        targets = np.full(len(ahead), np.nan)
        known = ahead[ahead < len(self._segments)]
        known = known[self._segments[known] == self._segments[last]]
        targets[: len(known)] = self._base.values[known, CLOSE] / self._base.values[last, CLOSE] - 1
        return targets


def array_cell(values: np.ndarray) -> str:
    """Return a quoted CSV cell with the JSON of float64 values, a leading axis of 1 added."""
    return f'"{json.dumps([values.tolist()])}"'


def target_cells(targets: np.ndarray) -> list[str]:
    """Return one cell per target; a missing one is empty."""
    return ["" if np.isnan(target) else repr(float(target)) for target in targets]
