"""Keeping the account of an agent: it and its rivals are replayed over the validation rows, at every fee.

Nothing here is chosen on validation rows: thresholds, discounts and epochs come from the inner rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..judging.costs import CURVE_POINTS, FEES, Rule, choose, positions, sharpe, thresholds, traded_blocks
from ..judging.overfitting import deflated_sharpe
from ..judging.resampling import Blocks
from ..judging.scores import interval
from ..judging.trades import Trades, trade
from ..times import SECOND, iso_time
from .account import RIVALS, Account, Against, Curve, PolicyScore
from .choice import Chosen, daily
from .market import Market
from .policies import follow, greedy, hindsight, shifted

DRAWS = 100
"""Random policies: the agent's positions at other times."""

_DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Played:
    """The agent on the validation rows: its positions at each fee; those of the best candidate, which the agent follows
    only where it was better than luck on inner rows; and those of each of its networks alone, at the told fee."""

    held: Mapping[float, np.ndarray]
    candidate: Mapping[float, np.ndarray]
    networks: Sequence[np.ndarray]


def all_fees(fee: float) -> list[float]:
    """Return the fees of every account, and that of the agent, ascending."""
    return sorted({*FEES, fee})


def account_for(
    market: Market,
    inner: Market,
    played: Played,
    chosen: Chosen,
    *,
    fee: float,
    slippage: float,
    options: tuple[int, ...],
    target_step: int,
    block_length: int,
    seed: int = 0,
) -> Account:
    """Return what all policies would have earned on a market of validation rows.

    played: the agent's positions at every one of `all_fees`. chosen: how the agent of `fee` was chosen. options: the
    positions to choose from. block_length: of resampled blocks, in steps of the validation rows, as
    `resampling.block_length` has it.
    """
    blocks = traded_blocks(market.plan, market.judged, block_length=block_length, seed=seed)
    tried = thresholds(inner.judged, target_step=target_step)
    days = float(market.plan.times[-1] - market.plan.times[0] + target_step) / _DAY
    scores: list[PolicyScore] = []
    for one in all_fees(fee):
        cost = one + slippage
        own = {"agent": played.held[one], "candidate": played.candidate[one]}
        held = own | _rivals(market, choose(tried, fee=cost), options, cost)
        trades = {name: trade(market.by_row(positions), market.plan, fee=cost) for name, positions in held.items()}
        draws = _random_incomes(held["agent"], market, cost, seed=seed)
        percentile = {"agent": float((draws < trades["agent"].income).mean())}
        scores += [_score(n, one, held[n], market, trades[n], blocks, days, percentile.get(n)) for n in held]
        if one == fee:
            told, random = trades, draws.tolist()
    agent = told["agent"]
    best = max(RIVALS, key=lambda name: told[name].income)
    ends = np.concatenate([market.plan.times[:1], market.plan.times + target_step])
    kept = np.unique(np.linspace(0, len(agent.times), min(len(agent.times) + 1, CURVE_POINTS)).round().astype(np.int64))
    return Account(
        fee=fee,
        cost=fee + slippage,
        scores=scores,
        turns=len(market.plan.rows),
        steps=len(agent.times),
        days=days,
        block_steps=blocks.length,
        markets=market.plan.markets,
        begin=iso_time(int(market.plan.times[0])),
        end=iso_time(int(market.plan.times[-1])),
        flat_against=_against("flat", agent, told["flat"], blocks),
        best_against=_against(best, agent, told[best], blocks),
        seeds=[trade(market.by_row(held), market.plan, fee=fee + slippage).income for held in played.networks],
        random=random,
        deflated=deflated_sharpe(daily(agent), np.asarray(chosen.trial_sharpes)),
        costs=_where_costs_went(played.held[fee], market),
        times=[iso_time(int(time)) for time in ends[kept]],
        curves=[_curve(name, trades, kept) for name, trades in told.items()],
    )


def _curve(name: str, trades: Trades, kept: np.ndarray) -> Curve:
    return Curve(name, np.concatenate([[0.0], np.cumsum(trades.net)])[kept].tolist())


def _rivals(market: Market, threshold: Rule, options: tuple[int, ...], cost: float) -> dict[str, np.ndarray]:
    """Return the positions of all other policies at each turn, in the order of NAMES."""
    rows, forecasts = market.plan.rows, market.judged.forecasts

    def by(rule: Rule) -> np.ndarray:
        return np.maximum(positions(rule, forecasts)[rows], min(options))

    one_step = forecasts[rows, :1].astype(np.float64) * np.asarray(options, np.float64)
    return {
        "sign_first": by(Rule("sign")),
        "sign_last": by(Rule("sign", horizon=forecasts.shape[1])),
        "threshold": by(threshold),
        "one_step": follow(greedy(one_step, options, cost=cost), market.plan, options),
        "long": np.ones(len(rows)),
        "flat": np.zeros(len(rows)),
        "hindsight": hindsight(market.plan, options, cost=cost),
    }


def _random_incomes(held: np.ndarray, market: Market, cost: float, *, seed: int) -> np.ndarray:
    """Return what DRAWS random policies earn at the agent's own costs, float64 (DRAWS,).

    They hold the agent's positions at other times; where gaps would make them trade more, they do not pay for that.
    """
    own = trade(market.by_row(held), market.plan, fee=cost)
    paid = cost * float(own.turnover.sum())
    draws = shifted(held, market.judged.markets[market.plan.rows], DRAWS, seed=seed)
    return np.array([trade(market.by_row(one), market.plan, fee=0.0).income - paid for one in draws])


def _score(
    name: str,
    fee: float,
    held: np.ndarray,
    market: Market,
    trades: Trades,
    blocks: Blocks,
    days: float,
    percentile: float | None,
) -> PolicyScore:
    turnover = float(trades.turnover.sum())
    has_position = held != 0
    hits = held[has_position] * market.returns[has_position] > 0
    ratio, low, high = sharpe(trades.net, trades.times, blocks)
    return PolicyScore(
        policy=name,
        fee=fee,
        income=trades.income,
        sharpe=ratio,
        low=low,
        high=high,
        drawdown=trades.drawdown,
        turnover=turnover,
        turnover_per_day=turnover / days,
        long=float((held > 0).mean()),
        flat=float((held == 0).mean()),
        short=float((held < 0).mean()),
        hit_rate=float(hits.mean()) if len(hits) else None,
        break_even_fee=trades.break_even_fee,
        percentile=percentile,
    )


def _against(name: str, agent: Trades, other: Trades, blocks: Blocks) -> Against:
    found, low, high = interval(blocks.sums((agent.net - other.net)[:, None])[:, 0])
    return Against(name, float(found or 0.0), low, high)


def _where_costs_went(held: np.ndarray, market: Market) -> dict[str, float]:
    """Return the agent's turnover by what was done: opening, closing and turning positions, and closing before gaps."""
    plan = market.plan
    before = np.where(plan.begins, 0, np.roll(held, 1))
    size = np.abs(held - before).astype(np.float64)
    kinds = {
        "opened": (before == 0) & (held != 0),
        "closed": (before != 0) & (held == 0),
        "turned": before * held < 0,
    }
    found = {name: float(size[which].sum()) / plan.markets for name, which in kinds.items()}
    return found | {"closed_at_ends": float(np.abs(held[plan.ends]).sum()) / plan.markets}
