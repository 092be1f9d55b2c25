"""A market as arrays: at which rows positions can be taken, what is known there, and what comes of each position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..judging.trades import LONGEST_STEP, Schedule, schedule
from ..sources.time_order import rows_by_market
from ..training.judged import Judged


@dataclass(frozen=True)
class Market:
    """The rows of one part of the data as an agent meets them; no turn looks beyond the part, its market, or a gap.

    judged: the rows, with forecasts and targets. states: float32 (rows, columns), as `state.make_states` has them.
    plan: the turns, at which positions are taken, and what a position of 1 earns there.
    following: int64 (turns,), the row whose state comes one step later, -1 where there is none in this part.
    closes: bool (turns,), whether a gap follows, before which the position is closed and paid for.
    """

    judged: Judged
    states: np.ndarray
    plan: Schedule
    following: np.ndarray
    closes: np.ndarray

    @property
    def returns(self) -> np.ndarray:
        """What a position of 1 earns at each turn, float64 (turns,)."""
        return self.plan.returns

    @property
    def turn_states(self) -> np.ndarray:
        """What is known at each turn, float32 (turns, columns)."""
        return self.states[self.plan.rows]

    @property
    def teaches(self) -> np.ndarray:
        """Whether it is known what comes after a turn, so that it can be learned from, bool (turns,)."""
        return self.closes | (self.following >= 0)

    def by_row(self, held: np.ndarray) -> np.ndarray:
        """Return positions by turn, float (turns,), as positions by row, float64 (rows,), 0 between the turns."""
        found = np.zeros(len(self.judged))
        found[self.plan.rows] = held
        return found


def make_market(judged: Judged, states: np.ndarray, *, target_step: int) -> Market:
    """Return these rows as a market.

    A turn is followed by the first row at or after its end, `target_step` ns later, if that lies at most LONGEST_STEP
    steps after the turn; it need not have an outcome, so an episode that is cut off by a missing target still knows the
    state it ends in. Where the next row is later, there is a gap. The last row of a market is followed by nothing.
    """
    plan = schedule(judged, target_step=target_step)
    following = np.full(len(plan.rows), -1, np.int64)
    closes = np.zeros(len(plan.rows), bool)
    has_forecast = np.isfinite(judged.forecasts).all(axis=1)
    for market, rows in rows_by_market(judged.markets):
        rows = rows[has_forecast[rows]]
        rows = rows[np.argsort(judged.times[rows], kind="stable")]
        turns = np.flatnonzero(judged.markets[plan.rows] == market)
        begun = judged.times[plan.rows[turns]]
        at = np.searchsorted(judged.times[rows], begun + target_step)
        exists = at < len(rows)
        then = rows[np.minimum(at, len(rows) - 1)] if len(rows) else np.empty(0, np.int64)
        is_near = exists & (judged.times[then] - begun <= LONGEST_STEP * target_step)
        following[turns] = np.where(is_near, then, -1)
        closes[turns] = exists & ~is_near
    return Market(judged, states, plan, following, closes)


@dataclass(frozen=True)
class Parts:
    """The markets of training, inner and validation rows.

    target_step: ns from one target to the next. overlap: rows of a market that follow a row before the end of its last
    target.
    """

    train: Market
    inner: Market
    validation: Market
    target_step: int
    overlap: int

    @property
    def named(self) -> dict[str, Market]:
        """The parts by name."""
        return {"train": self.train, "inner": self.inner, "validation": self.validation}
