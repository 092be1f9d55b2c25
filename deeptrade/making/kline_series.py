"""The bars of many files as one series per market: sorted, each time once, on one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..times import SECOND, duration_name, iso_time
from .bars import NEVER, Bars
from .kline_cells import keep_rows
from .kline_conflicts import TwoBarsError
from .kline_ledger import KlineEntry
from .kline_reading import FileBars
from .market_names import market_key

_RARE = 0.05
_MOST = 0.5
"""Where more than such a share of the times have two different bars, no policy is offered."""
_FEW_FAR, _FAR = 7, 30 * 86_400 * SECOND
"""So few bars, so long (ns) after or before all others, have wrong times."""
_FEWEST_STEPS, _SURE = 10, 0.8
"""A file is of bars of another length when it has so many steps and such a share of them are of that length."""


@dataclass
class Series:
    """The bars of one market.

    `dropped` are the bars of each file that another at the same time made superfluous, without their values, with
    whether each equals the one kept, bool (bars,).
    """

    market: str
    bars: Bars
    dropped: list[tuple[FileBars, np.ndarray]]
    was_sorted: bool

    @property
    def repeated(self) -> int:
        """How many bars were dropped because another has the same time."""
        return sum(len(equal) for _, equal in self.dropped)

    def duplicates(self) -> Iterator[KlineEntry]:
        """Yield an entry for each bar dropped."""
        for part, equal in self.dropped:
            for index, is_equal in enumerate(equal.tolist()):
                cause = "the same bar again" if is_equal else "another bar of this time was kept"
                yield part.entry(index, "duplicate_bar", f"{iso_time(int(part.times[index]))}: {cause}")

    def gaps(self, known: np.ndarray | None) -> Iterator[KlineEntry]:
        """Yield an entry for each gap; `known` (sessions.known_breaks) says which are regular breaks."""
        bars, market = self.bars, f"{self.market}: " if self.market else ""
        gaps = bars.gaps()
        breaks = np.zeros(len(gaps), bool) if known is None else known < NEVER
        for gap, is_break in zip(gaps.tolist(), breaks.tolist(), strict=True):
            start, end = int(bars.open_times[gap]) + bars.interval, int(bars.open_times[gap + 1])
            count = (end - start) // bars.interval
            kind = ", a regular break" if is_break else ""
            plural = "bar" if count == 1 else "bars"
            detail = f"{market}{iso_time(start)} to {iso_time(end)}: {count} {plural} missing{kind}"
            yield KlineEntry(None, None, "", "gap", detail)


def join(market: str, parts: Sequence[FileBars], *, duplicates: str = "error") -> Series:
    """Return the series of one market from its bars in several files, in the order given.

    Raises DataError for different bars of one time unless `duplicates` says which is kept, and for bars of different
    lengths or off the grid.
    """
    parts = [part for part in parts if len(part.times)]
    times = np.concatenate([part.times for part in parts]) if parts else np.empty(0, np.int64)
    if len(times) < 2:
        held = "a single bar" if len(times) else "no bar that is one"
        raise DataError(f"{market or 'the files'}: {held}; give files with more bars")
    was_sorted = bool((np.diff(times) >= 0).all())
    order = np.arange(len(times)) if was_sorted else np.argsort(times, kind="stable")
    values = _joined(parts)
    keep, drop, equal = _choose(times, values, order, parts, duplicates)
    _check_far(times[keep], keep, parts)
    interval = _interval(times[keep], parts, market)
    if not was_sorted or len(drop):
        times, values = times[keep], keep_rows(values, keep)
    return Series(market, Bars(times, values, interval), _by_part(parts, drop, equal), was_sorted)


def _check_far(times: np.ndarray, places: np.ndarray, parts: Sequence[FileBars]) -> None:
    """Raise DataError where a few bars lie farther from all others than these span: a wrong time, not a gap."""
    for sign in (1, -1):  # at the end, at the begin
        ordered = times if sign == 1 else -times[::-1]
        rest = ordered[:-_FEW_FAR]
        if len(rest) < _FEW_FAR:
            return
        steps = np.diff(ordered[-_FEW_FAR - 1 :])
        if steps.max() > max(_FAR, 2 * int(np.ptp(rest))):
            index = len(times) - _FEW_FAR + int(steps.argmax())
            part, bar = _place(parts, int(places[index if sign == 1 else len(times) - 1 - index]))
            days = int(steps.max()) // (86_400 * SECOND)
            raise DataError(
                f"{part.file} row {part.rows[bar]}: a bar opens at {iso_time(int(part.times[bar]))}, {days} days "
                f"{'after' if sign == 1 else 'before'} all others: probably a wrong time; correct or remove the row"
            )


def _joined(parts: Sequence[FileBars]) -> np.ndarray:
    """The values of all parts; each part's own are let go as soon as they are copied."""
    if len(parts) == 1:
        return parts[0].values
    values = np.empty((sum(len(part.times) for part in parts), parts[0].values.shape[1]))
    first = 0
    for part in parts:
        values[first : first + len(part.times)] = part.values
        part.values = np.empty((0, 0))
        first += len(part.times)
    return values


