"""How training went: rows, time, and errors against simple forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ...judging.scores import HorizonScore, Interval
    from ...store.ledger import LedgerEntry

from ..findings import training as findings
from .common import Json, percent


def training_verdict(result: Json) -> str:
    """Return one sentence on how a completed training went against the forecast that is always zero."""
    steps = f"{result['steps']:,} steps, {result['rows']['trained']:,} rows"
    errors = findings.validation_errors(result)
    better, total, ratio = errors.better, errors.known, errors.mean_ratio
    if errors.has_diverged:
        return f"After {steps}, the forecasts are no finite numbers: training has diverged; lower learning_rate."
    if not total:
        return f"After {steps}, no validation target is known: nothing can be said of the forecasts."
    if better == total:
        outcome = f"beats the zero forecast at all {total} horizons"
    elif better:
        outcome = f"beats the zero forecast at {better} of {total} horizons"
    else:
        outcome = (
            f"does not beat the zero forecast at any of {total} horizons: on this data, zero is the better forecast"
        )
    average = f"; on average over horizons it is {abs(ratio - 1):.1%} {'lower' if ratio < 1 else 'higher'}"
    return f"After {steps}, the validation error (MAE) {outcome}{average}."


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon: MAE, the zero forecast's, their ratio (below 1 is better), share of right directions."""
    return pd.DataFrame(
        [
            {
                "horizon": one.horizon,
                "MAE %": percent(one.mae),
                "zero forecast's MAE %": percent(one.zero_mae),
                "ratio": "-" if one.ratio is None else f"{one.ratio:.4f}",
                "better": "-" if one.is_better is None else "yes" if one.is_better else "no",
                "right direction": "-" if one.direction_share is None else f"{one.direction_share:.1%}",
            }
            for one in findings.validation_errors(result).horizons
        ]
    )


def rows(result: Json) -> pd.DataFrame:
    """Return what became of every row read."""
    return pd.DataFrame([(name, f"{count:,}") for name, count in result["rows"].items()], columns=["rows", "count"])


def skipped(ledger: Sequence[LedgerEntry]) -> pd.DataFrame:
    """Return the rows of a ledger by reason: how many, the first of them, and what is wrong with it."""
    return pd.DataFrame(
        [
            {
                "reason": one.reason,
                "rows": f"{one.rows:,}",
                "first row": f"{one.first.row:,}",
                "line": f"{one.first.line:,}" if one.first.line else "-",
                "column": one.first.column or "-",
                "of the first": one.first.detail or "-",
            }
            for one in findings.skipped_rows(ledger)
        ]
    )


_ACTIVITIES = {
    "read": "read: waiting for batches",
    "first_steps": "compute: first steps, which trace and compile",
    "other_steps": "compute: other steps",
    "save": "save",
    "validate": "validate",
    "build": "build the model",
    "else": "else: start, check every row, collect garbage",
}


def time_split(result: Json) -> pd.DataFrame:
    """Return where the time went, over all calls of a run: seconds and shares of the whole by activity."""
    whole, median = result["time"]["wall_seconds"], result["time"]["step_seconds_median"]
    lines = [
        (_ACTIVITIES[part.activity], f"{part.seconds:.1f}", f"{part.share:.1%}") for part in findings.time_parts(result)
    ]
    lines.append(("whole run", f"{whole:.1f}", "100.0%"))
    lines.append(("median optimizer step", "-" if median is None else f"{median:.3f}", "-"))
    return pd.DataFrame(lines, columns=["what", "seconds", "share"])


def starts(result: Json) -> pd.DataFrame:
    """Return every call that trained: when it began, after which step, and how the call before had ended."""
    return pd.DataFrame(
        [
            {
                "began, UTC": start["time"].partition("+")[0].replace("T", " "),
                "after step": f"{start['step']:,}",
                "the call before": start["before"] or "-",
                "steps repeated": f"{start['repeated_steps']:,}",
            }
            for start in result.get("starts", [])
        ]
    )


def starts_verdict(result: Json) -> str:
    """Return one sentence on how often a run was begun, and what that cost."""
    found = findings.restarts(result)
    if found.starts == 1:
        return "Once, without a break."
    how = ", ".join(f"{count} {name}" for name, count in found.ends.items())
    return (
        f"{found.starts} times (calls before the last: {how}); {found.repeated_steps:,} steps were taken twice, and "
        "none was lost."
    )


def evaluation(scores: Sequence[HorizonScore]) -> pd.DataFrame:
    """Return one row per horizon: errors of model and baselines, and how much lower the model's is, with intervals."""
    return pd.DataFrame(
        [
            {"steps ahead": score.horizon, "rows": f"{score.rows:,}"}
            | {f"MAE {name}, %": percent(value) for name, value in score.mae.items()}
            | {f"below {name}": _interval(interval) for name, interval in score.gain.items()}
            | {"right direction": _interval(score.direction)}
            for score in scores
        ]
    )


def evaluation_verdict(scores: Sequence[HorizonScore]) -> str:
    """Return one sentence: at how many horizons the model is surely better than each baseline."""
    if scores and not findings.has_gain_intervals(scores):
        return f"Only {scores[0].rows} validation rows: too few to tell the model from simple forecasts."
    if not scores:
        return "Nothing is known of the forecasts: no validation target is."
    counts = [
        f"{one.baseline} at {one.better} of {one.known} horizons"
        + (f" (surely worse at {one.worse})" if one.worse else "")
        for one in findings.compare_with_baselines(scores)
    ]
    return f"The model is surely better (95% interval) than {', than '.join(counts)}."


def _interval(one: Interval | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.1%}" + ("" if one.low is None else f" ({one.low:.1%} to {one.high:.1%})")
