"""How training went: rows, time, and errors against simple forecasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ...judging.scores import HorizonScore, Interval
    from ...store.ledger import LedgerEntry

from ..findings import count_better, mae_pairs, mean_ratio
from .common import Json, percent


def training_verdict(result: Json) -> str:
    """Return one sentence on how a completed training went against the forecast that is always zero."""
    steps = f"{result['steps']:,} steps, {result['rows']['trained']:,} rows"
    better, total = count_better(result)
    if not total and any(zero is not None for _, zero in mae_pairs(result)):
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
    ratio = mean_ratio(result)
    average = f"; on average over horizons it is {abs(ratio - 1):.1%} {'lower' if ratio < 1 else 'higher'}"
    return f"After {steps}, the validation error (MAE) {outcome}{average}."


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon: MAE, the zero forecast's, their ratio (below 1 is better), share of right directions."""
    lines = []
    directions = result["validation"]["directional_accuracy"] or []
    for step, ((mae, zero), share) in enumerate(zip(mae_pairs(result), directions, strict=True), start=1):
        ratio = mae / zero if mae is not None and zero else None
        lines.append(
            {
                "horizon": step,
                "MAE %": percent(mae),
                "zero forecast's MAE %": percent(zero),
                "ratio": "-" if ratio is None else f"{ratio:.4f}",
                "better": "-" if ratio is None else "yes" if ratio < 1 else "no",
                "right direction": "-" if share is None else f"{share:.1%}",
            }
        )
    return pd.DataFrame(lines)


def rows(result: Json) -> pd.DataFrame:
    """Return what became of every row read."""
    return pd.DataFrame([(name, f"{count:,}") for name, count in result["rows"].items()], columns=["rows", "count"])


def skipped(ledger: Sequence[LedgerEntry]) -> pd.DataFrame:
    """Return the rows of a ledger by reason: how many, the first of them, and what is wrong with it."""
    by_reason: dict[str, list[LedgerEntry]] = {}
    for entry in ledger:
        by_reason.setdefault(entry.reason, []).append(entry)
    return pd.DataFrame(
        [
            {
                "reason": reason,
                "rows": f"{len(entries):,}",
                "first row": f"{entries[0].row:,}",
                "line": f"{entries[0].line:,}" if entries[0].line else "-",
                "column": entries[0].column or "-",
                "of the first": entries[0].detail or "-",
            }
            for reason, entries in by_reason.items()
        ]
    )


def time_split(result: Json) -> pd.DataFrame:
    """Return where the time went, over all calls of a run: seconds and shares of the whole by activity."""
    time = result["time"]
    whole, steps, waited = time["wall_seconds"], time.get("steps_seconds", 0.0), time["data_wait_seconds"]
    done, first = time.get("activity_seconds", {}), time.get("first_steps_seconds", 0.0)
    parts = {
        "read: waiting for batches": waited,
        "compute: first steps, which trace and compile": first,
        "compute: other steps": max(0.0, steps - waited - first),
        "save": done.get("save", 0.0),
        "validate": done.get("validate", 0.0),
        "build the model": done.get("build", 0.0),
    }
    parts["else: start, check every row, collect garbage"] = max(0.0, whole - sum(parts.values()))
    median = time["step_seconds_median"]
    lines = {name: (f"{seconds:.1f}", f"{seconds / max(whole, 1e-9):.1%}") for name, seconds in parts.items()}
    lines["whole run"] = (f"{whole:.1f}", "100.0%")
    lines["median optimizer step"] = ("-" if median is None else f"{median:.3f}", "-")
    return pd.DataFrame([(name, *line) for name, line in lines.items()], columns=["what", "seconds", "share"])


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
    again = result.get("starts", [])[1:]
    if not again:
        return "Once, without a break."
    ends = Counter(start["before"] for start in again)
    how = ", ".join(f"{count} {name}" for name, count in ends.items())
    lost = sum(start["repeated_steps"] for start in again)
    return f"{len(again) + 1} times (calls before the last: {how}); {lost:,} steps were taken twice, and none was lost."


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
    counts = []
    for name in scores[0].gain if scores else ():
        known = [one for one in (score.gain[name] for score in scores) if one is not None]
        surely, worse = sum(one.is_above for one in known), sum(one.is_below for one in known)
        counts.append(f"{name} at {surely} of {len(known)} horizons" + (f" (surely worse at {worse})" if worse else ""))
    if all(one is None or one.low is None for score in scores for one in score.gain.values()) and scores:
        return f"Only {scores[0].rows} validation rows: too few to tell the model from simple forecasts."
    if not counts:
        return "Nothing is known of the forecasts: no validation target is."
    return f"The model is surely better (95% interval) than {', than '.join(counts)}."


def _interval(one: Interval | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.1%}" + ("" if one.low is None else f" ({one.low:.1%} to {one.high:.1%})")
