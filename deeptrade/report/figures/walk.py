"""Figures of a walk: which times its folds learn from and are judged on, and how skill holds from fold to fold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...judging.folds import Walk
from ...judging.verdict import horizon_name
from ...times import SECOND, parse_periods
from ...units import count_of
from .common import BLUE, GREEN, GREY, ORANGE, legend_below, new_axes

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation


def fold_times(walk: Walk, begin: int, end: int) -> Figure:
    """Return a bar per fold: the time it learns from, and that it is judged on; begin and end of all rows, int64 ns."""
    rows = [fold.rows["validation"] for fold in walk.folds]
    title = f"{count_of(len(walk.folds), 'fold')}, each judged on {min(rows):,}"
    title += f" to {max(rows):,} rows" if max(rows) > min(rows) else " rows"
    figure, axes = new_axes(title, height=1.2 + 0.26 * len(walk.folds))
    for fold in walk.folds:
        judged = parse_periods(fold.validation_period)
        learned = parse_periods(fold.training_period) if fold.training_period else [(begin, judged[0][0])]
        for periods, colour, label in ((learned, GREY, "learned from"), (judged, BLUE, "judged on")):
            spans = [(max(one, begin), min(other, end)) for one, other in periods]
            bars = [(_day(one), _day(other) - _day(one)) for one, other in spans]
            axes.broken_barh(bars, (fold.number - 0.35, 0.7), color=colour, label=label if fold.number == 1 else None)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.set_xlabel("time (UTC)")
    axes.set_ylabel("fold")
    legend_below(figure)
    return figure


def _day(time: int) -> float:
    return float(date2num(datetime.fromtimestamp(time / SECOND, UTC)))


def skill_by_fold(judged: Evaluation) -> Figure:
    """Return the rank IC of every fold at the first, middle and last horizon."""
    horizons = sorted({one.horizon for one in judged.folds if one.rank_ic is not None})
    if not horizons:
        return new_axes("No fold has enough rows for a rank IC")[0]
    chosen = sorted({horizons[0], horizons[len(horizons) // 2], horizons[-1]})
    first = [one.rank_ic or 0.0 for one in judged.folds if one.horizon == chosen[0]]
    above = sum(value > 0 for value in first)
    ahead = horizon_name(chosen[0], judged.step)
    figure, axes = new_axes(f"The rank IC {ahead} ahead is above zero in {above} of {count_of(len(first), 'fold')}")
    for number, (horizon, colour) in enumerate(zip(chosen, (BLUE, ORANGE, GREEN), strict=False)):
        some = [one for one in judged.folds if one.horizon == horizon and one.rank_ic is not None]
        places = np.array([int(one.period.removeprefix("fold ")) for one in some]) + 0.12 * (number - 1)
        label = f"{horizon_name(horizon, judged.step)} ahead"
        axes.plot(places, [float(one.rank_ic or 0.0) for one in some], "o", color=colour, label=label)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("fold, in order of time")
    axes.set_ylabel("rank IC")
    legend_below(figure)
    return figure
