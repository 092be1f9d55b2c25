"""How training went: rows, time, and errors compared with simple forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ...judging.scores import HorizonScore, Interval
    from ...store.ledger import LedgerEntry

from ...units import count_of
from ..findings import training as findings
from .common import Json, percent


def training_verdict(result: Json) -> str:
    """Return one sentence that compares a completed run with the forecast that is always zero."""
    steps = f"{count_of(result['steps'], 'step')}, {count_of(result['rows']['trained'], 'row')}"
    errors = findings.validation_errors(result)
    better, total, gain = errors.better, errors.known, errors.mean_gain
    if errors.has_diverged:
        return f"After {steps}, the forecasts are not finite: training has diverged; lower learning_rate."
    if not total:
        return f"After {steps}, the forecasts cannot be judged: no validation row has a known target."
    if better == total:
        outcome = f"beats the zero forecast at {'all ' * (total > 1)}{count_of(total, 'horizon')}"
    elif better:
        outcome = f"beats the zero forecast at {better} of {count_of(total, 'horizon')}"
    else:
        outcome = (
            f"does not beat the zero forecast at any of {count_of(total, 'horizon')}: on this data, zero is the better "
            "forecast"
        )
    average = f"; averaged over horizons, it is {abs(gain):.1%} {'lower' if gain > 0 else 'higher'}"
    return f"After {steps}, the validation error (MAE) {outcome}{average}."


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon the MAE, the zero forecast's MAE, their ratio (below 1 is better), and correct directions."""
    return pd.DataFrame(
        [
            {
                "horizon": one.horizon,
                "MAE %": percent(one.mae),
                "zero forecast's MAE %": percent(one.zero_mae),
                "ratio": "-" if one.ratio is None else f"{one.ratio:.4f}",
                "better": "-" if one.is_better is None else "yes" if one.is_better else "no",
                "correct direction": "-" if one.direction_share is None else f"{one.direction_share:.1%}",
            }
            for one in findings.validation_errors(result).horizons
        ]
    )


def weights_line(result: Json) -> str:
    """Return one sentence on which weights were kept, and by which rows."""
    kept, rows = result.get("weights_of"), result["rows"].get("inner", 0)
    if not kept or not rows:
        return "The weights are the last ones: there are no inner rows to choose by."
    tried = max(len(result["inner_history"]), kept["epoch"])
    where = f"of epoch {kept['epoch']} of {tried} (step {kept['step']:,})"
    return f"The weights are those {where}, chosen by the loss on {count_of(rows, 'inner row')}."


def sizes(result: Json) -> pd.DataFrame:
    """Return by horizon what the inner rows say of the size of forecasts, and how often intervals held in validation.

    Empty for a run without inner rows.
    """
    found = result.get("calibration")
    if not found:
        return pd.DataFrame()
    columns = zip(
        *(found[name] for name in ("slope", "slope_error", "shrinkage", "half_width", "coverage")), strict=True
    )
    return pd.DataFrame(
        [
            {
                "steps ahead": horizon,
                "slope of outcome on forecast": "-" if slope is None else f"{slope:.2f}",
                "its standard error": "-" if error is None else f"{error:.2f}",
                "forecasts times": f"{factor:.2f}",
                "95% interval, ± %": percent(half),
                "held in validation": "-" if held is None else f"{held:.1%}",
            }
            for horizon, (slope, error, factor, half, held) in enumerate(columns, start=1)
        ]
    )


def rows(result: Json) -> pd.DataFrame:
    """Return how many rows were trained on, validated on, or left out, by name."""
    return pd.DataFrame([(name, f"{count:,}") for name, count in result["rows"].items()], columns=["rows", "count"])


