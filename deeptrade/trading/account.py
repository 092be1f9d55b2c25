"""The account of an agent: what it and its rivals would have earned on the validation rows, at every fee."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..judging.overfitting import DeflatedSharpe

NAMES = ("agent", "candidate", "sign_first", "sign_last", "threshold", "one_step", "long", "flat", "hindsight")
"""The policies in the order of tables. candidate: the best on inner rows, which the agent follows only where that was
more than luck. sign_first, sign_last: the sign of the forecast at the first and last horizon.
threshold: its sign where it is large, tuned on inner rows. one_step: the best for one step, as if it were the last."""

RIVALS = ("flat", "sign_first", "sign_last", "threshold", "one_step", "long")
"""Those that could have been followed instead of the agent."""


@dataclass(frozen=True)
class PolicyScore:
    """What a policy would have earned at a fee, in units of the stake, of which every market has an equal part.

    income: the sum of net returns, without compounding. sharpe, a year, with its 95%
    interval: None where not known. drawdown: the largest fall of the sum. turnover: of all changes of position, and per
    calendar day. long, flat, short: shares of turns. hit_rate: of turns with a position, the share that earned before
    costs. break_even_fee: at which the same positions earn nothing, None where nothing is traded. percentile: only of
    the agent, the share of random policies that earn less.
    """

    policy: str
    fee: float
    income: float
    sharpe: float | None
    low: float | None
    high: float | None
    drawdown: float
    turnover: float
    turnover_per_day: float
    long: float
    flat: float
    short: float
    hit_rate: float | None
    break_even_fee: float | None
    percentile: float | None = None


@dataclass(frozen=True)
class Against:
    """By how much the agent earned more than a policy, in units of the stake, with the 95% interval of the paired
    difference; None where there are too few blocks."""

    policy: str
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """The sum of a policy's net returns until each of the times that all curves share."""

    policy: str
    income: list[float]


@dataclass(frozen=True)
class Account:
    """All policies at all fees on the validation rows.

    fee: the one that the agent is told of with, whose trading costs `cost` with slippage. turns, steps and days that
    were traded; blocks for intervals have block_steps. flat_against, best_against: the agent at that fee against
    staying flat and against the best rival. seeds: income at that fee of each of its networks alone. random: incomes of
    the random policies at that fee. costs: where its costs went, turnover by what was done.
    """

    fee: float
    cost: float
    scores: list[PolicyScore]
    turns: int
    steps: int
    days: float
    block_steps: int
    markets: int
    begin: str
    end: str
    flat_against: Against
    best_against: Against
    seeds: list[float]
    random: list[float]
    deflated: DeflatedSharpe
    costs: dict[str, float]
    times: list[str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    @property
    def trades(self) -> bool:
        """Whether the agent takes any position at the told fee."""
        return self.of("agent").turnover > 0

    @property
    def span(self) -> str:
        """The time that was traded, in words."""
        return f"{self.days:,.0f} days" if self.days >= 1.5 else "a day"

    def of(self, policy: str, fee: float | None = None) -> PolicyScore:
        """Return the score of a policy, at the fee that the agent is told of with or another."""
        wanted = self.fee if fee is None else fee
        return next(one for one in self.scores if (one.policy, one.fee) == (policy, wanted))

    @property
    def fees(self) -> list[float]:
        """All fees, ascending."""
        return sorted({one.fee for one in self.scores})

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Account:
        """Return what `to_json` told; entries that this version does not know are left out."""
        known = {item.name: content[item.name] for item in fields(cls) if item.name in content}
        return cls(
            **known
            | {
                "scores": [PolicyScore(**one) for one in content["scores"]],
                "flat_against": Against(**content["flat_against"]),
                "best_against": Against(**content["best_against"]),
                "deflated": DeflatedSharpe(**content["deflated"]),
                "curves": [Curve(**one) for one in content["curves"]],
            }
        )
