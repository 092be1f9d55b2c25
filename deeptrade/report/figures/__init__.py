"""Figures of the reports: each function returns a matplotlib Figure whose title is the finding; limits are dashed.

`show` and `as_html` turn it into inline SVG. Colours are those of `palette`, each with one meaning on all pages.
"""

from .agent import incomes_over_fees, policy_curves, positions_over_price, random_policies
from .chart import as_html
from .common import show, with_style
from .comparison import compared_errors, compared_losses, compared_rates, compared_timelines
from .costs import equity
from .data import target_distribution, time_coverage, window_chart
from .history import history
from .memory import memory_timeline
from .over_time import by_period, forecasts_over_time
from .plan import frontier, predicted_terms
from .training import calibration, directions, gains, loss_curve, skill, validation_errors
from .walk import skill_by_fold

__all__ = [
    "as_html",
    "by_period",
    "calibration",
    "compared_errors",
    "compared_losses",
    "compared_rates",
    "compared_timelines",
    "directions",
    "equity",
    "forecasts_over_time",
    "frontier",
    "gains",
    "history",
    "incomes_over_fees",
    "loss_curve",
    "memory_timeline",
    "policy_curves",
    "positions_over_price",
    "predicted_terms",
    "random_policies",
    "show",
    "skill",
    "skill_by_fold",
    "target_distribution",
    "time_coverage",
    "validation_errors",
    "window_chart",
    "with_style",
]