def skipped(ledger: Sequence[LedgerEntry]) -> pd.DataFrame:
    """Return the rows of a ledger by reason: how many there are, which is the first, and what is wrong with it."""
    return pd.DataFrame(
        [
            {
                "reason": one.reason,
                "rows": f"{one.rows:,}",
                "first row": f"{one.first.row:,}",
                "line": f"{one.first.line:,}" if one.first.line else "-",
                "column": one.first.column or "-",
                "detail of the first": one.first.detail or "-",
            }
            for one in findings.skipped_rows(ledger)
        ]
    )


_ACTIVITIES = {
    "read": "read: waiting for batches",
    "first_steps": "compute: first steps, including tracing and compiling",
    "other_steps": "compute: other steps",
    "save": "save",
    "validate": "validate",
    "build": "build the model",
    "other": "other: start-up, row checks, garbage collection",
}


def time_split(result: Json) -> pd.DataFrame:
    """Return where the time went over all starts of a run: seconds and share of the total by activity."""
    whole, median = result["time"]["wall_seconds"], result["time"]["step_seconds_median"]
    lines = [
        (_ACTIVITIES[part.activity], f"{part.seconds:.1f}", f"{part.share:.1%}") for part in findings.time_parts(result)
    ]
    lines.append(("total", f"{whole:.1f}", "100.0%"))
    lines.append(("median optimizer step", "-" if median is None else f"{median:.3f}", "-"))
    return pd.DataFrame(lines, columns=["activity", "seconds", "share"])


def starts(result: Json) -> pd.DataFrame:
    """Return every start of a run: when it was, from which step it continued, and how the previous one ended."""
    return pd.DataFrame(
        [
            {
                "started (UTC)": start["time"].partition("+")[0].replace("T", " "),
                "after step": f"{start['step']:,}",
                "previous start ended": start["before"] or "-",
                "repeated steps": f"{start['repeated_steps']:,}",
            }
            for start in result.get("starts", [])
        ]
    )


def starts_verdict(result: Json) -> str:
    """Return one sentence on how often a run was started, and how many steps were repeated."""
    found = findings.restarts(result)
    if found.starts == 1:
        return "Started once, without interruption."
    how = ", ".join(f"{count} {name}" for name, count in found.ends.items())
    return (
        f"Started {found.starts} times (earlier starts: {how}); {count_of(found.repeated_steps, 'step')} repeated, "
        "none lost."
    )


def evaluation(scores: Sequence[HorizonScore]) -> pd.DataFrame:
    """Return per horizon the errors of model and baselines, and how much lower the model's is, with 95% intervals."""
    return pd.DataFrame(
        [
            {"steps ahead": score.horizon, "rows": f"{score.rows:,}"}
            | {f"MAE {name}, %": percent(value) for name, value in score.mae.items()}
            | {f"below {name}": _interval(interval) for name, interval in score.gain.items()}
            | {"correct direction": _interval(score.direction)}
            for score in scores
        ]
    )


def evaluation_by_market(by_market: Mapping[str, Sequence[HorizonScore]]) -> pd.DataFrame:
    """Return per market, at the first and the last horizon, what `evaluation` has of all; empty without names."""
    return pd.DataFrame(
        [
            {"market": market} | line
            for market, scores in by_market.items()
            for line in evaluation([*scores[:1], *scores[1:][-1:]]).to_dict("records")
        ]
    )


def evaluation_verdict(scores: Sequence[HorizonScore]) -> str:
    """Return one sentence: at how many horizons the model is better than each baseline with 95% confidence."""
    if scores and not findings.has_gain_intervals(scores):
        return f"Only {count_of(scores[0].rows, 'validation row')}: too few to tell the model from simple forecasts."
    if not scores:
        return "The forecasts cannot be judged: no validation row has a known target."
    counts = [
        f"{one.baseline} at {one.better} of {count_of(one.known, 'horizon')}"
        + (f" (worse at {one.worse})" if one.worse else "")
        for one in findings.compare_with_baselines(scores)
    ]
    return f"With 95% confidence, the model is better than {', than '.join(counts)}."


def _interval(one: Interval | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.1%}" + ("" if one.low is None else f" ({one.low:.1%} to {one.high:.1%})")
