"""What a report says, as tables and sentences: pure functions of the files a run leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..examination import OUTLIER
from ..memory import Limit, PhaseGrowth, PhaseRow, Sample
from ..memory.leaks import LEAST_VISITS, WARM_UP_STEPS
from ..memory_model import PARTS
from ..units import format_bytes
from .text import legible

if TYPE_CHECKING:
    from ..evaluation import HorizonScore, Interval
    from .compare import Comparison

Json = Mapping[str, Any]

GAP_SHARE, NONFINITE_SHARE, HEADROOM_SHARE = 0.01, 0.001, 0.10
"""Thresholds of alerts: gaps per row, non-finite numbers per number, memory left below the limit."""

OUTLIER_SHARE, STILL_ROWS, DRIFT, LEAK, SURE_ERRORS = 0.001, 6, 1.0, 0.5, 6.0
"""Thresholds of alerts: last steps beyond so many deviations; rows in a row without news; a mean that moved, in
deviations; a correlation with a target: returns are never told that well; and for the last two, their size in
standard errors of as many independent rows, since in few rows chance goes far."""

_TENTHS = 10

_MOST_SPIKES = 3

_MOST_ALIKE = 4
"""Alerts of one kind that are told one by one; of a file with hundreds of features, the rest are counted."""

_FEED_CHANNELS = 4
"""Channels from which a feature counts as a feed, such as open, high, low and close."""

_PATHS = {"csv", "out", "run"}


def as_html(table: pd.DataFrame) -> Any:
    """Return a table as a notebook shows it: without its index, all rows, text from data escaped."""
    from IPython.display import HTML

    shown = table.map(lambda cell: legible(cell) if isinstance(cell, str) else cell)
    html = shown.to_html(index=False, border=0, escape=True, justify="left")
    for tag in ("th", "td"):  # JupyterLab's own sheet puts text to the right
        html = html.replace(f"<{tag}>", f'<{tag} style="text-align: left">')
    return HTML(html)


def data_verdict(profile: Json) -> str:
    """Return one sentence on what the file holds."""
    rows = profile["rows"]
    rejected = f"{rows['rejected']:,} rejected" if rows["rejected"] else "none rejected"
    return (
        f"{_subject(profile)} {rows['read']:,} rows ({rejected}) with {len(profile['features'])} features and "
        f"{len(profile['targets'])} horizons, {profile['span']['start'][:10]} to {profile['span']['end'][:10]}, "
        f"{format_bytes(profile['file_bytes'])} as CSV."
    )


def _subject(profile: Json) -> str:
    """Who holds the rows: the file, or its first part where only that was looked at."""
    first = profile.get("max_rows") and profile["rows"]["read"] == profile["max_rows"]
    return f"Of {profile['name']} only the first rows were looked at:" if first else f"{profile['name']} holds"


def plan_verdict(plan: Json) -> str:
    """Return one sentence on the settings that were chosen."""
    measured = plan["measured_peak_bytes"]
    trial = f"measured {format_bytes(measured)}" if measured else "not measured: no trial was run"
    return (
        f"{plan['model_size']} with {plan['batch_size']} rows per pass x {plan['accum_steps']} passes = "
        f"{plan['effective_batch']} rows per step; predicted peak {format_bytes(plan['predicted_peak_bytes'])} "
        f"({trial}) of {format_bytes(plan['limit_bytes'])} ({plan['limit_source']})."
    )


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


def memory_verdict(peak_bytes: int, limit_bytes: int, limit_source: str, phase: str = "") -> str:
    """Return one sentence: the peak of anonymous memory, the limit, what was left, and in which phase it was."""
    left = 1 - peak_bytes / limit_bytes
    where = f", in phase {phase!r}" if phase else ""
    word = "over" if left < 0 else "tight within" if left < HEADROOM_SHARE else "within"
    rest = f"{-left:.0%} over" if left < 0 else f"{left:.0%} left"
    return (
        f"Peak memory {format_bytes(peak_bytes)}, {word} the limit of {format_bytes(limit_bytes)} ({limit_source}): "
        f"{rest}{where}."
    )


def unsampled_verdict(memory: Json) -> str:
    """Return one sentence on a run without samples: the kernel's peak counts mapped files too, so it is no verdict."""
    return (
        f"No samples were taken; resident memory, mapped files included, peaked at "
        f"{format_bytes(memory['peak_rss_bytes'])} (limit {format_bytes(memory['limit_bytes'])}, "
        f"{memory['limit_source']})."
    )


