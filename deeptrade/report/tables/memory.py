"""Where the memory went, whether it grew, and which settings would need less."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...memory import PhaseGrowth, PhaseRow
from ...memory.leaks import LEAK_WARM_UP_STEPS, LEAST_GROWTH, LEAST_SLOPE, LEAST_VISITS
from ...units import format_bytes
from ..findings import memory as findings
from .common import Json

_MOST_SPIKES = 3

_NO_LEAK = (
    f"It is not counted as a leak: a leak rises by more than {format_bytes(LEAST_SLOPE)} a step and by at least "
    f"{format_bytes(LEAST_GROWTH)} over the steps that are tested, as fast at their end as at their beginning; a heap "
    "that settles rises less and less."
)

_EFFECTS = {
    "batch_size": "smaller passes, the same rows per step, the same weights to 1e-5; a step takes slightly longer",
    "cache_batches": "a shuffled batch is rarely used again before the next epoch",
    "prefetch": "no batch is read ahead, so steps wait for data",
    "no_lazy_loading": "rows are read when they are needed",
    "model_size": "a different model: compare its forecasts again",
}
"""What a change of each setting does besides saving memory."""


def memory_verdict(peak_bytes: int, limit_bytes: int, limit_source: str, phase: str = "") -> str:
    """Return one sentence: the peak of anonymous memory, the limit, the share left, and the phase of the peak."""
    use = findings.limit_use(peak_bytes, limit_bytes)
    where = f", in phase {phase!r}" if phase else ""
    word = "tight within" if use.state == "tight" else use.state
    rest = f"{-use.left_share:.0%} over" if use.state == "over" else f"{use.left_share:.0%} left"
    return (
        f"Peak memory {format_bytes(peak_bytes)}, {word} the limit of {format_bytes(limit_bytes)} ({limit_source}): "
        f"{rest}{where}."
    )


def unsampled_verdict(memory: Json) -> str:
    """Return one sentence on a run without samples, whose peak of resident memory includes mapped files."""
    return (
        f"No samples were taken; resident memory, mapped files included, peaked at "
        f"{format_bytes(memory['peak_rss_bytes'])} (limit {format_bytes(memory['limit_bytes'])}, "
        f"{memory['limit_source']})."
    )


def phases(table: Sequence[PhaseRow]) -> pd.DataFrame:
    """Return memory by phase: visits, before, after, change, peak above the start, seconds."""
    return pd.DataFrame(
        [
            {
                "phase": row.phase,
                "visits": row.visits,
                "before": format_bytes(row.before_bytes),
                "after": format_bytes(row.after_bytes),
                "change": format_bytes(row.change_bytes),
                "peak above start": format_bytes(row.rise_bytes),
                "seconds": f"{row.seconds:.1f}",
            }
            for row in findings.phase_changes(table)
        ]
    )


def step_phases(memory: Json) -> pd.DataFrame:
    """Return how each phase of a pass changed anonymous memory; empty for runs without samples or of old versions.

    `first` is the first pass, which allocates what later ones reuse.
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
    """Return sentences on whether memory grew from step to step, and where it jumped."""
    lines = [
        f"**Leak**: memory grew by {format_bytes(leak['bytes_per_step'])} per step (detected at step {leak['step']}); "
        f"{leak['detail']}."
        for leak in memory.get("leaks", [])
    ]
    slope = memory.get("slope")
    if slope and not lines:
        span = f"95% interval {format_bytes(slope['low'])} to {format_bytes(slope['high'])}"
        change = (
            f"by {format_bytes(slope['bytes_per_step'])} per step ({span}) after the first {LEAK_WARM_UP_STEPS} steps"
        )
        lines.append(f"Memory rose {change}. {_NO_LEAK}" if slope["low"] > 0 else f"No leak: memory changed {change}.")
    if not lines:
        lines.append("Too few steps to tell whether memory grows.")
    for spike in memory.get("spikes", [])[:_MOST_SPIKES]:
        lines.append(
            f"Memory jumped by {format_bytes(spike['rise_bytes'])} at step {spike['step']}, pass {spike['batch'] + 1}, "
            f"in phase {spike['phase']!r}."
        )
    return " ".join(lines)


def phase_growth_verdict(found: Sequence[PhaseGrowth]) -> str:
    """Return sentences on whether any phase left more memory behind on every visit."""
    growing = findings.growing_phases(found)
    if growing:
        return " ".join(
            f"**Memory grows**: each visit of {one.phase!r} leaves {format_bytes(one.slope.bytes_per_step)} more (95% "
            f"interval {format_bytes(one.slope.low)} to {format_bytes(one.slope.high)}, {one.visits} visits)."
            for one in growing
        )
    most = findings.steepest_phase(found)
    if most:
        return (
            f"No clear growth: {most.visits} visits of {most.phase!r} changed memory by "
            f"{format_bytes(most.slope.bytes_per_step)} each (95% interval {format_bytes(most.slope.low)} to "
            f"{format_bytes(most.slope.high)})."
        )
    return f"No phase ran {LEAST_VISITS} times, the minimum to detect growth."


def next_steps(result: Json) -> list[str]:
    """Return changes of settings that lower the peak, the largest predicted saving first."""
    known = result["memory"].get("alternatives", [])
    if not known:
        return ["No other settings would lower the peak; use fewer features, or part of each window."]
    return [
        f"{_as_options(one['change'])} would save {format_bytes(one['saved_bytes'])}: "
        f"{next(why for name, why in _EFFECTS.items() if name in one['change'])}."
        for one in known
    ]


def _as_options(change: Json) -> str:
    """Return settings as they are typed; a switch to remove is named as such."""
    parts = []
    for name, value in change.items():
        parts.append(f"`--{name}`" if value is True else f"no `--{name}`" if value is False else f"`--{name} {value}`")
    return " ".join(parts)
