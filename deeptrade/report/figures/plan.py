"""Figures of predicted memory, and of rate over peak memory in trials."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ...units import count_of, format_bytes
from ..findings import plan as findings
from ..findings.common import Json
from ..findings.memory import Prediction, limit_use
from .common import MIB, legend_below, new_axes, widen
from .marks import say
from .palette import LIMIT, MEMORY, MODEL, PREDICTED, QUIET


def predicted_terms(plan: Json) -> Figure:
    """Return the predicted bytes by term, the largest first, with what was measured and the limit.

    `plan` is a plan.json, or the memory part of a result.json with its `measured_peak_bytes`.
    """
    peak, limit = plan["predicted_peak_bytes"], plan["limit_bytes"]
    share = f"{limit_use(peak, limit).used_share:.0%} of the limit"
    title = f"Predicted peak {format_bytes(peak)} is {share}; most of it is {findings.largest_term(plan)}"
    shown = findings.terms_to_show(plan)
    figure, axes = new_axes(title, height=0.9 + 0.42 * len(shown))
    places = np.arange(len(shown), dtype=float)
    known = [(place, one) for place, one in zip(places, shown, strict=True) if one.measured_bytes]
    above = 0.2 if known else 0.0
    predicted = axes.barh(places - above, [one.predicted_bytes / MIB for one in shown], 0.36, color=PREDICTED)
    predicted.set_label("predicted")
    for one, bar in zip(shown, predicted.patches, strict=True):
        say(bar, [f"{one.name}, predicted: {format_bytes(one.predicted_bytes)}"])
    if known:
        _draw_measured(axes, known)
    if limit < 4 * peak:
        axes.axvline(limit / MIB, color=LIMIT, linestyle="--", label=f"limit {format_bytes(limit)}")
    axes.set_yticks(places, [one.name for one in shown])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("anonymous memory [MiB]")
    legend_below(figure)
    return figure


def _draw_measured(axes, known: list[tuple[float, Prediction]]) -> None:
    """Draw what was measured below what was predicted, with how much of it that is."""
    sizes = [(one.measured_bytes or 0) / MIB for _, one in known]
    bars = axes.barh([place + 0.2 for place, _ in known], sizes, 0.36, color=MEMORY, label="measured")
    for (_, one), bar in zip(known, bars.patches, strict=True):
        ratio = "" if one.ratio is None else f", {one.ratio:.2f} of the prediction"
        say(bar, [f"{one.name}, measured: {format_bytes(one.measured_bytes or 0)}{ratio}"])


def frontier(plan: Json) -> Figure:
    """Return rate over peak memory of every trial that finished, with the chosen one and the limit marked."""
    found = findings.frontier(plan)
    chosen, title = found.chosen, "No trial finished"
    if chosen and found.share_of_fastest:
        share = found.share_of_fastest
        at = "the fastest tried" if share == 1 else f"{share:.0%} of the fastest tried"
        title = f"{count_of(chosen.batch_size, 'row')} per pass: {chosen.rows_per_second:.0f} rows/s, {at}"
    figure, axes = new_axes(title)
    for trial in found.trials:
        x, y = (trial.peak.measured_bytes or 0) / MIB, trial.rows_per_second or 0.0
        (point,) = axes.plot(
            x, y, "o", color=MODEL if trial is chosen else QUIET, markersize=10 if trial is chosen else 7
        )
        is_chosen = " (chosen)" if trial is chosen else ""
        say(point, [f"{count_of(trial.batch_size, 'row')} per pass{is_chosen}: {y:,.0f} rows/s, peak {x:,.1f} MiB"])
        axes.annotate(f"{trial.batch_size}", (x, y), xytext=(7, 6), textcoords="offset points", fontsize=12)
    limit, highest = plan["limit_bytes"], found.highest_peak_bytes
    if highest and limit < 4 * highest:
        axes.axvline(limit / MIB, color=LIMIT, linestyle="--", label=f"limit {format_bytes(limit)}")
        legend_below(figure)
    axes.margins(x=0.1)
    if highest:
        widen(axes, highest / MIB)
    axes.set_ylim(0, 1.2 * (found.highest_rate or 1))
    axes.set_xlabel(f"peak anonymous memory [MiB]; the limit is {format_bytes(limit)}")
    axes.set_ylabel("rows/s")
    return figure
