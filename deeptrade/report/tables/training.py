"""How training went: rows, time, and errors against simple forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ...evaluation import HorizonScore, Interval

from .common import Json, pairs, percent


def training_verdict(result: Json) -> str:
    """Return one sentence on how a completed training went against the forecast that is always zero."""
    steps = f"{result['steps']:,} steps, {result['rows']['trained']:,} rows"
    better, total = count_better(result)
    if not total and any(zero is not None for _, zero in _mae_pairs(result)):
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


def count_better(result: Json) -> tuple[int, int]:
    """Return (horizons whose validation MAE is below the zero forecast's, horizons where both are known)."""
    pairs = [(mae, zero) for mae, zero in _mae_pairs(result) if mae is not None and zero is not None]
    return sum(mae < zero for mae, zero in pairs), len(pairs)


def mean_ratio(result: Json) -> float:
    """Return the mean over horizons of the MAE over the zero forecast's; 1 where no such ratio is known."""
    ratios = [mae / zero for mae, zero in _mae_pairs(result) if mae is not None and zero]
    return sum(ratios) / len(ratios) if ratios else 1.0


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon: MAE, the zero forecast's, their ratio (below 1 is better), share of right directions."""
    lines = []
    directions = result["validation"]["directional_accuracy"] or []
    for step, ((mae, zero), share) in enumerate(zip(_mae_pairs(result), directions, strict=True), start=1):
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


def time_split(result: Json) -> pd.DataFrame:
    """Return where the time went."""
    seconds = result["time"]
    wall, waited = seconds["wall_seconds"], seconds["data_wait_seconds"]
    median, collected = seconds["step_seconds_median"], seconds.get("collection_seconds", 0.0)
    return pairs(
        {
            "whole run": f"{wall:.1f} s",
            "waiting for data": f"{waited:.1f} s ({waited / max(wall, 1e-9):.1%})",
            "median optimizer step": "-" if median is None else f"{1000 * median:.0f} ms",
            "collecting garbage": f"{collected:.1f} s ({collected / max(wall, 1e-9):.1%})",
        }
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


def _mae_pairs(result: Json) -> list[tuple[float | None, float | None]]:
    scores = result["validation"]
    return list(zip(scores["mae"] or [], scores["zero_mae"] or [], strict=True))
