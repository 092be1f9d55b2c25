"""One answer over all horizons: is there evidence of skill, and how likely is it by chance?

Ten horizons are ten chances to be lucky, and they share their targets. So they are tested together, by the largest of
their statistics (Romano and Wolf 2005, "Stepwise multiple testing as formalized data snooping"): what counts is how
often resampled data, without any skill, has a horizon that stands out as far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..times import duration_text, parse_duration
from ..units import count_of
from .resampling import RESAMPLES

LEVEL = 0.025
"""Level of the joint test, one-sided: that of a 95% interval that lies above zero."""


@dataclass(frozen=True)
class JointTest:
    """Whether any horizon's statistic is above zero: `p`, and the horizons (from 1) that are at LEVEL, all together.

    `p` is None where there are too few blocks of rows.
    """

    p: float | None
    horizons: list[int]


def joint_test(values: np.ndarray, *, trials: int = 1) -> JointTest:
    """Test the statistics of all horizons against zero, by the maximum of their studentized values, stepping down.

    values: float64 (1 + resamples, horizons), those of all rows first. trials: among how many equally good tries these
    are the best; p is corrected for them as Šidák (1967) does, which is careful where tries are alike.
    """
    value, resampled = values[0], values[1:]
    known = np.isfinite(value) & (np.isfinite(resampled).all(axis=0) if len(resampled) else False)
    if not known.any():
        return JointTest(None, [])
    horizons = np.flatnonzero(known)
    error = resampled[:, horizons].std(axis=0, ddof=1)
    horizons, error = horizons[error > 0], error[error > 0]
    if not len(horizons):
        return JointTest(None, [])
    statistic = value[horizons] / error
    chance = (resampled[:, horizons] - value[horizons]) / error
    left, found, p = np.ones(len(horizons), bool), [], None
    while left.any():
        largest = chance[:, left].max(axis=1)
        best = int(np.flatnonzero(left)[statistic[left].argmax()])
        one = (1 + int((largest >= statistic[best]).sum())) / (1 + len(largest))
        corrected = 1 - (1 - one) ** trials
        p = corrected if p is None else p
        if corrected > LEVEL:
            break
        found.append(int(horizons[best]) + 1)
        left[best] = False
    return JointTest(p, sorted(found))


@dataclass(frozen=True)
class Verdict:
    """What may be said of a model: `kind`, by the joint tests of its rank IC and of its MAE against zero's.

    horizons: those with evidence, or those that are worse than zero. rows and blocks that it rests on; `begin` and
    `end`, ISO 8601, of the rows that were judged; trials, of which this is the best.
    """

    kind: Literal["evidence", "none", "worse", "unknown"]
    horizons: list[int]
    joint_p: float | None
    rows: int
    begin: str
    end: str
    trials: int = 1

    def sentence(self, step: str = "") -> str:
        """Return the verdict in words; `step`, such as '1h', names horizons by time instead of steps."""
        if self.kind == "unknown":
            return "Nothing can be said of skill: too few independent rows."
        if self.kind == "none":
            return f"No evidence of skill ({self._joint()})."
        named = ", ".join(horizon_name(horizon, step) for horizon in self.horizons)
        if self.kind == "worse":
            return f"Worse than zero at {named} ({self._joint()})."
        return f"Evidence of skill at {named} ({self._joint()})."

    def _joint(self) -> str:
        """Return p in words; so many resamples cannot tell a smaller one than their number allows."""
        p = self.joint_p or 0.0
        return f"joint p {'<=' if p <= 1 / (1 + RESAMPLES) else '='} {p:.2g}"

    def basis(self) -> str:
        """Return what the verdict rests on: the statistic, rows, dates and trials."""
        tried = "one trial" if self.trials == 1 else f"the best of {self.trials} trials"
        return f"by rank IC on {self.rows:,} rows, {self.begin[:10]} to {self.end[:10]}, {tried}"


def horizon_name(horizon: int, step: str) -> str:
    """Return a horizon by the time it spans, such as '3h 20min', or in steps where the time of a step is not known."""
    return duration_text(horizon * parse_duration(step)) if step else count_of(horizon, "step")


def decide(rank_ic: np.ndarray, mae_gain: np.ndarray, *, rows: int, begin: str, end: str, trials: int = 1) -> Verdict:
    """Return the verdict from the values of two metrics over resamples, float64 (1 + resamples, horizons) each.

    There is evidence of skill where the ranks of forecasts and outcomes agree by more than chance at some horizon.
    """
    skill, harm = joint_test(rank_ic, trials=trials), joint_test(-mae_gain)
    kind: Literal["evidence", "none", "worse", "unknown"] = "none"
    if skill.p is None:
        kind = "unknown"
    elif skill.horizons:
        kind = "evidence"
    elif harm.horizons:
        kind = "worse"
    found = harm if kind == "worse" else skill
    return Verdict(kind, found.horizons, found.p, rows, begin, end, trials)
