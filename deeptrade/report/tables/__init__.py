"""Tables and sentences of the reports: pure functions of the files that a run writes."""

from .common import as_html, settings_table, versions_table
from .comparison import comparison, differing_settings
from .data import alerts, data_verdict, examined, features, independence, nonfinite_places, overview, rejected, targets
from .memory import (
    growth_verdict,
    memory_verdict,
    next_steps,
    phase_growth_verdict,
    phases,
    step_phases,
    unsampled_verdict,
)
from .plan import chosen, decisions, limits, measured_parts, plan_verdict, predicted, trials
from .training import (
    evaluation,
    evaluation_verdict,
    rows,
    skipped,
    starts,
    starts_verdict,
    time_split,
    training_verdict,
    validation,
)

__all__ = [
    "alerts",
    "as_html",
    "chosen",
    "comparison",
    "data_verdict",
    "decisions",
    "differing_settings",
    "evaluation",
    "evaluation_verdict",
    "examined",
    "features",
    "growth_verdict",
    "independence",
    "limits",
    "measured_parts",
    "memory_verdict",
    "next_steps",
    "nonfinite_places",
    "overview",
    "phase_growth_verdict",
    "phases",
    "plan_verdict",
    "predicted",
    "rejected",
    "rows",
    "settings_table",
    "skipped",
    "starts",
    "starts_verdict",
    "step_phases",
    "targets",
    "time_split",
    "training_verdict",
    "trials",
    "unsampled_verdict",
    "validation",
    "versions_table",
]