def _choose(
    times: np.ndarray, values: np.ndarray, order: np.ndarray, parts: Sequence[FileBars], policy: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the bars kept, in order of time; of those dropped; and whether each of these equals the one kept."""
    ordered = times[order]
    new = np.append(True, ordered[1:] != ordered[:-1])
    if new.all():
        return order, np.empty(0, np.int64), np.empty(0, bool)
    run = np.cumsum(new) - 1
    firsts = np.flatnonzero(new)
    lasts = np.append(firsts[1:], len(order)) - 1
    again = np.flatnonzero(~new)
    differs = np.zeros(len(firsts), bool)
    unequal = (values[order[again]] != values[order[firsts[run[again]]]]).any(axis=1)
    differs[run[again[unequal]]] = True
    if policy == "error" and differs.any():
        raise _conflict(times, order, firsts[differs], lasts[differs], parts)
    kept = np.where(differs, lasts, firsts) if policy == "last" else firsts
    is_kept = np.zeros(len(order), bool)
    is_kept[kept] = True
    dropped = np.flatnonzero(~is_kept)
    equal = (values[order[dropped]] == values[order[kept[run[dropped]]]]).all(axis=1)
    return order[kept], order[dropped], equal


def _conflict(
    times: np.ndarray, order: np.ndarray, firsts: np.ndarray, lasts: np.ndarray, parts: Sequence[FileBars]
) -> TwoBarsError:
    one, other = int(order[firsts[0]]), int(order[lasts[0]])
    places = (_place(parts, one), _place(parts, other))
    named = [f"{part.file} row {part.rows[index]}" for part, index in places]
    found = (
        f"two different bars open at {iso_time(int(times[one]))}: {named[0]} and {named[1]} ({len(firsts)} such times)"
    )
    symbols = sorted({market_key(part.market): part.market for part in parts if part.market}.values())
    if len(symbols) > 1:
        advice = f"--market joins {', '.join(symbols):.80}: leave it away to build each market apart"
        return TwoBarsError(found, advice)
    several = len({part.file for part in parts}) > 1 and not all(part.market for part in parts)
    markets = "if they are of several markets, name each file by its symbol, such as BTCUSDT-1m.csv" if several else ""
    if len(firsts) > _MOST * len(np.unique(times)):
        advice = (
            markets or "most bars are of other markets or lengths than those beside them: give each in its own file"
        )
    else:
        advice = f"{markets}{'; else ' * several}remove one of each, or choose with --duplicates first or last"
    return TwoBarsError(found, advice, places[0][0].file if places[0][0].file == places[1][0].file else "")


def _place(parts: Sequence[FileBars], index: int) -> tuple[FileBars, int]:
    for part in parts:
        if index < len(part.times):
            return part, index
        index -= len(part.times)
    raise IndexError(index)


def _by_part(parts: Sequence[FileBars], drop: np.ndarray, equal: np.ndarray) -> list[tuple[FileBars, np.ndarray]]:
    """The bars dropped of each file, without their values, which can go; see `Series`."""
    found, first = [], 0
    order = np.argsort(drop)
    drop, equal = drop[order], equal[order]
    for part in parts:
        low, high = np.searchsorted(drop, [first, first + len(part.times)])
        if high > low:
            indices = drop[low:high] - first
            lines = None if part.lines is None else part.lines[indices]
            few = FileBars(part.file, part.market, part.times[indices], np.empty((0, 0)), part.rows[indices], lines)
            found.append((few, equal[low:high]))
        first += len(part.times)
    return found


def _usual_step(times: np.ndarray) -> int:
    """The most frequent step, or the shortest where it is not rare and the most frequent is a multiple of it."""
    steps, counts = np.unique(np.diff(np.unique(times)), return_counts=True)
    usual = int(steps[counts.argmax()])
    shortest = int(steps[0])
    return shortest if usual % shortest == 0 and counts[0] >= _RARE * counts.sum() else usual


def _interval(times: np.ndarray, parts: Sequence[FileBars], market: str) -> int:
    """Length of the bars in ns. Raises DataError where files differ in it, or where bars lie off the grid."""
    where = f"{market}: " if market else ""
    if len(times) < 2:
        raise DataError(f"{where or 'the files: '}a single bar; give files with more bars")
    interval = _usual_step(times)
    for part in parts:
        steps = np.diff(np.unique(part.times))
        step = _usual_step(part.times) if len(steps) >= _FEWEST_STEPS else interval
        if step != interval and (steps == step).mean() > _SURE:
            raise DataError(
                f"{where}{part.file} has bars of {duration_name(step)}, others of {duration_name(interval)}; build "
                f"from bars of one length"
            )
    off = np.flatnonzero((times - times[0]) % interval)
    if len(off):
        raise DataError(
            f"{where}a bar opens at {iso_time(int(times[off[0]]))}, off the grid of {duration_name(interval)} that "
            f"begins at {iso_time(int(times[0]))} ({len(off)} such bars); build from bars of one length"
        )
    if times[0] % interval:
        raise DataError(
            f"{where}bars of {duration_name(interval)} open at {iso_time(int(times[0]))}, not at multiples of their "
            f"length in UTC; build from shorter bars"
        )
    return interval
