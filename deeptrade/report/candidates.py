"""Which forecasts of compared runs compete: those of single runs, and the means over seeds of one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..judging.backtests import Backtests, backtests
from ..judging.contest import Contest, contest, evidence_of_skill, relative_error
from ..judging.verdict import Verdict
from ..times import parse_duration
from ..training.judged import Judged
from ..units import count_of
from .findings.comparison import SettingSummary, beside_zero
from .run_files import RunFiles


@dataclass(frozen=True)
class BestOfMany:
    """The candidate with the lowest error, relative to zero's, and whether it has skill, with all candidates counted.

    step: the time of one horizon, such as '1h'.
    """

    name: str
    error: float
    verdict: Verdict
    step: str

    def sentences(self, runs: int) -> str:
        """Return two sentences: the error and its evidence of skill, as the best candidate of so many runs."""
        trials = self.verdict.trials
        tried = "one candidate" if trials == 1 else f"the best of {trials} candidates"
        skill = self.verdict.sentence(self.step).removesuffix(".")
        return (
            f"The lowest validation error is that of {self.name}: {beside_zero(self.error)}. "
            f"{skill}, as {tried} of {count_of(runs, 'run')}."
        )


def candidates(settings: Sequence[SettingSummary], runs: Mapping[str, RunFiles]) -> dict[str, Judged]:
    """Return the forecasts that compete, by name of their setting; of several seeds, their mean.

    Empty unless every run was judged, and all of a setting on the same rows.
    """
    found = {}
    for one in settings:
        judged = [runs[name].read_judged() for name in one.runs]
        known = [forecasts for forecasts in judged if forecasts is not None]
        if len(known) < len(judged) or not all(other.is_on_rows_of(known[0]) for other in known):
            return {}
        found[one.name] = known[0].mean_with(known[1:]) if len(known) > 1 else known[0]
    return found


@dataclass(frozen=True)
class Ranking:
    """The contest of the candidates, the best of them, and what trading on each would have earned; None where they are
    not comparable, or not judged."""

    contest: Contest | None = None
    best: BestOfMany | None = None
    backtests: Backtests | None = None


def rank(settings: Sequence[SettingSummary], runs: Mapping[str, RunFiles]) -> Ranking:
    """Return how the candidates stand beside each other.

    Every candidate is a trial, for the best one is chosen among them; seeds whose mean is taken are not.
    """
    judged = candidates(settings, runs)
    held = contest(judged)
    if not judged or (held is None and len(judged) > 1):
        return Ranking(held)
    name = held.pairs[0].name if held is not None else next(iter(judged))
    of = next(one.runs for one in settings if one.name == name)
    best = judged[name]
    blocks = max(2 * best.targets.shape[1], *(runs[one].judged.block_steps for one in of))
    verdict = evidence_of_skill(best, block_steps=blocks, trials=len(judged))
    step = runs[of[0]].judged.step
    traded = backtests(judged, target_step=parse_duration(step), block_length=blocks) if step else None
    return Ranking(held, BestOfMany(name, relative_error(best), verdict, step), traded)
