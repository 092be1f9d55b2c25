"""The figure of a walk: how skill holds from fold to fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...judging.verdict import horizon_name
from ...units import count_of
from .common import legend_below, new_axes
from .marks import say
from .palette import MODEL, MODEL_LAST, MODEL_LATER, QUIET

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation


def skill_by_fold(judged: Evaluation) -> Figure:
    """Return the rank IC of every fold at the first, middle and last horizon."""
    horizons = sorted({one.horizon for one in judged.folds if one.rank_ic is not None})
    if not horizons:
        return new_axes("No fold has enough rows for a rank IC")[0]
    chosen = sorted({horizons[0], horizons[len(horizons) // 2], horizons[-1]})
    first = [one.rank_ic for one in judged.folds if one.horizon == chosen[0] and one.rank_ic is not None]
    above = sum(value > 0 for value in first)
    ahead = horizon_name(chosen[0], judged.step)
    figure, axes = new_axes(f"The rank IC {ahead} ahead is above zero in {above} of {count_of(len(first), 'fold')}")
    styles = zip((MODEL, MODEL_LATER, MODEL_LAST), "os^", strict=True)
    for number, (horizon, (colour, shape)) in enumerate(zip(chosen, styles, strict=False)):
        some = [one for one in judged.folds if one.horizon == horizon and one.rank_ic is not None]
        places = np.array([int(one.period.removeprefix("fold ")) for one in some]) + 0.12 * (number - 1)
        label = f"{horizon_name(horizon, judged.step)} ahead"
        (points,) = axes.plot(places, [float(one.rank_ic or 0.0) for one in some], shape, color=colour, label=label)
        say(points, [f"{one.period}, {label}: {one.rank_ic:.3f} ({count_of(one.rows, 'row')})" for one in some])
    axes.axhline(0, color=QUIET, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("fold, in order of time")
    axes.set_ylabel("rank IC")
    legend_below(figure)
    return figure
