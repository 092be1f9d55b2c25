"""Figures of what a data file holds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from ...profiles.channel_names import are_klines
from ...units import count_of, format_seconds
from ..findings.common import Json
from ..text import drawable, legible
from .common import day_of, finish, in_time, new_axes
from .marks import say
from .palette import PAPER, PRICE, QUIET, QUIETER, WORSE

_DAY = 86_400
_LEAST_MINUTES = 0.5
"""Where the lines of gaps begin: their axis is logarithmic."""


def target_distribution(profile: Json) -> Figure:
    """Return the distribution of returns by horizon: median, middle half, and 1% to 99%."""
    known = [target for target in profile["targets"] if target["quantiles"]]
    title = "No targets are known"
    if known:
        first, last = (f"{one['std']:.2%} at {one['name']}" for one in (known[0], known[-1]))
        title = f"Standard deviation of returns: {first}, {last}"
    figure, axes = new_axes(title)
    for thickness, (low, high) in ((1.5, ("0.01", "0.99")), (8, ("0.25", "0.75"))):
        ends = [[target["quantiles"][low], target["quantiles"][high]] for target in known]
        axes.vlines(range(1, len(known) + 1), *np.array(ends).reshape(-1, 2).T, color=PRICE, linewidth=thickness)
    medians = [target["quantiles"]["0.5"] for target in known]
    (dots,) = axes.plot(range(1, len(known) + 1), medians, "o", color=PAPER, markersize=4)
    say(dots, [_spread(target) for target in known])
    axes.axhline(0, color=QUIET, linewidth=1)
    axes.set_xticks(range(1, len(known) + 1))
    axes.set_xlabel("steps ahead; thin: 1% to 99%, thick: middle half")
    axes.set_ylabel("return")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _spread(target: Json) -> str:
    """Return the quantiles of a target in words."""
    shown = {"median": "0.5", "25%": "0.25", "75%": "0.75", "1%": "0.01", "99%": "0.99"}
    numbers = ", ".join(f"{name} {target['quantiles'][key]:+.3%}" for name, key in shown.items())
    return f"{target['name']}: {numbers}"


def time_coverage(profile: Json) -> Figure:
    """Return the length of every gap by its time, and below a lane in which rows and gaps have their true width."""
    start, end = (day_of(profile["span"][side]) for side in ("start", "end"))
    figure, lane = _lane_below(_gaps_title(profile), with_gaps=bool(profile["gaps"]))
    lane.axvspan(start, end, color=QUIETER, linewidth=0, zorder=0)
    said = [_gap_in_words(gap) for gap in profile["gaps"]]
    after = np.array([day_of(gap["after"]) for gap in profile["gaps"]])
    seconds = np.array([gap["seconds"] for gap in profile["gaps"]])
    for begin, end, words in zip(after, after + seconds / _DAY, said, strict=True):
        say(lane.axvspan(begin, end, color=WORSE, linewidth=0), [words])
    if said:
        figure.axes[0].vlines(after, _LEAST_MINUTES, seconds / 60, color=WORSE, linewidth=1.5)
        (points,) = figure.axes[0].plot(after, seconds / 60, "o", color=WORSE, markersize=6)
        say(points, said)
    in_time(lane)
    lane.set_xlabel("time of the row (UTC); gaps have their true width" if said else "time of the row (UTC)")
    return figure


def _gap_in_words(gap: Json) -> str:
    missing = "" if gap["missing_rows"] is None else f"{count_of(gap['missing_rows'], 'row')} missing, "
    return f"{missing}{format_seconds(gap['seconds'])} from {gap['after'][:16].replace('T', ' ')} on"


def _lane_below(title: str, *, with_gaps: bool) -> tuple[Figure, Axes]:
    """Return a figure with a lane, and, where there are gaps, axes for their lengths above it."""
    figure = Figure(figsize=(8, 2.9 if with_gaps else 1.0), layout="constrained")
    axes = [figure.subplots()] if not with_gaps else list(figure.subplots(2, sharex=True, height_ratios=[6, 1]))
    for one in axes:
        finish(one)
    axes[0].set_title(title, loc="left")
    if with_gaps:
        axes[0].set_yscale("log")
        axes[0].set_ylabel("length [min]")
        axes[0].minorticks_off()
        axes[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes[-1].grid(visible=False)
    axes[-1].set(yticks=[], ylim=(0, 1))
    return figure, axes[-1]


def _gaps_title(profile: Json) -> str:
    if not profile["gaps"]:
        return "The rows have no gaps in time"
    longest = max(profile["gaps"], key=lambda gap: gap["seconds"])
    when = longest["after"][:10]
    most = f"{'the longest ' if profile['gap_count'] > 1 else ''}of {format_seconds(longest['seconds'])} from {when} on"
    shown = len(profile["gaps"])
    more = f" (only the {'longest is' if shown == 1 else f'{shown:,} longest are'} shown)"
    return f"{count_of(profile['gap_count'], 'gap')} in time, {most}{more if shown < profile['gap_count'] else ''}"


def window_chart(window: np.ndarray, name: str) -> Figure:
    """Return one row's window, float32 (steps, channels): price and volume of klines, else every channel as a line."""
    steps, name = np.arange(1 - len(window), 1), drawable(legible(name))
    if window.ndim == 1:
        figure, axes = new_axes(f"{name}: {count_of(len(window), 'number')}")
        axes.bar(np.arange(len(window)), window, color=PRICE)
        axes.set_xlabel("element")
        axes.set_ylabel("value")
        return figure
    flat = window.reshape(len(window), -1)
    if not are_klines(flat):
        figure, axes = new_axes(f"{name}: {count_of(flat.shape[1], 'channel')} over {count_of(len(flat), 'step')}")
        axes.plot(steps, flat)
        axes.set_xlabel("steps before the row")
        axes.set_ylabel("value")
        return figure
    close, volume = flat[:, 3], flat[:, 4]
    change = close[-1] / close[0] - 1 if close[0] else np.nan
    figure = Figure(figsize=(8, 4), layout="constrained")
    price_axes, volume_axes = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    finish(price_axes, f"{name}: the close changes by {change:+.2%} over {count_of(len(flat), 'bar')}")
    finish(volume_axes)
    price_axes.fill_between(steps, flat[:, 2], flat[:, 1], color=PRICE, alpha=0.25, linewidth=0, label="low to high")
    price_axes.plot(steps, close, color=PRICE, linewidth=1.2, label="close")
    price_axes.set_ylabel("price")
    price_axes.legend(frameon=False)
    volume_axes.bar(steps, volume, color=QUIET, width=1)
    volume_axes.set_ylabel("volume")
    volume_axes.set_xlabel("bars before the row")
    return figure
