"""Where the memory went, as numbers; all sizes are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...memory import PhaseGrowth, PhaseRow, Sample
from .common import Json

HEADROOM_SHARE = 0.10
"""Share of the limit below which the memory left counts as tight."""

MISSED_SHARE = 0.05
"""How far, as a share, the kernel's peak may exceed the sampled one before the report warns."""


def peak_sample(samples: Sequence[Sample]) -> Sample:
    """Return the sample with the most anonymous memory, the first of several; there must be one."""
    return max(samples, key=lambda sample: sample.anon_bytes)


@dataclass(frozen=True)
class LimitUse:
    """A peak against its limit: shares of the limit from 0 up, and the state that follows from HEADROOM_SHARE.

    `left_share` is below 0 where the peak is over the limit.
    """

    used_share: float
    left_share: float
    state: Literal["within", "tight", "over"]


def limit_use(peak_bytes: int, limit_bytes: int) -> LimitUse:
    """Return how much of a limit a peak of anonymous memory takes."""
    used = peak_bytes / limit_bytes
    left = 1 - used
    return LimitUse(used, left, "over" if left < 0 else "tight" if left < HEADROOM_SHARE else "within")


@dataclass(frozen=True)
class KernelPeak:
    """Peaks of resident memory in the last start, from samples and from the kernel, which misses nothing.

    `excess_share` is how far the kernel's is above the sampled one, below 0 where it is lower; None where not known.
    """

    sampled_bytes: int
    kernel_bytes: int | None
    excess_share: float | None

    @property
    def samples_missed_it(self) -> bool:
        """Whether the kernel's peak is higher by more than MISSED_SHARE."""
        return self.excess_share is not None and self.excess_share > MISSED_SHARE


def kernel_peak(samples: Sequence[Sample], kernel_bytes: int) -> KernelPeak:
    """Return the sampled peak of resident memory and the kernel's; `kernel_bytes` is 0 where not known."""
    sampled = max(sample.rss_bytes for sample in samples if sample.run == samples[-1].run)
    known = (kernel_bytes, kernel_bytes / sampled - 1) if kernel_bytes else (None, None)
    return KernelPeak(sampled, *known)


@dataclass(frozen=True)
class PhaseChange:
    """One phase: `change_bytes` from its first entry to its last exit, `rise_bytes` from its first entry to its peak.

    `seconds` and `visits` are totals over all visits.
    """

    phase: str
    visits: int
    before_bytes: int
    after_bytes: int
    change_bytes: int
    rise_bytes: int
    seconds: float


def phase_changes(table: Sequence[PhaseRow]) -> list[PhaseChange]:
    """Return how each phase moved anonymous memory."""
    return [
        PhaseChange(
            row.phase, row.visits, row.before, row.after, row.after - row.before, row.peak - row.before, row.seconds
        )
        for row in table
    ]


def growing_phases(found: Sequence[PhaseGrowth]) -> list[PhaseGrowth]:
    """Return the phases that leave more memory behind on every visit."""
    return [one for one in found if one.is_growth]


def steepest_phase(found: Sequence[PhaseGrowth]) -> PhaseGrowth | None:
    """Return the phase with the highest upper bound of growth per visit; None where no phase was judged."""
    return max(found, key=lambda one: one.slope.high, default=None)


@dataclass(frozen=True)
class Prediction:
    """Predicted and measured bytes of a term, or of several together; `measured_bytes` is None where not known."""

    name: str
    predicted_bytes: int
    measured_bytes: int | None

    @property
    def ratio(self) -> float | None:
        """Measured divided by predicted; None where one of them is not known or 0."""
        return self.measured_bytes / self.predicted_bytes if self.measured_bytes and self.predicted_bytes else None


ABOVE_BASELINE, PEAK = "all above the baseline", "peak"
"""Names of the sums in `predicted_terms`."""


def predicted_terms(plan: Json) -> list[Prediction]:
    """Return the terms of a predicted peak, then their sum above the baseline where it was measured, then the peak.

    `plan` is a plan.json, or the memory part of a result.json with its `measured_peak_bytes`.
    """
    terms, measured, baseline = plan["predicted_terms"], plan["measured_peak_bytes"], plan.get("baseline_anon_bytes")
    found = [Prediction(term, size, baseline if term == "baseline" else None) for term, size in terms.items()]
    if measured and baseline:
        above = sum(terms.values()) - terms["baseline"]
        found.append(Prediction(ABOVE_BASELINE, above, measured - baseline))
    return [*found, Prediction(PEAK, plan["predicted_peak_bytes"], measured)]
