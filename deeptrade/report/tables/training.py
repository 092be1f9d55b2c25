"""How training went: rows, time, and errors compared with simple forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation
    from ...judging.scores import Score
    from ...store.ledger import LedgerEntry

from ...judging.verdict import horizon_name
from ...units import count_of
from ..findings import training as findings
from .common import Json, percent, rounded, unbroken


def training_verdict(result: Json) -> str:
    """Return one sentence on the validation error of a completed run, beside that of the forecast zero."""
    steps = f"{count_of(result['steps'], 'step')}, {count_of(result['rows']['trained'], 'row')}"
    errors = findings.validation_errors(result)
    if errors.has_diverged:
        return f"After {steps}, the forecasts are not finite: training has diverged; lower learning_rate."
    if not errors.known:
        return f"After {steps}, the forecasts cannot be judged: no validation row has a known target."
    return f"After {steps}, the validation error (MAE) {errors.beside_zero('that of the forecast zero')}."


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon the MAE, the zero forecast's MAE, their ratio (below 1 is better), and correct directions."""
    return pd.DataFrame(
        [
            {
                "horizon": one.horizon,
                "MAE %": percent(one.mae),
                "zero forecast's MAE %": percent(one.zero_mae),
                "ratio": "-" if one.ratio is None else f"{one.ratio:.4f}",
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


def verdict(judged: Evaluation) -> str:
    """Return the verdict on skill in one sentence, with what it rests on."""
    if judged.verdict is None:
        return "Not judged: deeptrade evaluate, or notebook 03, judges a completed run."
    line = f"{judged.verdict.sentence(judged.step)[:-1]}; {judged.verdict.basis()}."
    named = [one for one in judged.of("r2") if one.horizon in judged.verdict.horizons]
    if judged.verdict.kind == "evidence" and not any(one.is_above for one in named):
        line += " It is skill in ranks: by squared errors (R2), none of these is surely better than zero."
    return line


def scores(judged: Evaluation, market: str | None = None) -> pd.DataFrame:
    """Return a row per horizon: what the forecasts are worth, with 95% intervals where there are enough rows."""
    columns = {
        "rank IC": ("rank_ic", _PLAIN),
        "IC": ("ic", _PLAIN),
        "R2 against zero": ("r2", _SHARE),
        "R2 against the mean": ("r2_mean", _SHARE),
        "slope": ("slope", _SLOPE),
    }
    return _by_horizon(judged, columns, market)


def directions(judged: Evaluation) -> pd.DataFrame:
    """Return a row per horizon: how often the sign is right, how often the more frequent sign comes, the difference."""
    columns = {
        "correct direction": ("direction", _SHARE),
        "more frequent sign": ("base_rate", _SHARE),
        "difference": ("direction_gain", _SHARE),
    }
    return _by_horizon(judged, columns)


def _by_horizon(judged: Evaluation, columns: Mapping[str, tuple[str, str]], market: str | None = None) -> pd.DataFrame:
    """Return a row per horizon, and a column for each (metric, format of its numbers)."""
    ahead = [_ahead(judged, one.horizon) for one in judged.of("rank_ic", market)]
    found = {name: [_told(one, form) for one in judged.of(metric, market)] for name, (metric, form) in columns.items()}
    return pd.DataFrame({"ahead": ahead, **found})


def scores_by_market(judged: Evaluation) -> pd.DataFrame:
    """Return per market, at the first and the last horizon, what `scores` has of all; empty without names."""
    parts = [scores(judged, market).iloc[[0, -1]].drop_duplicates().assign(market=market) for market in judged.markets]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[["market", *(name for name in table.columns if name != "market")]]


def gains(judged: Evaluation) -> pd.DataFrame:
    """Return a row per horizon: the model's MAE, and how far it is below that of each simple forecast."""
    mae = {"MAE, %": [percent(one.value) for one in judged.of("mae")]}
    lower = {f"below {name}": (f"mae_gain_{name}", _SHARE) for name in judged.baselines}
    table = _by_horizon(judged, lower)
    return pd.DataFrame({"ahead": table["ahead"], **mae, **table.drop(columns="ahead")})


def over_time(judged: Evaluation) -> pd.DataFrame:
    """Return the rank IC by month and by volatility, at the first and the last horizon; empty for too few rows."""
    horizons = sorted({one.horizon for one in judged.periods})
    rows: dict[str, dict[str, str]] = {}
    for one in judged.periods:
        if one.horizon in (horizons[0], horizons[-1]):
            line = rows.setdefault(one.period, {"rows": f"{one.rows:,}"})
            value = "-" if one.rank_ic is None else f"{one.rank_ic:+.3f}"
            line[f"rank IC, {_ahead(judged, one.horizon)}"] = value
    return pd.DataFrame([{"period": period} | line for period, line in rows.items()])


def baselines_line(judged: Evaluation) -> str:
    """Return one sentence: at how many horizons the model's error is lower than that of each simple forecast."""
    compared = [one for one in findings.compare_with_baselines(judged) if one.known]
    if not compared:
        return "No error is known."
    counts = [f"{one.baseline} at {one.better}" + (f" (above at {one.worse})" if one.worse else "") for one in compared]
    horizons = count_of(compared[0].known, "horizon")
    line = f"Of {horizons}, each alone with 95% confidence, the model's MAE is below that of {', of '.join(counts)}."
    gains = [one.value for one in judged.of("mae_gain_zero") if one.value is not None]
    if not gains:
        return line
    mean = fmean(gains)
    size = (
        f"{abs(mean):.2%} {'below' if mean > 0 else 'above'} zero's" if abs(mean) >= 5e-5 else "that of zero to 0.01%"
    )
    return f"{line} On average over horizons it is {size}."


def _ahead(judged: Evaluation, horizon: int) -> str:
    return unbroken(horizon_name(horizon, judged.step))


_PLAIN, _SHARE, _SMALL_SHARE, _SLOPE, _LARGE_SLOPE = ".3f", ".1%", ".2%", ".2f", ",.0f"
_LEAST_SHARE = 0.0005
"""Shares below this would be zero with the digits of the others."""

_LARGE = 100
"""Slopes from here on need no digits after the point."""


def _told(one: Score, form: str) -> str:
    """Return a score with its interval, on one line."""
    if one.value is None:
        return "-"
    known = [value for value in (one.value, one.low, one.high) if value is not None]
    if form == _SHARE and any(0 < abs(value) < _LEAST_SHARE for value in known):
        form = _SMALL_SHARE
    if form == _SLOPE and abs(one.value) >= _LARGE:
        form = _LARGE_SLOPE
    value, *bounds = (rounded(value, form) for value in known)
    interval = f" ({' to '.join(bounds)})" if len(bounds) > 1 else ""
    return unbroken(f"{value}{interval}")
