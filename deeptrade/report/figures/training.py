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
    from matplotlib.container import ErrorbarContainer

    from ...judging.evaluation import Evaluation
    from ...judging.scores import Score

from .common import finish, legend_below, new_axes
from .marks import say
from .palette import BETTER, INK, MODEL, MODEL_LAST, MODEL_LATER, PRICE, QUIET, QUIETER, SOFT, WORSE


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
    axes.plot(history["step"], loss, color=QUIETER, linewidth=1, label="each step")
    if window > 1:
        label = f"median of the last {window} steps"
        axes.plot(history["step"].iloc[window - 1 :], smooth, color=MODEL, linewidth=2, label=label)
    if epochs:
        steps, losses = zip(*((one["step"], one["loss"]) for one in epochs), strict=True)
        axes.plot(steps, losses, color=INK, marker="o", markersize=6, linewidth=1.2, label="inner rows")
    if window > 1 or epochs:
        legend_below(figure)
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
    axes.bar(steps, gains, 0.6, color=QUIET)
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.set_xticks(steps)
    axes.set_xlabel("steps ahead; without intervals, so a difference may be chance")
    axes.set_ylabel("error below that of zero")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def skill(judged: Evaluation) -> Figure:
    """Return the rank IC by horizon with 95% intervals, coloured where there is evidence of skill."""
    decided = judged.verdict
    known = findings.known_scores(judged.of("rank_ic"))
    figure, axes = new_axes(_skill_title(known, judged.step))
    told = set(decided.horizons) if decided is not None and decided.kind == "evidence" else set()
    for name, colour, chosen in (
        ("evidence of skill", BETTER, [one for one in known if one.horizon in told]),
        ("no evidence", QUIET, [one for one in known if one.horizon not in told]),
    ):
        if chosen:
            _draw_intervals(axes, chosen, color=colour, label=name)
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_steps_label(known))
    axes.set_ylabel("rank IC")
    if known:
        legend_below(figure)
    return figure


def _skill_title(known: list[Score], step: str) -> str:
    """Return the rank IC at the first and the last horizon, and how many intervals lie above zero, each alone."""
    if not known:
        return "Not judged"
    shown = known[:1] + known[1:][-1:]
    values = " and ".join(f"{one.value:.3f} at {horizon_name(one.horizon, step)}" for one in shown)
    if all(one.low is None for one in known):
        return f"The rank IC is {values}; too few rows for intervals"
    above = sum(one.is_above for one in known)
    return f"The rank IC is {values}; {above} of {count_of(len(known), 'interval')} lie above zero, each taken alone"


