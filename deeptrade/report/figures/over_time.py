"""Figures of how forecasts hold over time: beside the outcomes, by month, and by how wild the market was."""

from __future__ import annotations

from calendar import month_abbr
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ...judging.verdict import horizon_name
from ...units import count_of
from ..findings import training as findings
from .common import finish, in_time, legend_below, new_axes
from .marks import say
from .palette import MODEL, MODEL_LAST, MODEL_LATER, PRICE, SOFT

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation
    from ...training.judged import Judged

_MOST_MONTHS = 9
"""Names of months that fit below an axis on a phone."""


def by_period(judged: Evaluation, *, metric: Literal["mae_gain", "rank_ic"]) -> Figure:
    """Return a metric by month, and by how wild the market was, at the first, middle and last horizon."""
    scores = [one for one in judged.periods if getattr(one, metric) is not None]
    periods = list(dict.fromkeys(one.period for one in scores))
    horizons = findings.first_middle_last([one.horizon for one in scores])
    if not horizons:
        return new_axes("Too few rows to tell how it holds over time")[0]
    first = [getattr(one, metric) for one in scores if one.horizon == horizons[0]]
    better = f"{sum(value > 0 for value in first)} of {count_of(len(first), 'period')}"
    ahead = horizon_name(horizons[0], judged.step)
    subject = "The error is below that of zero" if metric == "mae_gain" else "The rank IC is above zero"
    figure, axes = new_axes(f"{subject} in {better}, {ahead} ahead")
    styles = zip((MODEL, MODEL_LATER, MODEL_LAST), "os^", strict=True)
    for number, (horizon, (colour, shape)) in enumerate(zip(horizons, styles, strict=False)):
        some = [one for one in scores if one.horizon == horizon]
        places = [periods.index(one.period) + 0.15 * (number - 1) for one in some]
        values = [getattr(one, metric) for one in some]
        label = f"{horizon_name(horizon, judged.step)} ahead"
        (line,) = axes.plot(places, values, shape, color=colour, label=label)
        form = ".2%" if metric == "mae_gain" else ".3f"
        say(
            line,
            [f"{one.period}, {label}: {getattr(one, metric):{form}} ({count_of(one.rows, 'row')})" for one in some],
        )
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.set_xticks(range(len(periods)), list(_short_names(periods)))
    axes.set_xlabel("period")
    axes.set_ylabel("error below that of zero" if metric == "mae_gain" else "rank IC")
    if metric == "mae_gain":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    legend_below(figure)
    return figure


def _short_names(periods: Sequence[str]) -> Iterator[str]:
    """Yield names of periods that fit below an axis: 'Sep' with its year where that begins, and not all of many."""
    months = [period for period in periods if period[:4].isdigit()]
    step, year = -(-len(months) // _MOST_MONTHS), ""
    for at, period in enumerate(periods):
        if period not in months:
            yield period
        elif at % step:
            yield ""
        else:
            name = month_abbr[int(period[5:7])]
            yield name if period[:4] == year else f"{name}\n{period[:4]}"
            year = period[:4]


def forecasts_over_time(judged: Judged, step: str) -> Figure:
    """Return mean forecasts and mean outcomes one step ahead over time, each on its own axis: their sizes differ."""
    found = findings.stretches(judged)
    title = "Too few forecasts to show over time"
    if found:
        same = sum(one.forecast * one.outcome > 0 for one in found)
        ahead = horizon_name(1, step)
        title = (
            f"Mean forecast and outcome {ahead} ahead have the same sign in {same} of {len(found)} stretches of time"
        )
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    days = date2num([datetime.fromisoformat(one.middle) for one in found])
    for axes, name, colour, values in (
        (upper, "outcome, mean of a stretch", PRICE, [one.outcome for one in found]),
        (lower, "forecast, mean of a stretch", MODEL, [one.forecast for one in found]),
    ):
        finish(axes, title if axes is upper else "")
        axes.vlines(days, 0, values, color=colour, linewidth=1.5)
        (points,) = axes.plot(days, values, "o", color=colour, markersize=4)
        say(
            points,
            [
                f"{name.split(',')[0]} around {one.middle[:16].replace('T', ' ')}: {value:+.4%}"
                for one, value in zip(found, values, strict=True)
            ],
        )
        axes.axhline(0, color=SOFT, linewidth=1)
        axes.set_ylabel(name)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if found:
        in_time(lower)
    lower.set_xlabel("time (UTC)")
    return figure