def peak_sample(samples: Sequence[Sample]) -> Sample:
    """Return the sample with the most anonymous memory."""
    return max(samples, key=lambda sample: sample.anon_bytes)


def overview(profile: Json) -> pd.DataFrame:
    """Return what the file holds as (what, value)."""
    step = profile["step_seconds"]
    return _pairs(
        {
            "rows read": f"{profile['rows']['read']:,}",
            "rows usable": f"{profile['rows']['usable']:,}",
            "rows rejected": f"{profile['rows']['rejected']:,}",
            "features": len(profile["features"]),
            "numbers per row": f"{sum(f['bytes_per_row'] for f in profile['features']) // 4:,}",
            "targets": f"{len(profile['targets'])}, from {profile['target_source']}",
            "bytes as CSV": format_bytes(profile["sizes"]["csv_bytes"]),
            "bytes as float32": format_bytes(profile["sizes"]["float32_bytes"]),
            "first row": profile["span"]["start"],
            "last row": profile["span"]["end"],
            "time between rows": "one row" if step is None else f"{step / 60:g} min (median)",
            "gaps": profile["gap_count"],
            "repeated timestamps": profile["duplicates"],
            "timestamps that go back": profile["backward"],
            "cost of this profile": f"{profile['cost']['seconds']:.1f} s, "
            f"peak memory {format_bytes(profile['cost']['peak_anon_bytes'])}",
        }
    )


