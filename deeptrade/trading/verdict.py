"""One sentence: what the agent is worth after costs, beside staying flat and beside the best simple rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .account import Account
from .choice import Chosen

Kind = Literal["stays_flat", "unknown", "worse", "none", "above_flat", "above_all"]

POLICY_WORDS = {
    "agent": "the agent",
    "candidate": "the best candidate",
    "sign_first": "the sign of the first forecast",
    "sign_last": "the sign of the last forecast",
    "threshold": "large forecasts only",
    "one_step": "the best for one step",
    "long": "always long",
    "flat": "staying flat",
    "hindsight": "perfect hindsight",
}


@dataclass(frozen=True)
class Verdict:
    """What may be said of an agent, and the sentence that says it."""

    kind: Kind
    sentence: str


def decide(account: Account, chosen: Chosen) -> Verdict:
    """Return the verdict on an agent: by the intervals of its income against staying flat and the best rival."""
    against = account.flat_against
    at = f"after costs of {basis_points(account.cost)}"
    if not chosen.evidence:
        return Verdict("stays_flat", _why_flat(chosen, at))
    if against.low is None or against.high is None:
        return Verdict("unknown", f"Nothing can be said {at}: too few independent rows.")
    bounds = f"95% interval {share(against.low)} to {share(against.high)}"
    earned = f"{share(account.of('agent').income)} of the stake in {account.span}, {bounds}"
    if against.high < 0:
        return Verdict("worse", f"Worse than staying flat {at}: {earned}.")
    if against.low <= 0:
        return Verdict("none", f"Not better than staying flat {at}: {earned}.")
    best = account.best_against
    name = POLICY_WORDS[best.policy]
    if best.policy != "flat" and (best.low is None or best.low <= 0):
        return Verdict("above_flat", f"Better than staying flat {at}: {earned}; not better than {name}.")
    beyond = "" if best.policy == "flat" else f", and better than {name}, the best simple rule"
    return Verdict("above_all", f"Better than staying flat {at}: {earned}{beyond}.")


def _why_flat(chosen: Chosen, at: str) -> str:
    if chosen.p is None:
        return f"The agent stays flat: too few independent inner rows to tell skill from luck {at}."
    return (
        f"The agent stays flat: on the inner rows none of {chosen.trials} candidates earned more {at} than luck "
        f"explains (joint p = {chosen.p:.2g})."
    )


def share(value: float) -> str:
    """Return a fraction of the stake in percent, with its sign.

    >>> share(0.0314), share(-2.5), share(-0.0001)
    ('+3.1%', '-250%', '0.0%')
    """
    percent = 100 * value
    if abs(percent) < 0.05:
        return "0.0%"
    return f"{percent:+.1f}%" if abs(percent) < 100 else f"{percent:+,.0f}%"


def basis_points(fee: float) -> str:
    """Return a fee as text.

    >>> basis_points(0.001), basis_points(0.00025)
    ('10 bp', '2.5 bp')
    """
    return f"{round(fee * 1e4, 1):g} bp"
