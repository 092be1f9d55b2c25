"""The figure of what trading on the forecasts would have earned."""

from __future__ import annotations

from datetime import datetime

from matplotlib.dates import date2num
from matplotlib.figure import Figure

from ...judging.costs import TOLD_FEE, AfterCosts, Curve, Kind
from ..tables.costs import RULES, basis_points, earned
from .common import in_time, legend_below, new_axes
from .palette import MODEL, MODEL_LATER, PRICE, QUIET

_STYLES: dict[Kind, tuple[str, float]] = {"long": (PRICE, 1.4), "threshold": (MODEL_LATER, 3.0), "sign": (MODEL, 1.4)}
"""Colour and width, from the lowest to the one on top: two rules that hold the same can both be seen."""


def equity(traded: AfterCosts) -> Figure:
    """Return the equity curves of rules after costs, and of the forecast's sign without costs as a dotted line."""
    figure, axes = new_axes(_title(traded))
    days = date2num([datetime.fromisoformat(time) for time in traded.times])
    for curve in sorted(traded.curves, key=lambda one: (list(_STYLES).index(one.rule), one.fee)):
        income = [100 * value for value in curve.income]
        colour, width = _STYLES[curve.rule]
        axes.plot(days, income, "-" if curve.fee else ":", color=colour, linewidth=width, label=_label(curve))
    axes.axhline(0, color=QUIET, linewidth=1)
    axes.set_xlabel("time (UTC)")
    axes.set_ylabel("income [% of the stake]")
    if traded.curves:
        in_time(axes)
        legend_below(figure)
    return figure


def _title(traded: AfterCosts) -> str:
    sign, long = traded.of("sign"), traded.of("long")
    if sign is None or long is None:
        return "No row can be traded"
    after = f"At {basis_points(TOLD_FEE)} bp a change of position"
    return f"{after}, the sign of the forecast {earned(sign.income)};\nalways long {earned(long.income)}"


def _label(curve: Curve) -> str:
    return f"{RULES[curve.rule]}, {basis_points(curve.fee)} bp" if curve.fee else f"{RULES[curve.rule]}, no fee"
