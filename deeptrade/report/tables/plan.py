"""The chosen settings, the reasons for them, and how much memory was predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...memory import Limit
from ...settings import BEFORE
from ...units import count_of, format_bytes
from ..findings import plan as findings
from ..findings.memory import ABOVE_BASELINE, PEAK, Prediction
from ..findings.memory import predicted_terms as predictions
from .common import Json, settings_table


def plan_verdict(plan: Json) -> str:
    """Return one sentence on the chosen settings."""
    measured = plan["measured_peak_bytes"]
    trial = f"measured {format_bytes(measured)}" if measured else "not measured: no trial run"
    encoder = plan.get("encoder", BEFORE["encoder"])
    return (
        f"{plan['model_size']}, {encoder}, with {count_of(plan['batch_size'], 'row')} per pass x "
        f"{count_of(plan['accum_steps'], 'pass', 'passes')} = {count_of(plan['effective_batch'], 'row')} per step; "
        f"predicted peak {format_bytes(plan['predicted_peak_bytes'])} "
        f"({trial}) of {format_bytes(plan['limit_bytes'])} ({plan['limit_source']})."
    )


def limits(found: Sequence[Limit]) -> pd.DataFrame:
    """Return every memory limit that applies, the smallest first."""
    return pd.DataFrame(
        [
            {
                "limit": item.source,
                "size": format_bytes(item.limit_bytes),
                "available": format_bytes(item.available_bytes),
            }
            for item in findings.smallest_first(found)
        ]
    )


def decisions(plan: Json) -> pd.DataFrame:
    """Return every automatic choice: what was found, what was changed, why, and how to override it."""
    return pd.DataFrame(plan["decisions"], columns=["found", "changed", "why", "override"])


def predicted(plan: Json) -> pd.DataFrame:
    """Return the predicted peak by term and in total, with what was measured and their ratio.

    `plan` is a plan, or the memory part of a result with `measured_peak_bytes`, which also has the baseline.
    """
    return pd.DataFrame(
        [
            {"term": one.name} | _against_measured(one) | {"what it is": _TERMS.get(one.name, "-")}
            for one in predictions(plan)
        ]
    )


_TERMS = {
    "baseline": "what the process holds before there is a model: Python, its libraries, TensorFlow",
    "program": "the compiled training step and what TensorFlow sets up to run it",
    "weights": "the numbers that are learned",
    "gradients": "one per weight, of the pass under way",
    "accumulators": "one per weight, summed over the passes of a step",
    "optimizer slots": "two per weight, which Adam keeps between steps",
    "averages": "one per weight: their mean over steps",
    "activations": "what a pass keeps between its forward and its backward half; grows with its rows",
    "batches": "the rows of the pass under way",
    "prefetch": "batches that are read ahead",
    "cache": "batches that are kept, with cache_batches",
    "rows": "the index of rows and their targets; with no_lazy_loading all rows",
    ABOVE_BASELINE: "all terms but the baseline, beside what the run added to its own",
    PEAK: "the most anonymous memory at any time",
}
"""What each term of a prediction is."""


def trials(plan: Json) -> pd.DataFrame:
    """Return one row per trial, by batch size: predicted and measured peak, their ratio, rate and outcome."""
    return pd.DataFrame(
        [
            {"rows per pass": trial.batch_size, "batches read ahead": trial.prefetch}
            | _against_measured(trial.peak)
            | {
                "rows/s": f"{trial.rows_per_second:.1f}" if trial.rows_per_second else "-",
                "waiting for data": "-" if trial.wait_share is None else f"{trial.wait_share:.1%}",
                "outcome": trial.error or ("chosen" if trial.is_chosen else "fits"),
            }
            for trial in sorted(findings.trials(plan), key=lambda trial: trial.batch_size)
        ]
    )


def measured_parts(plan: Json) -> pd.DataFrame:
    """Return predicted and measured bytes by part of the peak; empty without trials of two batch sizes."""
    return pd.DataFrame(
        [
            {"part": part.size.name} | _against_measured(part.size) | {"includes": ", ".join(part.terms)}
            for part in findings.parts_of_peak(plan)
        ],
        columns=["part", "predicted", "measured", "measured / predicted", "includes"],
    )


def _against_measured(size: Prediction) -> dict[str, str]:
    return {
        "predicted": format_bytes(size.predicted_bytes),
        "measured": "-" if size.measured_bytes is None else format_bytes(size.measured_bytes),
        "measured / predicted": "-" if size.ratio is None else f"{size.ratio:.2f}",
    }


def chosen(plan: Json) -> pd.DataFrame:
    """Return the settings of the plan as (setting, value)."""
    names = ("model_size", "encoder", "batch_size", "accum_steps", "effective_batch", "chunk_size", "cache_batches")
    return settings_table({name: plan[name] for name in (*names, "prefetch", "precision", "jit") if name in plan})
