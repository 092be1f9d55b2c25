"""Predicted memory, and rate against peak of the settings that were tried."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from ...units import format_bytes
from .common import BLUE, GREY, MIB, ORANGE, RED, SHADES, Json, legend_below, new_axes


def predicted_terms(plan: Json) -> Figure:
    """Return the predicted peak by term beside the measured one, with the limit."""
    terms, peak, limit = plan["predicted_terms"], plan["predicted_peak_bytes"], plan["limit_bytes"]
    largest = max(terms, key=terms.get)
    figure, axes = new_axes(
        f"Predicted peak {format_bytes(peak)} is {peak / limit:.0%} of the limit; most of it is {largest}", height=2.4
    )
    left = 0.0
    for number, (term, size) in enumerate(_largest_terms(terms, least=peak // 50).items()):
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
    """Return the rate of every trial that came to its end over its peak, the chosen one marked, with the limit."""
    trials = [trial for trial in plan["trials"] if trial["rows_per_second"] and trial["measured_peak_bytes"]]
    best = max(trials, key=lambda trial: trial["rows_per_second"], default=None)
    wanted = plan["batch_size"], plan["prefetch"]
    chosen = next((trial for trial in trials if (trial["batch_size"], trial["prefetch"]) == wanted), None)
    title = "No trial came to its end"
    if best and chosen:
        share = chosen["rows_per_second"] / best["rows_per_second"]
        at = "the fastest tried" if chosen is best else f"{share:.0%} of the fastest tried"
        title = f"{chosen['batch_size']} rows per pass: {chosen['rows_per_second']:.0f} rows/s, {at}"
    figure, axes = new_axes(title)
    for trial in trials:
        x, y = trial["measured_peak_bytes"] / MIB, trial["rows_per_second"]
        axes.plot(x, y, "o", color=ORANGE if trial is chosen else BLUE, markersize=10 if trial is chosen else 6)
        axes.annotate(f"{trial['batch_size']}", (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9)
    limit = plan["limit_bytes"]
    if best and limit < 4 * max(trial["measured_peak_bytes"] for trial in trials):
        axes.axvline(limit / MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit)}")
        legend_below(figure)
    axes.margins(x=0.1)
    axes.set_ylim(0, 1.2 * max((trial["rows_per_second"] for trial in trials), default=1))
    axes.set_xlabel(f"peak anonymous memory [MiB]; the limit is {format_bytes(limit)} ({plan['limit_source']})")
    axes.set_ylabel("rows/s")
    return figure


def _largest_terms(terms: Mapping[str, int], *, least: int) -> dict[str, int]:
    """The terms of at least `least` bytes, and the sum of the others."""
    shown = {term: size for term, size in terms.items() if size >= least}
    others = sum(terms.values()) - sum(shown.values())
    return shown | ({"all others": others} if others else {})
