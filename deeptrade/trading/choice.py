"""Which agent is kept: of every cost, a discount and an epoch by what they earned on inner rows, or none at all.

The best of many is lucky. So one is kept only where it earned more than its costs with that luck allowed for, by the
joint test of `judging.verdict` over all that were tried. Else the agent stays flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..judging.overfitting import sharpe_ratios
from ..judging.resampling import RESAMPLES, Blocks
from ..judging.trades import Trades, trade
from ..judging.verdict import JointTest, joint_test
from ..times import SECOND
from .market import Market
from .policies import cautious, follow, greedy

_DAY = 86_400 * SECOND


def held_by(values: np.ndarray, market: Market, positions: tuple[int, ...], *, cost: float) -> np.ndarray:
    """Return the positions of an agent at each turn, int64 (turns,).

    values: float (networks, turns, positions), in the unit of `cost`.
    """
    return follow(greedy(cautious(values), positions, cost=cost), market.plan, positions)


def daily(trades: Trades) -> np.ndarray:
    """Return net returns by calendar day, UTC, float64 (days,), of the days that have steps."""
    _, place = np.unique(trades.times // _DAY, return_inverse=True)
    return np.bincount(place, weights=trades.net)


@dataclass(frozen=True)
class Chosen:
    """The candidate that is kept at a cost: discount, epoch, and what it earned on inner rows, in units of the stake.

    evidence: whether that is more than luck among `trials`; p, of the joint test, None where inner rows are too few.
    trial_sharpes: Sharpe ratios by day of all candidates on inner rows.
    """

    cost: float
    gamma: float
    epoch: int
    income: float
    evidence: bool
    p: float | None
    trials: int
    trial_sharpes: list[float]


class Candidates:
    """All agents that were tried on inner rows; `arrays` are what a checkpoint must hold beside the networks.

    inner: the market of inner rows. blocks: of its traded steps, for the test. epochs, groups: how many of each, the
    groups being (cost, gamma); weights: the shapes of an agent's weights by name, of one group.
    """

    def __init__(
        self,
        inner: Market,
        groups: list[tuple[float, float]],
        *,
        epochs: int,
        positions: tuple[int, ...],
        blocks: Blocks,
        weights: dict[str, tuple[int, ...]],
    ):
        self._inner, self._groups, self._positions, self._blocks = inner, groups, positions, blocks
        self.costs = list(dict.fromkeys(cost for cost, _ in groups))
        resamples = 1 + RESAMPLES if blocks.are_enough else 1
        tried = (epochs, len(groups))
        self.incomes = np.full(tried, -np.inf)
        self.sharpes = np.zeros(tried)
        self._means = np.zeros((*tried, resamples))
        self._weights = {name: np.zeros((*tried, *shape), np.float32) for name, shape in weights.items()}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was found so far, by name; filled in place."""
        own = {"incomes": self.incomes, "sharpes": self.sharpes, "means": self._means}
        return own | {f"weights_{name}": table for name, table in self._weights.items()}

    @property
    def states(self) -> np.ndarray:
        """What is known at each turn of the inner rows, float32 (turns, columns)."""
        return self._inner.turn_states

    def consider(self, values: np.ndarray, weights: Mapping[str, np.ndarray], *, unit: float, epoch: int) -> None:
        """Replay all groups over the inner rows after an epoch, from 1, and keep their weights.

        values: float32 (groups, networks, turns, positions), what they hold positions for worth at `states`, in units
        of `unit`. weights: those of all groups by name, float32 (groups, networks, ...).
        """
        for number, (cost, _) in enumerate(self._groups):
            held = held_by(values[number], self._inner, self._positions, cost=cost / unit)
            trades = trade(self._inner.by_row(held), self._inner.plan, fee=cost)
            self.incomes[epoch - 1, number] = trades.income
            self.sharpes[epoch - 1, number] = sharpe_ratios(daily(trades)[:, None])[0]
            self._means[epoch - 1, number] = self._blocks.sums(trades.net[:, None])[:, 0] / max(1, len(trades.net))
        for name, table in self._weights.items():
            table[epoch - 1] = weights[name]

    def _best(self, cost: float) -> tuple[int, int]:
        """Return the epoch, from 0, and the group that are kept of a cost.

        Only candidates with evidence of more than luck are looked at, where there are any. Within one standard error of
        the highest income, by resampled blocks, they cannot be told apart; the one that has learned longest is kept
        (after the one-standard-error rule of Breiman et al. 1984, which keeps the simplest), and of its epoch the best.
        """
        groups = self._groups_of(cost)
        means = self._means[:, groups]
        found = np.array(self._test(cost).horizons, np.int64) - 1
        proven = np.isin(np.arange(means.shape[0] * len(groups)), found).reshape(means.shape[:2])
        incomes = np.where(proven if proven.any() else True, self.incomes[:, groups], -np.inf)
        behind = means.reshape(-1, means.shape[-1])[incomes.argmax()] - means
        error = behind[..., 1:].std(axis=-1) if means.shape[-1] > 1 else np.zeros(means.shape[:2])
        equal = (behind[..., 0] <= error) & np.isfinite(incomes)
        epoch = int(np.flatnonzero(equal.any(axis=1))[-1])  # never empty: the best is not behind itself
        at = int(np.where(equal[epoch], incomes[epoch], -np.inf).argmax())
        return epoch, groups[at]

    def _groups_of(self, cost: float) -> list[int]:
        return [number for number, (one, _) in enumerate(self._groups) if one == cost]

    def chosen(self) -> list[Chosen]:
        """Return the best of each cost, and whether there is evidence that it earns more than it costs."""
        return [self._judge(cost) for cost in self.costs]

    def _test(self, cost: float) -> JointTest:
        """Return the joint test of all candidates of a cost: epoch after epoch, its groups in order."""
        means = self._means[:, self._groups_of(cost)]
        return joint_test(means.reshape(-1, means.shape[-1]).T)

    def _judge(self, cost: float) -> Chosen:
        (epoch, group), groups, test = self._best(cost), self._groups_of(cost), self._test(cost)
        return Chosen(
            cost,
            self._groups[group][1],
            epoch + 1,
            float(self.incomes[epoch, group]),
            epoch * len(groups) + groups.index(group) + 1 in test.horizons,
            test.p,
            self.sharpes[:, groups].size,
            self.sharpes[:, groups].ravel().tolist(),
        )

    def weights_of(self, cost: float) -> dict[str, np.ndarray]:
        """Return the weights of the agent that is kept of a cost, float32 (1, networks, ...) by name."""
        epoch, group = self._best(cost)
        return {name: table[epoch, group][None] for name, table in self._weights.items()}
