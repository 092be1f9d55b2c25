"""Figures of training: loss, errors by horizon, calibration, and correct directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...judging.verdict import horizon_name
from ...training.validation_errors import gain_from
from ...units import count_of
from ..findings import training as findings
from ..findings.common import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...judging.evaluation import Evaluation
    from ...judging.scores import Score

from .common import BLUE, GREEN, GREY, ORANGE, RED, legend_below, new_axes

_INTERVALS = "steps ahead; bars are 95% intervals over resampled blocks of rows"


def loss_curve(history: pd.DataFrame, epochs: Sequence[Json] = ()) -> Figure:
    """Return the training loss by optimizer step, with a running median and the losses at the end of epochs.

    `epochs` has step and loss on the inner rows, which choose among them. The title says whether the loss fell by more
    than noise.
    """
    history = history[np.isfinite(history["loss"].astype(float))]
    loss = history["loss"].astype(float)
    window = max(1, len(loss) // 10)
    smooth = loss.rolling(window).median().dropna().to_numpy()
    title = _trend(findings.loss_trend(loss.to_numpy()))
    epochs, best = findings.finite_losses(epochs), findings.best_step(epochs)
    if best is not None:
        title += f";\nthe inner loss is lowest at step {best:,}"
    figure, axes = new_axes(title)
    axes.plot(history["step"], loss, color=BLUE, linewidth=0.8, alpha=0.6, label="each step")
    if window > 1:
        label = f"median of the last {window} steps"
        axes.plot(history["step"].iloc[window - 1 :], smooth, color=RED, linewidth=2, label=label)
    if epochs:
        steps, losses = zip(*((one["step"], one["loss"]) for one in epochs), strict=True)
        axes.plot(steps, losses, color=GREEN, marker="o", markersize=5, linewidth=1.2, label="inner rows")
    if window > 1 or epochs:
        axes.legend(fontsize=8, frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("Huber loss\n[sd of the target]")
    return figure


def _trend(trend: findings.LossTrend) -> str:
    """Return the trend of the loss as a title."""
    if trend.kind == "none":
        return "No step has a finite loss"
    if trend.kind == "few":
        return (
            f"Training loss is {trend.mean:.3f} on average; {count_of(trend.steps, 'step')} are too few to show a trend"
        )
    if trend.kind == "flat":
        return f"Training loss is {trend.mean:.3f} on average, with no clear trend in {count_of(trend.steps, 'step')}"
    return f"Training loss {trend.kind} from {trend.first:.3f} in the first third to {trend.last:.3f} in the last"


def validation_errors(result: Json) -> Figure:
    """Return the MAE by horizon, relative to that of the zero forecast."""
    errors = findings.validation_errors(result)
    title = f"The error {errors.beside_zero('that of the forecast zero')}"
    figure, axes = new_axes(title if errors.known else "No validation row has a known target")
    gains = np.array([np.nan if one.ratio is None else gain_from(one.ratio) for one in errors.horizons])
    steps = [one.horizon for one in errors.horizons]
    axes.bar(steps, -gains, color=np.where(gains > 0, GREEN, ORANGE))
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xticks(steps)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("MAE relative to\nzero forecast's")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="%"))
    axes.text(0.99, 0.03, "below zero is better", transform=axes.transAxes, ha="right", fontsize=8, color=GREY)
    return figure


def skill(judged: Evaluation) -> Figure:
    """Return the rank IC by horizon with 95% intervals, in blue where there is evidence; the title is the verdict."""
    decided = judged.verdict
    figure, axes = new_axes("Not judged" if decided is None else decided.sentence(judged.step).rstrip("."))
    known = findings.known_scores(judged.of("rank_ic"))
    told = set(decided.horizons) if decided is not None and decided.kind == "evidence" else set()
    for name, colour, chosen in (
        ("evidence of skill", BLUE, [one for one in known if one.horizon in told]),
        ("no evidence", GREY, [one for one in known if one.horizon not in told]),
    ):
        if chosen:
            _draw_intervals(axes, chosen, color=colour, label=name)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_INTERVALS)
    axes.set_ylabel("rank IC")
    if known:
        legend_below(figure)
    return figure


def gains(judged: Evaluation) -> Figure:
    """Return by horizon how far the model's error is below each baseline's, with 95% intervals."""
    compared = [one for one in findings.compare_with_baselines(judged) if one.known]
    title = "No error is known"
    if compared:
        horizons = f"{compared[0].better} of {count_of(compared[0].known, 'horizon')}"
        title = f"The error is below {compared[0].baseline}'s at {horizons}, each alone with 95% confidence"
    figure, axes = new_axes(title)
    for number, (one, colour) in enumerate(zip(compared, (BLUE, ORANGE, GREEN, RED), strict=False)):
        points = findings.known_scores(judged.of(f"mae_gain_{one.baseline}"))
        _draw_intervals(axes, points, color=colour, label=f"than {one.baseline}", shift=0.15 * (number - 1.5))
    axes.axhline(0, color=GREY, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(_INTERVALS)
    axes.set_ylabel("error lower by")
    if axes.get_legend_handles_labels()[1]:
        legend_below(figure)
    return figure


def calibration(judged: Evaluation) -> Figure:
    """Return mean outcome over mean forecast in groups of forecasts by size, at up to three horizons."""
    known = [(horizon, groups) for horizon, groups in enumerate(judged.groups, start=1) if groups]
    chosen = [known[at] for at in sorted({0, len(known) // 2, len(known) - 1})] if known else []
    title = "Too few forecasts to group by size"
    if chosen:
        ahead = horizon_name(chosen[0][0], judged.step)
        title = f"Outcomes move {findings.slope_of_groups(chosen[0][1]):,.1f} times as far as forecasts, {ahead} ahead"
    figure, axes = new_axes(title)
    for (horizon, groups), colour in zip(chosen, (BLUE, ORANGE, GREEN), strict=False):
        forecasts, targets = 100 * np.array(groups).T
        axes.plot(forecasts, targets, "o-", color=colour, label=f"{horizon_name(horizon, judged.step)} ahead")
    if chosen:
        edge = max(abs(limit) for limit in axes.get_xlim())
        axes.plot([-edge, edge], [-edge, edge], color=GREY, linestyle=":", label="forecast = outcome")
        legend_below(figure)
    axes.set_xlabel("mean forecast of a group [%]")
    axes.set_ylabel("mean outcome [%]")
    return figure


def directions(judged: Evaluation) -> Figure:
    """Return the share of correct directions by horizon, with 95% intervals, beside that of the more frequent sign."""
    found = findings.correct_directions(judged)
    title = "No direction is known"
    if found.shares:
        horizons = f"{found.better} of {count_of(len(found.shares), 'horizon')}"
        better = f"above the more frequent sign at {horizons}, each alone with 95% confidence"
        more = better if found.has_intervals else "too few rows for an interval"
        title = f"{found.mean_share:.1%} of directions are correct on average;\n{more}"
    figure, axes = new_axes(title)
    if found.shares:
        rates = [(one.horizon, one.value) for one in found.base_rates]
        axes.plot(*zip(*rates, strict=True), color=RED, linestyle="--", linewidth=1, label="the more frequent sign")
        _draw_intervals(axes, found.shares, color=BLUE, label="model")
        legend_below(figure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_INTERVALS)
    axes.set_ylabel("correct direction")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _draw_intervals(axes: Axes, scores: Sequence[Score], *, color: str, label: str, shift: float = 0.0) -> None:
    """Draw scores by horizon, with intervals where there are any."""
    x = np.array([one.horizon for one in scores]) + shift
    value = np.array([one.value for one in scores])
    low = np.array([one.value if one.low is None else one.low for one in scores])
    high = np.array([one.value if one.high is None else one.high for one in scores])
    axes.errorbar(x, value, [value - low, high - value], fmt="o", color=color, capsize=3, label=label)
