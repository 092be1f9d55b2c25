"""The settings that were chosen, why, and how much memory was predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...memory import Limit
from ...planning.memory_model import PARTS
from ...units import format_bytes
from .common import Json, settings_table


def plan_verdict(plan: Json) -> str:
    """Return one sentence on the settings that were chosen."""
    measured = plan["measured_peak_bytes"]
    trial = f"measured {format_bytes(measured)}" if measured else "not measured: no trial was run"
    return (
        f"{plan['model_size']} with {plan['batch_size']} rows per pass x {plan['accum_steps']} passes = "
        f"{plan['effective_batch']} rows per step; predicted peak {format_bytes(plan['predicted_peak_bytes'])} "
        f"({trial}) of {format_bytes(plan['limit_bytes'])} ({plan['limit_source']})."
    )


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
    """Return the predicted peak by term and the sum, beside what was measured of them, with ratios.

    `plan` is a plan, or the memory part of a result with its `measured_peak_bytes`, which also knows the baseline.
    """
    terms, measured, baseline = plan["predicted_terms"], plan["measured_peak_bytes"], plan.get("baseline_anon_bytes")
    lines = [(term, size, baseline if term == "baseline" else None) for term, size in terms.items()]
    if measured and baseline:
        lines.append(("all above the baseline", sum(terms.values()) - terms["baseline"], measured - baseline))
    lines.append(("peak", plan["predicted_peak_bytes"], measured))
    return pd.DataFrame(
        [
            {
                "term": term,
                "predicted": format_bytes(size),
                "measured": "-" if known is None else format_bytes(known),
                "measured / predicted": f"{known / size:.2f}" if known and size else "-",
            }
            for term, size, known in lines
        ]
    )


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
