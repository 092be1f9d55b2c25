"""Trading on the forecasts of several candidates: which would have earned most, and how much of that is choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..times import SECOND
from ..training.judged import Judged
from .costs import TOLD_FEE, Rule, positions, sharpe, traded_blocks
from .overfitting import BacktestOverfitting, DeflatedSharpe, backtest_overfitting, deflated_sharpe, sharpe_ratios
from .trades import schedule, trade

_DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Backtest:
    """What trading on the sign of a candidate's forecast would have earned at TOLD_FEE, as `TradingScore` has it."""

    name: str
    income: float
    sharpe: float | None
    low: float | None
    high: float | None
    break_even_fee: float | None


@dataclass(frozen=True)
class Backtests:
    """The backtests of all candidates, the best Sharpe ratio first; what is left of that with the choice allowed for.

    Both are of returns by day, UTC; their probabilities are None where there are too few days.
    """

    found: list[Backtest]
    deflated: DeflatedSharpe
    overfitting: BacktestOverfitting


def backtests(judged: Mapping[str, Judged], *, target_step: int, block_length: int) -> Backtests | None:
    """Return the backtests of candidates on the same rows; None for fewer than two, or where no row can be traded.

    target_step: ns that one step ahead lasts. block_length: of resampled blocks, in steps in time of the judged rows.
    """
    found, daily = [], []
    for name, one in judged.items():
        plan = schedule(one, target_step=target_step)
        if not len(plan.times):
            return None
        trades = trade(positions(Rule("sign"), one.forecasts), plan, fee=TOLD_FEE)
        ratio = sharpe(trades.net, trades.times, traded_blocks(plan, one, block_length=block_length))
        found.append(Backtest(name, trades.income, *ratio, trades.break_even_fee))
        days, place = np.unique(trades.times // _DAY, return_inverse=True)
        daily.append((days, np.bincount(place, weights=trades.net)))
    if len(found) < 2:
        return None
    every = np.unique(np.concatenate([days for days, _ in daily]))
    returns = np.zeros((len(every), len(daily)))
    for number, (days, net) in enumerate(daily):
        returns[np.searchsorted(every, days), number] = net
    ratios = sharpe_ratios(returns)
    order = np.argsort(-ratios, kind="stable").tolist()
    deflated = deflated_sharpe(returns[:, order[0]], ratios)
    return Backtests([found[at] for at in order], deflated, backtest_overfitting(returns))
