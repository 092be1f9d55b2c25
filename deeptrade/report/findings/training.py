"""How training went, as numbers: errors compared with simple forecasts, trend of the loss, time, rows, restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...times import iso_time
from ...training.validation_errors import ValidationErrors, errors_of
from .common import Json

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation
    from ...judging.scores import Score
    from ...store.ledger import LedgerEntry
    from ...training.judged import Judged

MOST_STRETCHES = 60
"""Stretches of time that a figure can show beside each other."""

LEAST_THIRD = 5
"""Steps that a third of a training run must have before a trend is reported."""


def validation_errors(result: Json) -> ValidationErrors:
    """Return the validation errors in a result.json; no horizons where the run has not been validated."""
    return errors_of(result["validation"])


@dataclass(frozen=True)
class BaselineComparison:
    """The model against one baseline, in numbers of horizons.

    `known` horizons have a gain; at `better` and `worse` of them the whole 95% interval lies on that side of zero.
    """

    baseline: str
    known: int
    better: int
    worse: int


def compare_with_baselines(judged: Evaluation) -> list[BaselineComparison]:
    """Return one comparison per baseline; none where there are no scores."""
    found = []
    for name in judged.baselines:
        known = known_scores(judged.of(f"mae_gain_{name}"))
        better, worse = sum(one.is_above for one in known), sum(one.is_below for one in known)
        found.append(BaselineComparison(name, len(known), better, worse))
    return found


def strongest_first(judged: Evaluation) -> list[BaselineComparison]:
    """Return the comparisons that have gains, that with the lowest error of its own first."""
    compared = [one for one in compare_with_baselines(judged) if one.known]
    return sorted(compared, key=lambda one: _mean_value(judged.of(f"mae_gain_{one.baseline}")))


def _mean_value(scores: Sequence[Score]) -> float:
    return float(np.mean([one.value for one in scores if one.value is not None]))


def first_middle_last(horizons: Sequence[int]) -> list[int]:
    """Return the first, the middle and the last of the horizons, each once."""
    known = sorted(set(horizons))
    return sorted({known[0], known[len(known) // 2], known[-1]}) if known else []


@dataclass(frozen=True)
class Stretch:
    """Mean forecast and outcome one step ahead, as returns, of the rows of a stretch of time; `middle` is ISO 8601."""

    middle: str
    forecast: float
    outcome: float
    rows: int


def stretches(judged: Judged) -> list[Stretch]:
    """Return the rows that were judged in order of time, in at most MOST_STRETCHES stretches of equally many."""
    forecasts, outcomes = judged.forecasts[:, 0].astype(float), judged.targets[:, 0].astype(float)
    known = np.flatnonzero(np.isfinite(forecasts) & np.isfinite(outcomes))
    if len(known) < LEAST_THIRD:
        return []
    return [
        Stretch(
            iso_time(int(judged.times[rows[len(rows) // 2]])), forecasts[rows].mean(), outcomes[rows].mean(), len(rows)
        )
        for rows in np.array_split(known, min(MOST_STRETCHES, len(known) // LEAST_THIRD))
    ]


def known_scores(scores: Sequence[Score]) -> list[Score]:
    """Return the scores that have a value."""
    return [one for one in scores if one.value is not None]


@dataclass(frozen=True)
class DirectionFinding:
    """Correct directions over the horizons where they are known.

    `shares` are the scores by horizon, `base_rates` the shares of the more frequent sign; `mean_share`, from 0 to 1, is
    None where none is known; at `better` horizons the whole 95% interval of their difference lies above zero.
    """

    shares: list[Score]
    base_rates: list[Score]
    mean_share: float | None
    better: int
    has_intervals: bool


def correct_directions(judged: Evaluation) -> DirectionFinding:
    """Return how often forecasts have the correct sign, and how often the more frequent sign comes."""
    shares = known_scores(judged.of("direction"))
    return DirectionFinding(
        shares=shares,
        base_rates=known_scores(judged.of("base_rate")),
        mean_share=float(np.mean([one.value for one in shares])) if shares else None,
        better=sum(one.is_above for one in judged.of("direction_gain")),
        has_intervals=any(one.low is not None for one in shares),
    )


def slope_of_groups(groups: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of mean outcomes over mean forecasts; 0 where all forecasts are equal."""
    forecasts, outcomes = np.array(groups).T
    spread = forecasts - forecasts.mean()
    return float(spread @ outcomes / (spread @ spread)) if spread.any() else 0.0


