"""What positions earn, step by step, and what it costs to change them.

Stakes are constant: every market has an equal part of one stake, and what is earned is not put in again. So income is a
sum, in units of the whole stake, and losses do not shrink what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..sources.time_order import rows_by_market
from ..training.judged import Judged

LONGEST_STEP = 1.5
"""Steps to the next row from which on there is a gap: a position is closed before it."""


@dataclass(frozen=True)
class Schedule:
    """The turns at which positions are taken, market after market and in order of time within each.

    rows: int64 (turns,), which of the judged rows; returns: float64 (turns,), what a position of 1 earns there.
    begins, ends: bool (turns,), whether no position comes before, and whether the position is closed after its step.
    step: int64 (turns,), which time step a turn is in; times: int64 ns (steps,), when each begins. markets: how many
    share the stake.
    """

    rows: np.ndarray
    returns: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    step: np.ndarray
    times: np.ndarray
    markets: int


def schedule(judged: Judged, *, target_step: int) -> Schedule:
    """Return the turns at which rows can be traded, so that no two positions in a market overlap.

    In each market a position taken at a row lasts `target_step` ns, and the first row at or after its end is the next.
    Rows whose outcome one step ahead or whose forecasts are unknown are left out. A position is closed where the next
    turn is more than LONGEST_STEP steps later. Turns of different markets within one `target_step` are one time step.

    A turn depends on earlier rows, and on its own outcome only in whether that is known. No turns without a
    `target_step`.
    """
    known = np.isfinite(judged.targets[:, :1]).all(axis=1) & np.isfinite(judged.forecasts).all(axis=1)
    turns, ends = [np.empty(0, np.int64)], [np.empty(0, bool)]
    markets = list(rows_by_market(judged.markets))
    for _, rows in markets if target_step > 0 else []:
        rows = rows[known[rows]]
        rows = rows[np.argsort(judged.times[rows], kind="stable")]
        rows = rows[_apart(judged.times[rows], target_step)]
        turns.append(rows)
        ends.append(np.diff(judged.times[rows]) > LONGEST_STEP * target_step)
        ends.append(np.ones(min(1, len(rows)), bool))
    taken, closed = np.concatenate(turns), np.concatenate(ends)
    times = judged.times[taken]
    first = times.min() if len(times) else 0
    numbers, step = np.unique((times - first) // max(1, target_step), return_inverse=True)
    begin = np.full(len(numbers), np.iinfo(np.int64).max)
    np.minimum.at(begin, step, times)
    returns = judged.targets[taken, 0].astype(np.float64)
    return Schedule(taken, returns, np.roll(closed, 1), closed, step, begin, len(markets))


def _apart(times: np.ndarray, step: int) -> np.ndarray:
    """Return the first of these ascending times (int64 ns), then each time the next at or after its end."""
    if (np.diff(times) >= step).all():
        return np.arange(len(times))
    following = np.searchsorted(times, times + step).tolist()
    found, at = [], 0
    while at < len(following):
        found.append(at)
        at = following[at]
    return np.array(found, np.int64)


@dataclass(frozen=True)
class Trades:
    """What positions earned by time step, in units of the whole stake.

    times: int64 ns (steps,), when each step begins. gross: float64 (steps,), before costs; turnover: float64 (steps,),
    the sum over markets of what was changed, and of what was closed after the step. fee: the cost of a turnover of 1,
    0.001 for 10 basis points. exposure: the mean size of the positions.
    """

    times: np.ndarray
    gross: np.ndarray
    turnover: np.ndarray
    fee: float
    exposure: float

    @property
    def net(self) -> np.ndarray:
        """What each step earned after costs, float64 (steps,)."""
        return self.gross - self.fee * self.turnover

    @property
    def income(self) -> float:
        """What all steps earned after costs."""
        return float(self.net.sum())

    @property
    def drawdown(self) -> float:
        """The largest fall of the sum of net returns from the highest that it was before, 0 at the start."""
        curve = np.concatenate([[0.0], np.cumsum(self.net)])
        return float((np.maximum.accumulate(curve) - curve).max())

    @property
    def break_even_fee(self) -> float | None:
        """The fee at which the same positions earn nothing; negative where they lose without one, None where nothing
        is traded."""
        turnover = float(self.turnover.sum())
        return float(self.gross.sum()) / turnover if turnover > 0 else None


def trade(positions: np.ndarray, plan: Schedule, *, fee: float) -> Trades:
    """Return what positions, float64 (rows,) in [-1, 1] of the stake of a market, earn where the schedule takes them.

    Every change of a position costs `fee` times its size, so turning from 1 to -1 costs it twice.
    """
    held = positions[plan.rows]
    before = np.where(plan.begins, 0.0, np.roll(held, 1))
    changes = np.abs(held - before) + np.where(plan.ends, np.abs(held), 0.0)
    gross, turnover = (
        np.bincount(plan.step, weights=values, minlength=len(plan.times)) / max(1, plan.markets)
        for values in (held * plan.returns, changes)
    )
    return Trades(plan.times, gross, turnover, fee, float(np.abs(held).mean()) if len(held) else 0.0)
