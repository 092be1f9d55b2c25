"""Figures of predicted memory, and of rate over peak memory in trials."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...units import count_of, format_bytes
from ..findings import plan as findings
from ..findings.common import Json
from ..findings.memory import limit_use
from .common import BLUE, GREY, MIB, ORANGE, RED, SHADES, legend_below, new_axes


def predicted_terms(plan: Json) -> Figure:
    """Return the predicted peak by term, next to the measured one and the limit."""
    peak, limit = plan["predicted_peak_bytes"], plan["limit_bytes"]
    share = f"{limit_use(peak, limit).used_share:.0%} of the limit"
    title = f"Predicted peak {format_bytes(peak)} is {share}; most of it is {findings.largest_term(plan)}"
    figure, axes = new_axes(title, height=2.4)
    large, others = findings.split_small_terms(plan)
    left = 0.0
    for number, (term, size) in enumerate((large | ({"all others": others} if others else {})).items()):
        shade = SHADES[number % len(SHADES)]
        axes.barh("predicted", size / MIB, left=left, color=shade, label=term, edgecolor="white")
        left += size / MIB
    if plan["measured_peak_bytes"]:
        axes.barh("measured", plan["measured_peak_bytes"] / MIB, color=GREY)
    if limit < 4 * peak:
        axes.axvline(limit / MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit)}")
    axes.set_xlabel(f"anonymous memory [MiB]; the limit is {format_bytes(limit)} ({plan['limit_source']})")
    legend_below(figure)
    return figure


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
        axes.plot(x, y, "o", color=ORANGE if trial is chosen else BLUE, markersize=10 if trial is chosen else 6)
        axes.annotate(f"{trial.batch_size}", (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9)
    limit = plan["limit_bytes"]
    if found.highest_peak_bytes and limit < 4 * found.highest_peak_bytes:
        axes.axvline(limit / MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit)}")
        legend_below(figure)
    axes.margins(x=0.1)
    axes.set_ylim(0, 1.2 * (found.highest_rate or 1))
    axes.set_xlabel(f"peak anonymous memory [MiB]; the limit is {format_bytes(limit)} ({plan['limit_source']})")
    axes.set_ylabel("rows/s")
    return figure
