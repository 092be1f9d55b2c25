"""Figures of the reports: data in, a matplotlib Figure out; the title is the finding, the limit a dashed line.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..examination import BINS
from ..memory import Sample
from ..units import format_bytes
from .tables import count_better
from .text import drawable, legible, shorten

if TYPE_CHECKING:
    from ..evaluation import HorizonScore
    from .compare import RunSummary

Json = Mapping[str, Any]

BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#777777", "#D55E00"
_SHADES = ("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#999999")
_MIB = 1 << 20
_MOST_HISTOGRAMS = 24


def show(figure: Figure, *, alt: str) -> None:
    """Show a figure in a notebook as a PNG with alternative text; nothing stays open."""
    from IPython.display import display

    content = {"image/png": to_png(figure), "text/plain": alt}
    display(content, metadata={"image/png": {"alt": alt, "width": int(figure.get_figwidth() * 96)}}, raw=True)


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG at twice the size it is shown."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=192, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def as_data(figure: Figure) -> str:
    """Return the figure as the address of an image that lies in the page itself."""
    return "data:image/png;base64," + base64.b64encode(to_png(figure)).decode()


def _axes(title: str, *, width: float = 8, height: float = 3.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _finish(axes, title)
    return figure, axes


def _finish(axes: Axes, title: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def _legend_below(figure: Figure) -> None:
    """Put the legend under the axes, where it takes no width from them."""
    figure.legend(loc="outside lower left", ncols=4, fontsize=8, frameon=False)


def target_distribution(profile: Json) -> Figure:
    """Return the range of returns per horizon: median, middle half, and 1% to 99%."""
    known = [target for target in profile["targets"] if target["quantiles"]]
    spread = [target["std"] for target in known]
    title = "No target is known"
    if known:
        title = f"Returns spread by {spread[0]:.2%} (sd) one step ahead, by {spread[-1]:.2%} at {known[-1]['name']}"
    figure, axes = _axes(title)
    for position, target in enumerate(known, start=1):
        quantiles = target["quantiles"]
        axes.plot([position] * 2, [quantiles["0.01"], quantiles["0.99"]], color=BLUE, linewidth=1.5)
        axes.plot(
            [position] * 2, [quantiles["0.25"], quantiles["0.75"]], color=BLUE, linewidth=7, solid_capstyle="butt"
        )
        axes.plot(position, quantiles["0.5"], "o", color="white", markersize=4)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(1, len(known) + 1))
    axes.set_xlabel("steps ahead (thin: 1% to 99%, thick: middle half, dot: median)")
    axes.set_ylabel("return")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def feature_distributions(profile: Json) -> Figure:
    """Return a small histogram per feature: last steps of all channels, in standard deviations from their means.

    Of many features, those that stray most are shown.
    """
    found = sorted(profile["features"], key=lambda feature: -feature["outlier_share"])
    features = found[:_MOST_HISTOGRAMS]
    columns = min(4, len(features))
    lines = -(-len(features) // columns)
    figure = Figure(figsize=(8, 0.5 + 1.35 * lines), layout="constrained")
    cells = figure.subplots(lines, columns, squeeze=False, sharex=True)
    centers = (BINS[:-1] + BINS[1:]) / 2
    for axes, feature in zip(cells.flat, features, strict=False):
        counts = np.array(feature["histogram"], float)
        axes.fill_between(centers, counts / max(counts.sum(), 1), step="mid", color=BLUE, linewidth=0)
        axes.set_title(drawable(shorten(feature["name"], 22)), fontsize=8, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in cells.flat[len(features) :]:
        axes.set_visible(False)
    widest = features[0]
    title = "No feature strays beyond 8 standard deviations"
    if widest["outlier_share"]:
        name = drawable(shorten(widest["name"], 30))
        title = f"{name} strays most: {widest['outlier_share']:.2%} beyond 8 standard deviations"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    shown = f"{len(features)} of {len(found)} features; " if len(features) < len(found) else ""
    figure.supxlabel(f"{shown}standard deviations from the mean; the outer bins hold what is beyond", fontsize=8)
    return figure


def time_coverage(profile: Json) -> Figure:
    """Return the time line of the rows, with gaps as breaks."""
    count = profile["gap_count"]
    title = f"{count:,} gap{'s' * (count > 1)} in time" if count else "The rows follow each other without a gap"
    figure, axes = _axes(title, height=1.4)
    start, end = (date2num(datetime.fromisoformat(profile["span"][side])) for side in ("start", "end"))
    axes.plot([start, end], [0, 0], color=BLUE, linewidth=8, solid_capstyle="butt")
    for gap in profile["gaps"]:
        after = date2num(datetime.fromisoformat(gap["after"]))
        axes.plot([after, after + gap["seconds"] / 86_400], [0, 0], color=RED, linewidth=12)
    axes.xaxis_date()
    locator = AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_yticks([])
    axes.set_xlabel("time of the row (UTC); breaks are marked")
    axes.spines["left"].set_visible(False)
    return figure


def predicted_terms(plan: Json) -> Figure:
    """Return the predicted peak by term beside the measured one, with the limit."""
    terms, peak, limit = plan["predicted_terms"], plan["predicted_peak_bytes"], plan["limit_bytes"]
    largest = max(terms, key=terms.get)
    figure, axes = _axes(
        f"Predicted peak {format_bytes(peak)} is {peak / limit:.0%} of the limit; most of it is {largest}", height=2.4
    )
    left = 0.0
    for number, (term, size) in enumerate(_largest_terms(terms, least=peak // 50).items()):
        shade = _SHADES[number % len(_SHADES)]
        axes.barh("predicted", size / _MIB, left=left, color=shade, label=term, edgecolor="white")
        left += size / _MIB
    if plan["measured_peak_bytes"]:
        axes.barh("measured", plan["measured_peak_bytes"] / _MIB, color=GREY)
    if limit < 4 * peak:
        axes.axvline(limit / _MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit)}")
    axes.set_xlabel(f"anonymous memory [MiB]; the limit is {format_bytes(limit)} ({plan['limit_source']})")
    _legend_below(figure)
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
    figure, axes = _axes(title)
    for trial in trials:
        x, y = trial["measured_peak_bytes"] / _MIB, trial["rows_per_second"]
        axes.plot(x, y, "o", color=ORANGE if trial is chosen else BLUE, markersize=10 if trial is chosen else 6)
        axes.annotate(f"{trial['batch_size']}", (x, y), xytext=(6, 6), textcoords="offset points", fontsize=9)
    limit = plan["limit_bytes"]
    if best and limit < 4 * max(trial["measured_peak_bytes"] for trial in trials):
        axes.axvline(limit / _MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit)}")
        _legend_below(figure)
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


def loss_curve(history: pd.DataFrame) -> Figure:
    """Return the training loss by optimizer step, with a running median; the title compares its first and last."""
    history = history[np.isfinite(history["loss"].astype(float))]
    loss = history["loss"].astype(float)
    window = max(1, len(loss) // 10)
    smooth = loss.rolling(window).median().dropna().to_numpy()
    title = "No step has a finite loss"
    if len(loss):
        word = "fell" if smooth[-1] < smooth[0] else "did not fall: it went"
        title = f"Training loss {word} from {smooth[0]:.3f} to {smooth[-1]:.3f} in {len(loss):,} steps"
    figure, axes = _axes(title)
    axes.plot(history["step"], loss, color=BLUE, linewidth=0.8, alpha=0.6, label="each step")
    if window > 1:
        label = f"median of the last {window} steps"
        axes.plot(history["step"].iloc[window - 1 :], smooth, color=RED, linewidth=2, label=label)
        axes.legend(fontsize=8, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("Huber loss\n[sd of the target]")
    return figure


def validation_errors(result: Json) -> Figure:
    """Return the MAE per horizon relative to the zero forecast's."""
    scores = result["validation"]
    better, total = count_better(result)
    title = f"The model's error is below the zero forecast's at {better} of {total} horizons"
    figure, axes = _axes(title if total else "No validation target is known")
    ratios = np.array(
        [m / z if m is not None and z else np.nan for m, z in zip(scores["mae"], scores["zero_mae"], strict=True)]
    )
    steps = np.arange(1, len(ratios) + 1)
    axes.bar(steps, ratios - 1, color=np.where(ratios < 1, GREEN, ORANGE))
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xticks(steps)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("MAE against\nzero forecast's")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="%"))
    axes.text(0.99, 0.03, "below zero is better", transform=axes.transAxes, ha="right", fontsize=8, color=GREY)
    return figure


