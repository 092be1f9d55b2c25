"""What trading on forecasts would have earned after costs.

A rule turns the forecasts of a row into a position, from that row alone. What a rule has to choose, it chooses on inner
rows, never on the rows that are judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ..times import SECOND, iso_time
from ..training.judged import Judged
from .resampling import Blocks
from .scores import interval
from .trades import Schedule, Trades, schedule, trade

FEES = (0.0, 0.0002, 0.0005, 0.001, 0.002)
"""Costs of a change of position by the whole stake: 0, 2, 5, 10 and 20 basis points."""

TOLD_FEE = 0.001
"""The fee that sentences and figures tell of: a taker's at large exchanges, without what the spread costs."""

QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98)
"""Shares of the inner rows' forecasts, by size, that a threshold may leave out."""

CURVE_POINTS = 300
"""Most points of an equity curve that are kept: more cannot be told apart in a figure."""

_DAY = 86_400 * SECOND
_YEAR = 365.25 * _DAY

Kind = Literal["sign", "threshold", "size", "long", "flat"]


@dataclass(frozen=True)
class Rule:
    """How the forecast at one horizon (from 1) becomes a position.

    'sign': 1 or -1, its sign. 'threshold': its sign where its size is above `level`, else 0. 'size': the forecast over
    twice `level`, from -1 to 1. 'long' is always 1, 'flat' always 0.
    """

    kind: Kind
    horizon: int = 1
    level: float = 0.0


NEVER = Rule("threshold", level=np.inf)
"""The threshold that no forecast reaches."""


def positions(rule: Rule, forecasts: np.ndarray) -> np.ndarray:
    """Return the position that a rule takes at each row, float64 (rows,), from forecasts, float (rows, horizons).

    It is 0 where the forecast is not finite; 'long' and 'flat' do not look at it.
    """
    if rule.kind in ("long", "flat"):
        return np.full(len(forecasts), float(rule.kind == "long"))
    forecast = forecasts[:, rule.horizon - 1].astype(np.float64)
    forecast = np.where(np.isfinite(forecast), forecast, 0.0)
    if rule.kind == "size":
        return np.clip(forecast / (2 * rule.level), -1.0, 1.0) if rule.level > 0 else np.zeros(len(forecast))
    chosen = np.abs(forecast) > rule.level if rule.kind == "threshold" else True
    return np.where(chosen, np.sign(forecast), 0.0)


