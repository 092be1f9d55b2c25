"""Where the memory went, whether it grew, and what would need less."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...memory import PhaseGrowth, PhaseRow
from ...memory.leaks import LEAST_VISITS, WARM_UP_STEPS
from ...units import format_bytes
from ..findings import memory as findings
from .common import Json

_MOST_SPIKES = 3

_EFFECTS = {
    "batch_size": "smaller passes, as many rows per step and the same weights to 1e-5; a step takes a little longer",
    "cache_batches": "a shuffled batch hardly comes again before its turn in the next epoch",
    "prefetch": "no batch is read ahead, so steps wait for reading",
    "no_lazy_loading": "rows are read when they are used",
    "model_size": "another model, whose forecasts must be compared anew",
}
"""What a change of a setting does besides saving memory."""


def memory_verdict(peak_bytes: int, limit_bytes: int, limit_source: str, phase: str = "") -> str:
    """Return one sentence: the peak of anonymous memory, the limit, what was left, and in which phase it was."""
    use = findings.limit_use(peak_bytes, limit_bytes)
    where = f", in phase {phase!r}" if phase else ""
    word = {"over": "over", "tight": "tight within", "within": "within"}[use.state]
    rest = f"{-use.left_share:.0%} over" if use.state == "over" else f"{use.left_share:.0%} left"
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


def phases(table: Sequence[PhaseRow]) -> pd.DataFrame:
    """Return memory per phase: visits, before, after, change, peak above its start, seconds."""
    return pd.DataFrame(
        [
            {
                "phase": row.phase,
                "runs": row.visits,
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
    growing = findings.growing_phases(found)
    if growing:
        return " ".join(
            f"**It grows**: each run of {one.phase!r} leaves {format_bytes(one.slope.bytes_per_step)} more (95% "
            f"interval {format_bytes(one.slope.low)} to {format_bytes(one.slope.high)}, {one.visits} runs)."
            for one in growing
        )
    most = findings.least_certain_phase(found)
    if most:
        return (
            f"No sure growth: {most.visits} runs of {most.phase!r} moved memory by "
            f"{format_bytes(most.slope.bytes_per_step)} each (95% interval {format_bytes(most.slope.low)} to "
            f"{format_bytes(most.slope.high)})."
        )
    return f"Nothing ran {LEAST_VISITS} times, which it takes to tell a leak."


def next_steps(result: Json) -> list[str]:
    """Return what to try to lower the peak, the largest saving first, each with the saving predicted for this run."""
    known = result["memory"].get("alternatives", [])
    if not known:
        return ["Nothing: these settings are the smallest there are; use fewer features, or a part of each window."]
    return [
        f"{_as_options(one['change'])} would hold {format_bytes(one['saved_bytes'])} less: "
        f"{next(why for name, why in _EFFECTS.items() if name in one['change'])}."
        for one in known
    ]


def _as_options(change: Json) -> str:
    """The settings as they are typed, switches that go away named so."""
    parts = []
    for name, value in change.items():
        parts.append(f"`--{name}`" if value is True else f"no `--{name}`" if value is False else f"`--{name} {value}`")
    return " ".join(parts)