def gains(scores: Sequence[HorizonScore]) -> Figure:
    """Return by horizon how far the model's error is below each baseline's, with 95% intervals."""
    names = list(scores[0].gain) if scores else []
    first = [score.gain[names[0]] for score in scores] if names else []
    surely = sum(one is not None and one.is_above for one in first)
    title = f"Surely better than {names[0]} at {surely} of {len(first)} horizons" if names else "Nothing is known"
    figure, axes = _axes(title)
    for number, (name, colour) in enumerate(zip(names, (BLUE, ORANGE, GREEN), strict=False)):
        known = [(score.horizon, score.gain[name]) for score in scores]
        points = [(horizon, one) for horizon, one in known if one is not None]
        if points:
            x = np.array([horizon for horizon, _ in points]) + 0.2 * (number - 1)
            value = np.array([one.value for _, one in points])
            low = np.array([one.value if one.low is None else one.low for _, one in points])
            high = np.array([one.value if one.high is None else one.high for _, one in points])
            axes.errorbar(x, value, [value - low, high - value], fmt="o", color=colour, capsize=3, label=f"than {name}")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("steps ahead; bars are 95% intervals over resampled blocks of rows")
    axes.set_ylabel("error lower by")
    if axes.get_legend_handles_labels()[1]:
        _legend_below(figure)
    return figure