def thresholds(inner: Judged, *, target_step: int) -> list[tuple[Rule, float, float]]:
    """Return every threshold to choose from, with its gross income and turnover on inner rows.

    The first, middle and last horizon, and the QUANTILES of the forecasts' sizes.
    """
    plan = schedule(inner, target_step=target_step)
    if not len(plan.rows):
        return []
    found = []
    last = inner.forecasts.shape[1]
    for horizon in sorted({1, last // 2 + 1, last}):
        sizes = np.abs(inner.forecasts[plan.rows, horizon - 1].astype(np.float64))
        for level in np.unique(np.quantile(sizes, QUANTILES)):
            rule = Rule("threshold", horizon, float(level))
            trades = trade(positions(rule, inner.forecasts), plan, fee=0.0)
            found.append((rule, trades.income, float(trades.turnover.sum())))
    return found


def choose(tried: Sequence[tuple[Rule, float, float]], *, fee: float) -> Rule:
    """Return the threshold with the highest net income; NEVER where none earns anything, and without inner rows."""
    best, most = NEVER, 0.0
    for rule, gross, turnover in tried:
        if gross - fee * turnover > most:
            best, most = rule, gross - fee * turnover
    return best


def by_size(inner: Judged) -> Rule | None:
    """Return the rule 'size': its level is the root mean square of the forecasts one step ahead on inner rows.

    None where no forecast is known.
    """
    forecasts = inner.forecasts[:, 0].astype(np.float64)
    forecasts = forecasts[np.isfinite(forecasts)]
    return Rule("size", level=float(np.sqrt(np.mean(forecasts**2)))) if len(forecasts) else None


@dataclass(frozen=True)
class TradingScore:
    """What a rule would have earned at a fee; money is in units of the stake, of which every market has an equal part.

    income: the sum of net returns, without compounding. sharpe: mean over standard deviation of the net returns, a
    year; `low` and `high` bound its 95% interval, None where there are too few blocks; None where returns do not vary.
    drawdown: the largest fall of the equity curve. turnover: the sum of all changes of position, and per calendar day.
    break_even_fee: at which the same positions earn nothing; negative where they lose without a fee, None where nothing
    is traded. exposure: the mean size of positions, from 0 to 1.
    """

    rule: Kind
    fee: float
    income: float
    sharpe: float | None
    low: float | None
    high: float | None
    drawdown: float
    turnover: float
    turnover_per_day: float
    break_even_fee: float | None
    exposure: float


@dataclass(frozen=True)
class Curve:
    """The equity curve of a rule at a fee: the sum of net returns until each of the times that all curves share."""

    rule: Kind
    fee: float
    income: list[float]


CURVES: tuple[tuple[Kind, float], ...] = (
    ("sign", TOLD_FEE),
    ("sign", 0.0),
    ("threshold", TOLD_FEE),
    ("long", TOLD_FEE),
)
"""Rules and fees whose equity curves are kept."""


@dataclass(frozen=True)
class AfterCosts:
    """What trading on forecasts would have earned: a score for each rule and fee, and some equity curves.

    steps: time steps that were traded, over `days` from first to last; blocks for the intervals have `block_steps`.
    times: ISO 8601, of the points of the curves, at most CURVE_POINTS.
    """

    scores: list[TradingScore] = field(default_factory=list)
    steps: int = 0
    days: float = 0.0
    block_steps: int = 0
    markets: int = 0
    times: list[str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def of(self, rule: Kind, fee: float = TOLD_FEE) -> TradingScore | None:
        """Return the score of a rule at a fee; None where there is none."""
        return next((one for one in self.scores if (one.rule, one.fee) == (rule, fee)), None)

    @property
    def rules(self) -> list[Kind]:
        """The rules that have scores."""
        return list(dict.fromkeys(one.rule for one in self.scores))

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> AfterCosts:
        """Return what `to_json` told."""
        scores = [TradingScore(**one) for one in content["scores"]]
        return cls(**(content | {"scores": scores, "curves": [Curve(**one) for one in content["curves"]]}))


def after_costs(
    parts: Sequence[tuple[Judged, Judged]], *, target_step: int, block_length: int, seed: int = 0
) -> AfterCosts:
    """Return what each rule would have earned on validation rows at each of FEES.

    parts: (inner rows, validation rows) of each fold in order of time, one for a single run. Rules are chosen anew in
    each fold, on its inner rows; a position is carried over to the next fold where its rows follow. Without inner rows
    'threshold' never trades in that fold, and 'size' is left out altogether.

    target_step: ns that one step ahead lasts. block_length: of resampled blocks, in steps in time of the validation
    rows, as `resampling.block_length` has it; blocks of traded steps span the same time. Nothing where no row can be
    traded.
    """
    if not parts:
        return AfterCosts()
    judged = Judged.concat([validation for _, validation in parts])
    plan = schedule(judged, target_step=target_step)
    if not len(plan.times):
        return AfterCosts()
    steps, days = len(plan.times), float(plan.times[-1] - plan.times[0] + target_step) / _DAY
    blocks = traded_blocks(plan, judged, block_length=block_length, seed=seed)
    scores, curves = [], []
    kept = np.unique(np.linspace(0, steps, min(steps + 1, CURVE_POINTS)).round().astype(np.int64))
    for fee, rules in _chosen([inner for inner, _ in parts], target_step):
        held = [positions(rule, validation.forecasts) for rule, (_, validation) in zip(rules, parts, strict=True)]
        trades = trade(np.concatenate(held), plan, fee=fee)
        kind = rules[0].kind
        scores.append(_score(kind, trades, blocks, days))
        if (kind, fee) in CURVES:
            equity = np.concatenate([[0.0], np.cumsum(trades.net)])
            curves.append(Curve(kind, fee, equity[kept].tolist()))
    ends = np.concatenate([plan.times[:1], plan.times + target_step])
    return AfterCosts(
        scores, steps, days, blocks.length, plan.markets, [iso_time(int(time)) for time in ends[kept]], curves
    )


def traded_blocks(plan: Schedule, judged: Judged, *, block_length: int, seed: int = 0) -> Blocks:
    """Return blocks of traded steps that span as much time as `block_length` steps in time of the judged rows."""
    length = -(-block_length * len(plan.times) // max(1, len(np.unique(judged.times))))
    return Blocks(plan.times, length=max(1, length), seed=seed)


def _chosen(inners: Sequence[Judged], target_step: int) -> Iterator[tuple[float, list[Rule]]]:
    """Yield for every fee and kind of rule the fee and the rule of each fold."""
    tried = [thresholds(inner, target_step=target_step) for inner in inners]
    sized = [rule for rule in map(by_size, inners) if rule is not None]
    for fee in FEES:
        yield fee, [Rule("sign")] * len(inners)
        yield fee, [choose(one, fee=fee) for one in tried]
        if len(sized) == len(inners):
            yield fee, sized
        yield fee, [Rule("long")] * len(inners)
        yield fee, [Rule("flat")] * len(inners)


def _score(kind: Kind, trades: Trades, blocks: Blocks, days: float) -> TradingScore:
    turnover = float(trades.turnover.sum())
    return TradingScore(
        kind,
        trades.fee,
        trades.income,
        *sharpe(trades.net, trades.times, blocks),
        trades.drawdown,
        turnover,
        turnover / days,
        trades.break_even_fee,
        trades.exposure,
    )


def sharpe(net: np.ndarray, times: np.ndarray, blocks: Blocks) -> tuple[float | None, float | None, float | None]:
    """Return the Sharpe ratio a year of net returns, float64 (steps,), with its 95% interval: (value, low, high).

    Mean over standard deviation (Sharpe 1994, "The Sharpe Ratio", with a stake that costs nothing), times the root of
    the steps that `times`, int64 ns (steps,), have in 365.25 days: hours when a market is closed are none. None where
    returns do not vary.
    """
    if len(net) < 2:
        return None, None, None
    count, total, squares = blocks.sums(np.stack([np.ones(len(net)), net, net**2], axis=1)).T
    mean = total / count
    variance = (squares / count - mean**2) * count / (count - 1)
    varies = variance > 1e-12 * squares / count  # below, it is the rounding of a constant
    ratio = np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), np.nan)
    return interval(ratio * np.sqrt(_YEAR * (len(net) - 1) / float(times[-1] - times[0])))
