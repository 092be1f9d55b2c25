"""Figures of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from ...training.validation_errors import gain_from
from ...units import format_bytes
from ..findings import comparison as findings
from ..findings.comparison import RunSummary
from ..text import drawable, shorten
from .common import MIB, legend_below, new_axes, widen
from .palette import BETTER, INK, LIMIT, MODEL, QUIET, SERIES

if TYPE_CHECKING:
    from ..comparison import Comparison


def compared_errors(compared: Comparison) -> Figure:
    """Return a bar per setting: how far its validation error is below that of the zero forecast, in percent.

    Of several seeds the bar is the mean, and each is a point.
    """
    settings, errors = compared.settings, {run.name: run.error or 0.0 for run in compared.runs}
    winner = _winner(compared)
    figure, axes = new_axes(_who_is_best(compared), height=1.2 + 0.34 * len(settings))
    best = BETTER if compared.contest is not None else MODEL
    colours = [best if one.name == winner else QUIET for one in settings]
    names = [_drawn(one.name) for one in settings]
    axes.barh(names, [100 * gain_from(one.error.mean) for one in settings], 0.6, color=colours)
    for name, one in zip(names, settings, strict=True):
        if len(one.runs) > 1:
            seeds = [100 * gain_from(errors[run]) for run in one.runs]
            axes.plot(seeds, [name] * len(seeds), "o", color=INK, markersize=4, alpha=0.7)
    axes.axvline(0, color=QUIET, linewidth=1)
    axes.set_ylim(len(settings) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("validation error below that of the zero forecast [%], mean over horizons")
    return figure


def _winner(compared: Comparison) -> str | None:
    """Return the setting that is better than all others, or has the lowest error where none was judged."""
    if not compared.on_same_rows:
        return None
    if compared.contest is not None:
        return compared.contest.alike[0] if len(compared.contest.alike) == 1 else None
    best = findings.most_accurate(compared.settings)
    return best.name if best is not None else None


def _who_is_best(compared: Comparison) -> str:
    held, winner = compared.contest, _winner(compared)
    if not compared.on_same_rows:
        return "The runs were judged on different rows, so they are not ranked"
    if held is not None and winner is None:
        if not held.worse:
            return f"The {len(held.alike)} candidates cannot be told apart: the order may be chance"
        return f"{len(held.alike)} of {len(held.pairs)} candidates cannot be told apart, the others are worse"
    if held is not None:
        return f"{_drawn(held.alike[0])} is better than the others, with 95% confidence"
    best = findings.most_accurate(compared.settings) or compared.settings[0]
    gain = gain_from(best.error.mean)
    side = "below" if gain >= 0 else "above"
    return f"{_drawn(best.name)} has the lowest validation error: {abs(gain):.2%} {side} the zero forecast"


def compared_rates(runs: Sequence[RunSummary]) -> Figure:
    """Return the rate of every run over its peak memory, each labelled, with the lowest of their limits."""
    known = findings.with_rate(runs)
    fastest = findings.fastest(known)
    figure, axes = new_axes(f"{_named(fastest)} is the fastest: {fastest.rows_per_second:.0f} rows/s")
    for run in known:
        point = findings.peak_bytes(run) / MIB, run.rows_per_second or 0.0
        axes.plot(*point, "o", color=MODEL if run is fastest else QUIET, markersize=8)
        axes.annotate(_named(run), point, xytext=(6, 6), textcoords="offset points", fontsize=12)
    limit = findings.lowest_limit(known) / MIB
    if limit < 4 * max(findings.peak_bytes(run) for run in known) / MIB:
        axes.axvline(limit, color=LIMIT, linestyle="--", label=f"lowest limit {format_bytes(limit * MIB)}")
        legend_below(figure)
    axes.margins(x=0.2)
    widen(axes, max(findings.peak_bytes(run) for run in known) / MIB)
    axes.set_ylim(0, 1.2 * (fastest.rows_per_second or 0.0))
    axes.set_xlabel("peak anonymous memory [MiB]")
    axes.set_ylabel("rows/s")
    return figure


def compared_losses(runs: Sequence[RunSummary]) -> Figure:
    """Return the training loss of every run over the rows it has trained on, smoothed by running medians."""
    known = [run for run in runs if run.losses]
    lowest = min(known, key=findings.final_loss)
    title = f"{_named(lowest)} has the lowest training loss over its last third: {findings.final_loss(lowest):.3f}"
    figure, axes = new_axes(title, height=3.6)
    for run, colour in zip(known, cycle(SERIES), strict=False):
        rows, loss = np.array(run.losses, float).T
        axes.plot(rows, loss, color=colour, linewidth=1.4, marker="" if len(rows) > 1 else "o", label=_named(run))
    axes.set_xlabel("rows trained")
    axes.set_ylabel("Huber loss\n[sd of the target]")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    legend_below(figure)
    return figure


def compared_timelines(runs: Sequence[RunSummary]) -> Figure:
    """Return the anonymous memory of every run over time since its last start."""
    known = [run for run in runs if run.timeline]
    highest = max(known, key=findings.peak_bytes)
    title = f"{_named(highest)} has the highest peak: {format_bytes(findings.peak_bytes(highest))}"
    figure, axes = new_axes(title, height=3.6)
    for run, colour in zip(known, cycle(SERIES), strict=False):
        seconds, anon = np.array(run.timeline, float).T
        axes.plot(seconds, anon / MIB, color=colour, linewidth=1.4, label=_named(run))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since the start [s]")
    axes.set_ylabel("anonymous\nmemory [MiB]")
    legend_below(figure)
    return figure


def _named(run: RunSummary) -> str:
    return _drawn(run.name)


def _drawn(name: str) -> str:
    return drawable(shorten(name, 60))
