"""What the planner predicted and its trials measured, as numbers; sizes are bytes, rates rows per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...memory import Limit
from ...planning.memory_model import PARTS
from .common import Json
from .memory import ABOVE_BASELINE, PEAK, Prediction, predicted_terms

_SMALL_TERMS = 50
"""A term below this fraction of the predicted peak (1/50) is added to the others."""


def smallest_first(limits: Sequence[Limit]) -> list[Limit]:
    """Return limits on memory in ascending order."""
    return sorted(limits, key=lambda limit: limit.limit_bytes)


def largest_term(plan: Json) -> str:
    """Return the term with the most predicted bytes."""
    terms = plan["predicted_terms"]
    return max(terms, key=terms.get)


def terms_to_show(plan: Json) -> list[Prediction]:
    """Return the terms of at least 2% of the predicted peak, the largest first, all others as one, and the peak.

    `plan` is a plan.json, or the memory part of a result.json with its `measured_peak_bytes`.
    """
    found = {one.name: one for one in predicted_terms(plan)}
    least = plan["predicted_peak_bytes"] // _SMALL_TERMS
    terms = sorted((found[term] for term in plan["predicted_terms"]), key=lambda one: -one.predicted_bytes)
    large = [one for one in terms if one.predicted_bytes >= least]
    small = sum(one.predicted_bytes for one in terms[len(large) :])
    sums = [found[name] for name in (ABOVE_BASELINE, PEAK) if name in found]
    return [*large, *([Prediction("all others", small, None)] if small else []), *sums]


@dataclass(frozen=True)
class PartOfPeak:
    """A part of the peak that trials of two batch sizes tell apart, and the predicted terms in it."""

    size: Prediction
    terms: tuple[str, ...]


def parts_of_peak(plan: Json) -> list[PartOfPeak]:
    """Return predicted and measured bytes by part of the peak; none where there are no trials of two sizes."""
    return [
        PartOfPeak(
            Prediction(part, sum(plan["predicted_terms"].get(term, 0) for term in PARTS[part]), measured),
            tuple(PARTS[part]),
        )
        for part, measured in plan["measured_terms"].items()
    ]


@dataclass(frozen=True)
class Trial:
    """One trial of a plan; peak, rate and `wait_share` (of a step's time, from 0 to 1) are None where not measured.

    `error` is its message where it failed, else ''.
    """

    batch_size: int
    prefetch: int
    peak: Prediction
    rows_per_second: float | None
    wait_share: float | None
    error: str
    is_chosen: bool

    @property
    def has_finished(self) -> bool:
        """Whether both its rate and its peak were measured."""
        return bool(self.rows_per_second and self.peak.measured_bytes)


def trials(plan: Json) -> list[Trial]:
    """Return the trials of a plan in order, those with the settings of the plan marked as chosen."""
    return [
        Trial(
            batch_size=trial["batch_size"],
            prefetch=trial["prefetch"],
            peak=Prediction("peak", trial["predicted_peak_bytes"], trial["measured_peak_bytes"]),
            rows_per_second=trial["rows_per_second"],
            wait_share=trial["wait_share"],
            error=trial["message"] if trial["exit_code"] else "",
            is_chosen=(trial["batch_size"], trial["prefetch"]) == (plan["batch_size"], plan["prefetch"]),
        )
        for trial in plan["trials"]
    ]


@dataclass(frozen=True)
class Frontier:
    """The trials that finished, and the first of them with the chosen settings, None where none has.

    `share_of_fastest` is the chosen trial's rate over the highest rate, 1 where it is the fastest. `highest_rate` and
    `highest_peak_bytes` are None where no trial finished.
    """

    trials: list[Trial]
    chosen: Trial | None
    share_of_fastest: float | None
    highest_rate: float | None
    highest_peak_bytes: int | None


def frontier(plan: Json) -> Frontier:
    """Return rates and peaks of the trials that finished."""
    finished = [trial for trial in trials(plan) if trial.has_finished]
    chosen = next((trial for trial in finished if trial.is_chosen), None)
    rate = max((trial.rows_per_second or 0.0 for trial in finished), default=None)
    peak = max((trial.peak.measured_bytes or 0 for trial in finished), default=None)
    share = (chosen.rows_per_second or 0.0) / rate if chosen and rate else None
    return Frontier(finished, chosen, share, rate, peak)