def alerts(profile: Json) -> pd.DataFrame:
    """Return what deserves a look as (level, what, threshold, next step), warnings first; empty when nothing does."""
    rows = profile["rows"]
    found: list[tuple[str, str, str, str]] = []
    if rows["rejected"]:
        found.append(
            ("warning", f"{rows['rejected']:,} rows are rejected", "any", "see ledger.csv: line, column and reason")
        )
    if profile["gap_count"] > GAP_SHARE * rows["usable"]:
        found.append(
            ("warning", f"{profile['gap_count']:,} gaps in time", f"{GAP_SHARE:.0%} of rows", "check the source")
        )
    for feature in profile["features"]:
        numbers = max(1, rows["usable"] * feature["bytes_per_row"] // 4)
        if feature["nonfinite"] > NONFINITE_SHARE * numbers:
            what = f"{feature['nonfinite'] / numbers:.1%} of {feature['name']} is NaN or infinite"
            found.append(("warning", what, f"{NONFINITE_SHARE:.1%}", "leave it out with --features, or mend it"))
        constant = sum(spread == 0 for spread in feature["std"])
        if constant:
            what = f"{constant} of {len(feature['std'])} channels of {feature['name']} never change"
            found.append(("note", what, "standard deviation 0", "they teach nothing; the model scales them by 1"))
        found += _examined_alerts(feature, rows["usable"])
    found += [("note", line, "any", "nothing to do where it is meant so") for line in profile["warnings"]]
    found.sort(key=lambda alert: alert[0] != "warning")
    return pd.DataFrame(_counted(found), columns=["level", "what", "threshold", "next step"])


def _counted(found: Sequence[tuple[str, str, str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """The alerts, of each kind (level, threshold and next step) the first few and the number of the others."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for level, what, threshold, step in found:
        kinds.setdefault((level, threshold, step), []).append(what)
    for (level, threshold, step), lines in kinds.items():
        for what in lines[:_MOST_ALIKE]:
            yield level, what, threshold, step
        if len(lines) > _MOST_ALIKE:
            yield level, f"{len(lines) - _MOST_ALIKE:,} more like this: see the tables below", threshold, step


def _examined_alerts(feature: Json, rows: int) -> Iterator[tuple[str, str, str, str]]:
    """Alerts on what the pass over the rows found of one feature."""
    name, correlation = feature["name"], feature["correlation"] or 0.0
    if abs(correlation) > LEAK and abs(correlation) * rows**0.5 > SURE_ERRORS:
        target = f"y_{feature['correlated_horizon'] + 1}"
        what = f"channel {feature['correlated_channel']} of {name} has correlation {correlation:.2f} with {target}"
        yield (
            "warning",
            what,
            f"{LEAK:g}",
            "it may know the future: see how it is made, or do without it",
        )
    if feature["outlier_share"] > OUTLIER_SHARE:
        what = f"{feature['outlier_share']:.1%} of {name} is more than {OUTLIER:g} standard deviations from its mean"
        yield (
            "warning",
            what,
            f"{OUTLIER_SHARE:.1%}",
            "see its least and most below: errors of a feed look like this",
        )
    channels = len(feature["zero_share"])
    if channels >= _FEED_CHANNELS and STILL_ROWS <= feature["longest_still_rows"] < rows:
        what = f"all channels of {name} stand still for {feature['longest_still_rows']} rows in a row"
        yield "warning", what, f"{STILL_ROWS} rows", "a feed may have stopped: see what was recorded then"
    zeros = zip(feature["zero_share"], feature["longest_zero"], strict=True)
    longest = max((stretch for share, stretch in zeros if share < 0.5), default=0)
    if longest >= STILL_ROWS:
        what = f"a channel of {name} that is seldom 0 is 0 for {longest} rows in a row"
        yield "note", what, f"{STILL_ROWS} rows", "no volume, or no data"
    by_chance = (
        SURE_ERRORS * (2 * _TENTHS / max(rows, 1)) ** 0.5
    )  # the difference of two means, each over a tenth of the rows
    moved = [abs(drift) for drift in feature["drift"] if abs(drift) > max(DRIFT, by_chance)]
    if moved:
        what = (
            f"{len(moved)} of {channels} channels of {name} moved by {max(moved):.1f} standard deviations at most "
            "between the first and the last tenth"
        )
        yield "note", what, f"{DRIFT:g}", "training sees such channels relative to the window's last step"


def examined(profile: Json) -> pd.DataFrame:
    """Return one row per feature: what windows repeat, how long it stands still, how far it moved, what it tells."""
    rows = []
    for feature in profile["features"]:
        steps, correlation = feature["shape"][0], feature["correlation"]
        shared = feature["shared_steps"]
        drift = max(feature["drift"], key=abs, default=0.0)
        told = "-" if correlation is None else f"{correlation:.2f} (y_{feature['correlated_horizon'] + 1})"
        rows.append(
            {
                "feature": feature["name"],
                "next row repeats": "-" if shared is None else f"{shared} of {steps}",
                "beyond 8 sd": f"{feature['outlier_share']:.3%}",
                "still, rows": f"{feature['longest_still_rows']:,}",
                "at 0, rows": f"{max(feature['longest_zero'], default=0):,}",
                "moved, sd": f"{drift:+.2f}",
                "correlation": told,
            }
        )
    return pd.DataFrame(rows)


def nonfinite_places(profile: Json) -> pd.DataFrame:
    """Return where numbers are missing or infinite, by step and channel; empty where none is."""
    rows = []
    for feature in profile["features"]:
        by_step, by_channel = feature["nonfinite_by_step"], feature["nonfinite_by_channel"]
        if not sum(by_channel):
            continue
        steps = [step for step, count in enumerate(by_step) if count]
        channels = sorted(range(len(by_channel)), key=lambda channel: -by_channel[channel])[:3]
        rows.append(
            {
                "feature": feature["name"],
                "not finite": f"{sum(by_channel):,}",
                "steps": f"{steps[0]} to {steps[-1]} of {len(by_step)}" if len(by_step) > 1 else "-",
                "in the last step": f"{by_step[-1]:,}",
                "most in channels": ", ".join(f"{one} ({by_channel[one]:,})" for one in channels if by_channel[one]),
            }
        )
    return pd.DataFrame(rows)


def independence(profile: Json) -> pd.DataFrame:
    """Return one row per horizon: autocorrelation at some lags, and how many independent rows its targets are worth."""
    rows = []
    for target in profile["targets"]:
        by_lag = dict(zip(target["lags"], target["autocorrelation"], strict=True))
        shown = {f"lag {lag}": f"{by_lag[lag]:+.3f}" for lag in (1, 2, 5, 10) if lag in by_lag}
        rows.append({"target": target["name"], **shown, "worth independent rows": f"{target['independent_rows']:,.0f}"})
    return pd.DataFrame(rows)


def features(profile: Json) -> pd.DataFrame:
    """Return one row per feature: shape, bytes, non-finite numbers, and the range of its channels."""
    return pd.DataFrame(
        [
            {
                "feature": feature["name"],
                "shape": "×".join(map(str, feature["shape"])),
                "bytes per row": f"{feature['bytes_per_row']:,}",
                "not finite": f"{feature['nonfinite']:,}",
                "mean": _span(feature["mean"]),
                "sd": _span(feature["std"]),
                "least": _number(min(feature["min"])),
                "most": _number(max(feature["max"])),
            }
            for feature in profile["features"]
        ]
    )


def targets(profile: Json) -> pd.DataFrame:
    """Return one row per horizon: missing values, mean, spread and quantiles, in percent of return."""
    return pd.DataFrame(
        [
            {"target": target["name"], "missing": f"{target['missing']:,}", "mean %": _percent(target["mean"])}
            | {"sd %": _percent(target["std"])}
            | {_quantile_name(float(q)): _percent(value) for q, value in target["quantiles"].items()}
            for target in profile["targets"]
        ]
    )


def _quantile_name(share: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "most"}.get(share, f"quantile {share:g}")


def rejected(profile: Json) -> pd.DataFrame:
    """Return rejected rows by reason."""
    return pd.DataFrame(sorted(profile["rejected"].items()), columns=["reason", "rows"])


def limits(found: Sequence[Limit]) -> pd.DataFrame:
    """Return every limit on memory that applies, the smallest first."""
    return pd.DataFrame(
        [
            {"limit": item.source, "bytes": format_bytes(item.limit_bytes), "left": format_bytes(item.available_bytes)}
            for item in sorted(found, key=lambda item: item.limit_bytes)
        ]
    )


def decisions(plan: Json) -> pd.DataFrame:
    """Return every automatic choice: what was found, what was changed, why, how to override it."""
    return pd.DataFrame(plan["decisions"], columns=["found", "changed", "why", "override"])


def predicted(plan: Json) -> pd.DataFrame:
    """Return the predicted peak by term, the sum, and the measured peak with its ratio to the sum.

    `plan` is a plan, or the memory part of a result with its `measured_peak_bytes`.
    """
    lines = [(term, format_bytes(size)) for term, size in plan["predicted_terms"].items()]
    lines.append(("predicted peak", format_bytes(plan["predicted_peak_bytes"])))
    measured = plan["measured_peak_bytes"]
    lines.append(("measured peak", format_bytes(measured) if measured else "no trial was run"))
    if measured:
        lines.append(("measured / predicted", f"{measured / plan['predicted_peak_bytes']:.2f}"))
    return pd.DataFrame(lines, columns=["term", "memory"])


def trials(plan: Json) -> pd.DataFrame:
    """Return one line per trial, by batch size: predicted and measured peak, their ratio, rate, and how it ended."""
    lines = []
    for trial in sorted(plan["trials"], key=lambda trial: trial["batch_size"]):
        measured, rate = trial["measured_peak_bytes"], trial["rows_per_second"]
        is_chosen = (trial["batch_size"], trial["prefetch"]) == (plan["batch_size"], plan["prefetch"])
        lines.append(
            {
                "rows per pass": trial["batch_size"],
                "read ahead": trial["prefetch"],
                "predicted": format_bytes(trial["predicted_peak_bytes"]),
                "measured": format_bytes(measured) if measured else "-",
                "measured / predicted": f"{measured / trial['predicted_peak_bytes']:.2f}" if measured else "-",
                "rows/s": f"{rate:.1f}" if rate else "-",
                "waiting": "-" if trial["wait_share"] is None else f"{trial['wait_share']:.1%}",
                "outcome": trial["message"] if trial["exit_code"] else "chosen" if is_chosen else "fits",
            }
        )
    return pd.DataFrame(lines)


def measured_parts(plan: Json) -> pd.DataFrame:
    """Return predicted against measured by part of the peak; empty where trials of two sizes are not there."""
    lines = []
    for part, measured in plan["measured_terms"].items():
        predicted = sum(plan["predicted_terms"].get(term, 0) for term in PARTS[part])
        sizes = format_bytes(predicted), format_bytes(measured)
        ratio = f"{measured / predicted:.2f}" if predicted else "-"
        lines.append((part, *sizes, ratio, ", ".join(PARTS[part])))
    return pd.DataFrame(lines, columns=["part", "predicted", "measured", "measured / predicted", "holds"])


def chosen(plan: Json) -> pd.DataFrame:
    """Return the settings of the plan."""
    names = ("model_size", "batch_size", "accum_steps", "effective_batch", "chunk_size", "cache_batches", "prefetch")
    return settings_table({name: plan[name] for name in (*names, "precision", "jit")})


def settings_table(settings: Json) -> pd.DataFrame:
    """Return settings as (setting, value); a folder or file is shown by its name alone, groups are left out."""
    shown = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    return _pairs({key: _without_folder(value) if key in _PATHS else value for key, value in shown.items()}, "setting")


def versions_table(versions: Json) -> pd.DataFrame:
    """Return packages and their versions."""
    return pd.DataFrame(versions.items(), columns=["package", "version"])


def validation(result: Json) -> pd.DataFrame:
    """Return per horizon: MAE, the zero forecast's, their ratio (below 1 is better), share of right directions."""
    lines = []
    directions = result["validation"]["directional_accuracy"] or []
    for step, ((mae, zero), share) in enumerate(zip(_mae_pairs(result), directions, strict=True), start=1):
        ratio = mae / zero if mae is not None and zero else None
        lines.append(
            {
                "horizon": step,
                "MAE %": _percent(mae),
                "zero forecast's MAE %": _percent(zero),
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
    return _pairs(
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
            | {f"MAE {name}, %": _percent(value) for name, value in score.mae.items()}
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


def phases(table: Sequence[PhaseRow]) -> pd.DataFrame:
    """Return memory per phase: visits, before, after, change, peak above its start, seconds."""
    return pd.DataFrame(
        [
            {
                "phase": row.phase,
                "runs": row.visits,
                "before": format_bytes(row.before),
                "after": format_bytes(row.after),
                "change": format_bytes(row.after - row.before),
                "peak above start": format_bytes(row.peak - row.before),
                "seconds": f"{row.seconds:.1f}",
            }
            for row in table
        ]
    )


def step_phases(memory: Json) -> pd.DataFrame:
    """Return how each phase of a pass moved anonymous memory; empty for a run without samples or of an earlier version.

    `first` is the first pass, which takes what later ones find again.
    """
    return pd.DataFrame(
        [
            {
                "phase of a pass": row["phase"],
                "passes": f"{row['visits']:,}",
                "first": format_bytes(row["first_bytes"]),
                "mean": format_bytes(row["mean_bytes"]),
                "largest": format_bytes(row["largest_bytes"]),
                "highest memory": format_bytes(row["peak_bytes"]),
            }
            for row in memory.get("step_phases", [])
        ]
    )


def growth_verdict(memory: Json) -> str:
    """Return in words whether memory grew from step to step, and where it jumped."""
    lines = [
        f"**A leak**: from step to step memory grew by {format_bytes(leak['bytes_per_step'])} (seen at step "
        f"{leak['step']}); {leak['detail']}."
        for leak in memory.get("leaks", [])
    ]
    slope = memory.get("slope")
    if slope and not lines:
        span = f"{format_bytes(slope['low'])} to {format_bytes(slope['high'])}"
        lines.append(
            f"No leak: memory moved by {format_bytes(slope['bytes_per_step'])} a step (95% interval {span}) after the "
            f"first {WARM_UP_STEPS} steps."
        )
    if not lines:
        lines.append("Too few steps to say whether memory grows.")
    for spike in memory.get("spikes", [])[:_MOST_SPIKES]:
        lines.append(
            f"A jump by {format_bytes(spike['rise_bytes'])} at step {spike['step']}, pass {spike['batch'] + 1}, "
            f"in phase {spike['phase']!r}."
        )
    return " ".join(lines)


def phase_growth_verdict(found: Sequence[PhaseGrowth]) -> str:
    """Return in words whether phases that were run again and again left more memory behind each time."""
    growing = [one for one in found if one.is_growth]
    if growing:
        return " ".join(
            f"**It grows**: each run of {one.phase!r} leaves {format_bytes(one.slope.bytes_per_step)} more (95% "
            f"interval {format_bytes(one.slope.low)} to {format_bytes(one.slope.high)}, {one.visits} runs)."
            for one in growing
        )
    if found:
        most = max(found, key=lambda one: one.slope.high)
        return (
            f"No sure growth: {most.visits} runs of {most.phase!r} moved memory by "
            f"{format_bytes(most.slope.bytes_per_step)} each (95% interval {format_bytes(most.slope.low)} to "
            f"{format_bytes(most.slope.high)})."
        )
    return f"Nothing ran {LEAST_VISITS} times, which it takes to tell a leak."


def next_steps(result: Json) -> list[str]:
    """Return what to try to lower the peak, from this run's numbers; each says what it would change."""
    memory, size = result["memory"], result["batch_size"]
    above = memory["peak_anon_bytes"] - memory["baseline_anon_bytes"]
    steps = []
    if size > 1:
        steps.append(
            f"halve batch_size to {size // 2} and double accum_steps to {2 * result['accum_steps']}: the same result; "
            f"activations fall by half (at most {format_bytes(above / 2)} of the {format_bytes(above)} above the start)"
        )
    if result["settings"]["cache_batches"]:
        steps.append("cache_batches=0: the cache holds assembled batches that a shuffled epoch does not use again")
    if result["settings"]["no_lazy_loading"]:
        steps.append("leave out no_lazy_loading: rows are then read when they are used")
    steps.append("a smaller model_size: weights, their gradients and two optimizer slots shrink together")
    return steps


def comparison(compared: Comparison) -> pd.DataFrame:
    """Return one line per run: how it stands, its error relative to zero, its peak, its rate and its time."""
    return pd.DataFrame(
        [
            {
                "run": run.name,
                "status": run.status,
                "error / zero": "-" if run.error is None else f"{run.error:.4f}",
                "horizons beaten": "-" if run.horizons is None else f"{run.horizons_beaten} of {run.horizons}",
                "steps": "-" if run.steps is None else f"{run.steps:,}",
                "peak memory": format_bytes(run.peak_anon_bytes) if run.peak_anon_bytes else "-",
                "rows/s": f"{run.rows_per_second:.1f}" if run.rows_per_second else "-",
                "seconds": f"{run.wall_seconds:.0f}" if run.wall_seconds else "-",
                "weights": run.weights_sha256[:8] or "-",
            }
            for run in compared.runs
        ]
    )


def differing_settings(compared: Comparison) -> pd.DataFrame:
    """Return one line per run with the settings that are not the same in all."""
    return pd.DataFrame(
        [
            {"run": run.name} | {name: str(run.settings.get(name, "-")) for name in compared.differing}
            for run in compared.runs
        ]
    )


def _mae_pairs(result: Json) -> list[tuple[float | None, float | None]]:
    scores = result["validation"]
    return list(zip(scores["mae"] or [], scores["zero_mae"] or [], strict=True))


def _pairs(values: Json, name: str = "what") -> pd.DataFrame:
    return pd.DataFrame([(key, str(value)) for key, value in values.items()], columns=[name, "value"])


def _without_folder(value: Any) -> Any:
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.4f}"


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    """Four digits; large numbers whole, with separators, rather than with an exponent."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