def calibration(scores: Sequence[HorizonScore]) -> Figure:
    """Return what came on average against what was forecast, in groups by size, at up to three horizons."""
    known = [score for score in scores if score.calibration]
    chosen = [known[at] for at in sorted({0, len(known) // 2, len(known) - 1})] if known else []
    title = "Nothing is known of the size of forecasts"
    if chosen:
        forecasts, targets = np.array(chosen[0].calibration).T
        spread = forecasts - forecasts.mean()
        slope = float(spread @ targets / (spread @ spread)) if spread.any() else 0.0
        title = f"A forecast of 1% came out as {slope:.2f}% on average, {chosen[0].horizon} step ahead"
    figure, axes = _axes(title)
    for score, colour in zip(chosen, (BLUE, ORANGE, GREEN), strict=False):
        forecasts, targets = 100 * np.array(score.calibration).T
        axes.plot(forecasts, targets, "o-", color=colour, label=f"{score.horizon} steps ahead")
    if chosen:
        edge = max(abs(limit) for limit in axes.get_xlim())
        axes.plot([-edge, edge], [-edge, edge], color=GREY, linestyle=":", label="forecast = outcome")
        _legend_below(figure)
    axes.set_xlabel("mean forecast of a group [%]")
    axes.set_ylabel("mean outcome [%]")
    return figure


def directional_accuracy(result: Json) -> Figure:
    """Return the share of right directions per horizon, with the range in which a coin's would lie.

    The range is that of 95% of coins thrown once per validation row. Forecasts of neighbouring rows overlap in
    time, so in truth chance reaches further.
    """
    shares = np.array([np.nan if s is None else s for s in result["validation"]["directional_accuracy"]], float)
    chance = 1.96 * 0.5 / np.sqrt(max(1, result["rows"]["validation"]))
    title = "No validation target is known"
    if np.isfinite(shares).any():
        better = int((shares > 0.5 + chance).sum())
        mean = np.nanmean(shares)
        title = f"The direction is right in {mean:.1%} on average; {better} of {len(shares)} horizons beat chance"
    figure, axes = _axes(title)
    steps = np.arange(1, len(shares) + 1)
    label = f"95% of coins, {result['rows']['validation']:,} throws"
    axes.axhspan(0.5 - chance, 0.5 + chance, color=GREY, alpha=0.2, linewidth=0, label=label)
    axes.axhline(0.5, color=RED, linestyle="--", linewidth=1, label="a coin on average")
    axes.plot(steps, shares, "o-", color=BLUE)
    axes.set_xticks(steps)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("right direction")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(figure)
    return figure


def memory_timeline(samples: Sequence[Sample], limit_bytes: int) -> Figure:
    """Return anonymous and resident memory over time, phases shaded, the limit dashed."""
    times = _continuous_seconds(samples)
    anonymous = np.array([sample.anon_bytes for sample in samples]) / _MIB
    resident = np.array([sample.rss_bytes for sample in samples]) / _MIB
    peak = int(anonymous.argmax())
    phase = samples[peak].phase or "no phase"
    figure, axes = _axes(f"Memory peaks at {anonymous[peak]:,.0f} MiB in phase {phase!r}", height=3.8)
    _shade_phases(axes, samples, times)
    axes.plot(times, resident, color=GREY, linewidth=1, label="resident (with mapped files)")
    axes.plot(times, anonymous, color=BLUE, linewidth=1.8, label="anonymous (counts against the limit)")
    highest = max(resident.max(), anonymous.max())
    if limit_bytes / _MIB < 3 * highest:
        axes.axhline(limit_bytes / _MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit_bytes)}")
    else:
        axes.plot([], [], color=RED, linestyle="--", label=f"limit {format_bytes(limit_bytes)} (far above)")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("memory [MiB]")
    _legend_below(figure)
    return figure


def _continuous_seconds(samples: Sequence[Sample]) -> np.ndarray:
    """Seconds over several runs, each put behind the one before."""
    times, offset, last = [], 0.0, 0.0
    for number, sample in enumerate(samples):
        if number and sample.run != samples[number - 1].run:
            offset = last
        last = offset + sample.seconds
        times.append(last)
    return np.array(times)


def _shade_phases(axes: Axes, samples: Sequence[Sample], times: np.ndarray) -> None:
    """Colour the background by outermost phase; each phase is named once."""
    names = list(dict.fromkeys(sample.phase.partition("/")[0] for sample in samples))
    colours = {name: _SHADES[number % len(_SHADES)] for number, name in enumerate(filter(None, names))}
    labelled: set[str] = set()
    for name, group in groupby(range(len(samples)), key=lambda index: samples[index].phase.partition("/")[0]):
        inside = list(group)
        if name:
            label = None if name in labelled else f"phase {name}"
            axes.axvspan(times[inside[0]], times[inside[-1]], color=colours[name], alpha=0.35, linewidth=0, label=label)
            labelled.add(name)


def compared_errors(runs: Sequence[RunSummary]) -> Figure:
    """Return a bar per run: how far its validation error is below or above the zero forecast's, in percent."""
    scored = [run for run in runs if run.error is not None]
    gains = [100 * (1 - (run.error or 0.0)) for run in scored]
    best = int(np.argmax(gains))
    side = "below" if gains[best] >= 0 else "above"
    title = f"{_named(scored[best])} errs least: {abs(gains[best]):.2f}% {side} the zero forecast"
    figure, axes = _axes(title, height=1.2 + 0.34 * len(scored))
    colours = [ORANGE if number == best else BLUE for number in range(len(scored))]
    axes.barh([_named(run) for run in scored], gains, color=colours)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("validation error below that of the zero forecast [%], mean over horizons")
    return figure


def compared_rates(runs: Sequence[RunSummary]) -> Figure:
    """Return the rate of every run over its peak memory, each named, with the least limit among them."""
    known = [run for run in runs if run.rows_per_second and run.peak_anon_bytes]
    fastest = max(known, key=lambda run: run.rows_per_second or 0.0)
    figure, axes = _axes(f"{_named(fastest)} is the fastest: {fastest.rows_per_second:.0f} rows/s")
    for run in known:
        point = (run.peak_anon_bytes or 0) / _MIB, run.rows_per_second or 0.0
        axes.plot(*point, "o", color=ORANGE if run is fastest else BLUE, markersize=8)
        axes.annotate(_named(run), point, xytext=(6, 6), textcoords="offset points", fontsize=8)
    limit = min(run.limit_bytes or 0 for run in known) / _MIB
    if limit < 4 * max((run.peak_anon_bytes or 0) / _MIB for run in known):
        axes.axvline(limit, color=RED, linestyle="--", label=f"least limit {format_bytes(limit * _MIB)}")
        _legend_below(figure)
    axes.margins(x=0.2)
    axes.set_ylim(0, 1.2 * max(run.rows_per_second or 0.0 for run in known))
    axes.set_xlabel("peak anonymous memory [MiB]")
    axes.set_ylabel("rows/s")
    return figure


def compared_timelines(runs: Sequence[RunSummary]) -> Figure:
    """Return the anonymous memory of every run over the time since its last start."""
    known = [run for run in runs if run.timeline]
    peaks = {_named(run): max(anon for _, anon in run.timeline) for run in known}
    highest = max(peaks, key=lambda name: peaks[name])
    figure, axes = _axes(f"{highest} holds most: {format_bytes(peaks[highest])}", height=3.6)
    for run, colour in zip(known, cycle((BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", GREY)), strict=False):
        seconds, anon = np.array(run.timeline, float).T
        axes.plot(seconds, anon / _MIB, color=colour, linewidth=1.4, label=_named(run))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since the start [s]")
    axes.set_ylabel("anonymous\nmemory [MiB]")
    _legend_below(figure)
    return figure


def _named(run: RunSummary) -> str:
    return drawable(shorten(run.name, 60))


def window_chart(window: np.ndarray, name: str) -> Figure:
    """Return one row's window, float32 (steps, channels): close and volume of klines, else every channel as a line."""
    steps, name = np.arange(1 - len(window), 1), drawable(legible(name))
    if window.ndim == 1:
        figure, axes = _axes(f"{name}: {len(window)} numbers")
        axes.bar(np.arange(len(window)), window, color=BLUE)
        axes.set_xlabel("element")
        axes.set_ylabel("value")
        return figure
    flat = window.reshape(len(window), -1)
    if flat.shape[1] < 5:
        figure, axes = _axes(f"{name}: {flat.shape[1]} channels over {len(flat)} steps")
        axes.plot(steps, flat)
        axes.set_xlabel("steps before the row")
        axes.set_ylabel("value")
        return figure
    close, volume = flat[:, 3], flat[:, 4]
    change = close[-1] / close[0] - 1 if close[0] else np.nan
    figure = Figure(figsize=(8, 4), layout="constrained")
    price_axes, volume_axes = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    _finish(price_axes, f"{name}: the close changes by {change:+.2%} over {len(flat)} bars")
    _finish(volume_axes)
    price_axes.fill_between(steps, flat[:, 2], flat[:, 1], color=BLUE, alpha=0.25, linewidth=0, label="low to high")
    price_axes.plot(steps, close, color=BLUE, linewidth=1.2, label="close")
    price_axes.set_ylabel("price")
    price_axes.legend(fontsize=8, frameon=False)
    volume_axes.bar(steps, volume, color=GREY, width=1)
    volume_axes.set_ylabel("volume")
    volume_axes.set_xlabel("bars before the row")
    return figure