def gains(judged: Evaluation) -> Figure:
    """Return by horizon how far the model's error is below each baseline's, with 95% intervals."""
    compared = findings.strongest_first(judged)
    title = "No error is known"
    if compared:
        best = compared[0]
        of_several = (
            f" beside {best.baseline}'s, the lowest of {len(compared)} simple forecasts," if compared[1:] else ""
        )
        horizons = f"{best.better} of {count_of(best.known, 'horizon')}"
        title = f"The error{of_several} is lower at {horizons}, each alone with 95% confidence"
        title = title if of_several else title.replace("is lower", f"is below {best.baseline}'s")
    lines = max(1, -(-len(compared) // 2))
    figure = Figure(figsize=(8, 0.5 + 2.2 * lines), layout="constrained")
    cells = figure.subplots(lines, min(2, max(1, len(compared))), squeeze=False, sharex=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    for axes, one in zip(cells.flat, compared, strict=False):
        finish(axes)
        axes.set_title(f"than {one.baseline}", loc="left", fontsize=12, color=SOFT)
        _draw_by_side(axes, findings.known_scores(judged.of(f"mae_gain_{one.baseline}")), than=one.baseline)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in cells.flat[len(compared) :]:
        axes.set_axis_off()
    for axes in cells[-1]:
        axes.set_xlabel("steps ahead")
    _legend_of_all(figure)
    return figure


def _draw_by_side(axes: Axes, scores: Sequence[Score], *, than: str) -> None:
    """Draw errors below those of a baseline, coloured only where the whole interval lies on one side of zero."""
    for label, colour, chosen in (
        ("better, with 95% confidence", BETTER, [one for one in scores if one.is_above]),
        ("worse, with 95% confidence", WORSE, [one for one in scores if one.is_below]),
        ("may be chance", QUIET, [one for one in scores if not (one.is_above or one.is_below)]),
    ):
        if chosen:
            drawn = _draw_intervals(axes, chosen, color=colour, label=label)
            say(drawn.lines[0], [f"{_beside(one, than)}: {label}" for one in chosen])
    axes.axhline(0, color=SOFT, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _beside(one: Score, than: str) -> str:
    bounds = "" if one.low is None else f" ({one.low:.2%} to {one.high:.2%})"
    return f"{one.value:.2%}{bounds} below {than}'s, {count_of(one.horizon, 'step')} ahead"


def _legend_of_all(figure: Figure) -> None:
    """Give a figure of several axes one set of keys."""
    keys = {label: key for axes in figure.axes for key, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if keys:
        figure.legend(keys.values(), keys.keys(), loc="outside lower left", frameon=False)


def calibration(judged: Evaluation) -> Figure:
    """Return mean outcome over mean forecast in groups of forecasts by size, at up to three horizons."""
    known = [(horizon, groups) for horizon, groups in enumerate(judged.groups, start=1) if groups]
    chosen = [known[at] for at in sorted({0, len(known) // 2, len(known) - 1})] if known else []
    title = "Too few forecasts to group by size"
    if chosen:
        ahead = horizon_name(chosen[0][0], judged.step)
        title = f"Outcomes move {findings.slope_of_groups(chosen[0][1]):,.1f} times as far as forecasts, {ahead} ahead"
    figure, axes = new_axes(title)
    styles = zip((MODEL, MODEL_LATER, MODEL_LAST), "os^", strict=True)
    for (horizon, groups), (colour, shape) in zip(chosen, styles, strict=False):
        forecasts, targets = 100 * np.array(groups).T
        axes.plot(forecasts, targets, f"{shape}-", color=colour, label=f"{horizon_name(horizon, judged.step)} ahead")
    if chosen:
        edge = max(abs(limit) for limit in axes.get_xlim())
        axes.plot([-edge, edge], [-edge, edge], color=PRICE, linestyle=":", label="forecast = outcome")
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
        axes.plot(*zip(*rates, strict=True), color=PRICE, linestyle="--", linewidth=1.4, label="the more frequent sign")
        sure = {one.horizon for one in judged.of("direction_gain") if one.is_above}
        for label, colour, chosen in (
            ("better, with 95% confidence", BETTER, [one for one in found.shares if one.horizon in sure]),
            ("may be chance", QUIET, [one for one in found.shares if one.horizon not in sure]),
        ):
            if chosen:
                _draw_intervals(axes, chosen, color=colour, label=label)
        legend_below(figure)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_steps_label(found.shares))
    axes.set_ylabel("correct direction")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _steps_label(scores: Sequence[Score]) -> str:
    return "steps ahead; bars are 95% intervals" if any(one.low is not None for one in scores) else "steps ahead"


def _draw_intervals(axes: Axes, scores: Sequence[Score], *, color: str, label: str) -> ErrorbarContainer:
    """Draw scores by horizon, with intervals where there are any, and return what was drawn."""
    x = np.array([one.horizon for one in scores])
    value = np.array([one.value for one in scores])
    low = np.array([one.value if one.low is None else one.low for one in scores])
    high = np.array([one.value if one.high is None else one.high for one in scores])
    bars = [value - low, high - value]
    return axes.errorbar(x, value, bars, fmt="o", color=color, elinewidth=2, markersize=6, label=label)
