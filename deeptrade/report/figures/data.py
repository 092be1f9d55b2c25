"""Figures of what a data file holds."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...profiles.examination import HISTOGRAM_EDGES
from ...units import count_of
from ..findings.common import Json
from ..findings.data import most_outliers_first, with_most_outliers
from ..text import drawable, legible, shorten
from .common import finish, in_time, new_axes
from .marks import say
from .palette import LIMIT, PAPER, PRICE, QUIET, QUIETER, SOFT

_MOST_HISTOGRAMS = 24


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


def feature_distributions(profile: Json) -> Figure:
    """Return a small histogram per feature: last steps of all channels, in standard deviations from their means.

    Where there are many features, those with the most outliers are shown.
    """
    found, features = profile["features"], with_most_outliers(profile, _MOST_HISTOGRAMS)
    columns = min(3, len(features))
    lines = -(-len(features) // columns)
    figure = Figure(figsize=(8, 0.5 + 1.35 * lines), layout="constrained")
    cells = figure.subplots(lines, columns, squeeze=False, sharex=True)
    centers = (HISTOGRAM_EDGES[:-1] + HISTOGRAM_EDGES[1:]) / 2
    for axes, feature in zip(cells.flat, features, strict=False):
        counts = np.array(feature["histogram"], float)
        axes.fill_between(centers, counts / max(counts.sum(), 1), step="mid", color=PRICE, linewidth=0)
        axes.set_title(drawable(shorten(feature["name"], 16)), fontsize=12, color=SOFT, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=12, labelcolor=SOFT)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in cells.flat[len(features) :]:
        axes.set_visible(False)
    widest = most_outliers_first(profile)[0]
    title = "No feature has outliers beyond 8 standard deviations"
    if widest["outlier_share"]:
        name = drawable(shorten(widest["name"], 30))
        title = f"{name} has the most outliers: {widest['outlier_share']:.2%} beyond 8 standard deviations"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    shown = f"{len(features)} of {len(found)} features; " if len(features) < len(found) else ""
    figure.supxlabel(
        f"{shown}standard deviations from the mean; the outer bins include all values beyond them",
        fontsize=12,
        color=SOFT,
    )
    return figure


def time_coverage(profile: Json) -> Figure:
    """Return the time line of the rows, with gaps marked."""
    count = profile["gap_count"]
    title = f"{count_of(count, 'gap')} in time" if count else "The rows have no gaps in time"
    figure, axes = new_axes(title, height=1.4)
    start, end = (date2num(datetime.fromisoformat(profile["span"][side])) for side in ("start", "end"))
    axes.plot([start, end], [0, 0], color=QUIETER, linewidth=8, solid_capstyle="butt")
    for gap in profile["gaps"]:
        after = date2num(datetime.fromisoformat(gap["after"]))
        axes.plot([after, after + gap["seconds"] / 86_400], [0, 0], color=LIMIT, linewidth=12)
    axes.xaxis_date()
    in_time(axes)
    axes.set_yticks([])
    axes.set_xlabel("time of the row (UTC); gaps are marked")
    axes.spines["left"].set_visible(False)
    return figure


def _are_klines(steps: np.ndarray) -> bool:
    """Return whether the first of (steps, channels) can be open, high, low, close, volume: ordered, none negative."""
    if steps.shape[1] < 5:
        return False
    first, high, low, close, volume = steps[np.isfinite(steps[:, :5]).all(axis=1), :5].T
    highest, lowest = np.maximum(first, close), np.minimum(first, close)
    in_order = (high >= highest) & (low <= lowest) & (low > 0) & (volume >= 0)
    return bool(len(high) and in_order.all())


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
    if not _are_klines(flat):
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