@dataclass(frozen=True)
class LossTrend:
    """Mean training losses (Huber, in standard deviations of the target), and which way they went.

    `mean` is over all `steps` with a finite loss, `first` and `last` over their first and last third. `kind` is 'fell'
    or 'rose' where these are more than two standard errors apart, else 'flat'; 'few' where a third has fewer than
    LEAST_THIRD steps, 'none' where there is no step.
    """

    kind: Literal["none", "few", "flat", "fell", "rose"]
    steps: int
    mean: float = np.nan
    first: float = np.nan
    last: float = np.nan


def loss_trend(loss: np.ndarray) -> LossTrend:
    """Return the trend of finite losses, float (steps,), in the order of steps."""
    steps = len(loss)
    if not steps:
        return LossTrend("none", 0)
    third, mean = steps // 3, float(loss.mean())
    if third < LEAST_THIRD:
        return LossTrend("few", steps, mean)
    first, last = loss[:third], loss[-third:]
    error = np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third)
    change = last.mean() - first.mean()
    kind: Literal["flat", "fell", "rose"] = "flat" if abs(change) <= 2 * error else "fell" if change < 0 else "rose"
    return LossTrend(kind, steps, mean, float(first.mean()), float(last.mean()))


def finite_losses(epochs: Sequence[Json]) -> list[Json]:
    """Return the epochs (step and loss) whose loss is finite, in order."""
    return [one for one in epochs if one["loss"] is not None and np.isfinite(one["loss"])]


def best_step(epochs: Sequence[Json]) -> int | None:
    """Return the step with the lowest finite loss; None where there is no choice of two."""
    known = finite_losses(epochs)
    return min(known, key=lambda one: one["loss"])["step"] if len(known) > 1 else None


Activity = Literal["read", "first_steps", "other_steps", "save", "validate", "build", "other"]


@dataclass(frozen=True)
class TimePart:
    """Seconds spent on one activity, and their share of the whole run from 0 to 1."""

    activity: Activity
    seconds: float
    share: float


def time_parts(result: Json) -> list[TimePart]:
    """Return the wall time of a run, over all of its starts, by activity.

    'read' is waiting for batches, 'first_steps' and 'other_steps' are computation without it, 'other' is the rest.
    """
    time = result["time"]
    whole, waited = time["wall_seconds"], time["data_wait_seconds"]
    done, first = time.get("activity_seconds", {}), time.get("first_steps_seconds", 0.0)
    parts: dict[Activity, float] = {
        "read": waited,
        "first_steps": first,
        "other_steps": max(0.0, time.get("steps_seconds", 0.0) - waited - first),
        "save": done.get("save", 0.0),
        "validate": done.get("validate", 0.0),
        "build": done.get("build", 0.0),
    }
    parts["other"] = max(0.0, whole - sum(parts.values()))
    return [TimePart(name, seconds, seconds / max(whole, 1e-9)) for name, seconds in parts.items()]


@dataclass(frozen=True)
class SkippedRows:
    """Rows left out for one reason: how many, and the first of them."""

    reason: str
    rows: int
    first: LedgerEntry


def skipped_rows(ledger: Sequence[LedgerEntry]) -> list[SkippedRows]:
    """Return the rows of a ledger by reason, in order of first occurrence."""
    counts = Counter(entry.reason for entry in ledger)
    firsts = {entry.reason: entry for entry in reversed(ledger)}
    return [SkippedRows(reason, count, firsts[reason]) for reason, count in counts.items()]


@dataclass(frozen=True)
class Restarts:
    """How often a run was started, how its earlier starts ended (count by reason), and steps computed twice."""

    starts: int
    ends: dict[str, int]
    repeated_steps: int


def restarts(result: Json) -> Restarts:
    """Return the restarts in a result.json; one start where the file does not list any."""
    again = result.get("starts", [])[1:]
    ends = Counter(start["before"] for start in again)
    return Restarts(len(again) + 1, dict(ends), sum(start["repeated_steps"] for start in again))
