"""Which agent is kept: of every cost, the discount and the epoch that earned most on inner rows, or none at all.

The best of many is lucky. So it is kept only where it earned more than its costs with that luck allowed for, by the
joint test of `judging.verdict` over all that were tried. Else the agent stays flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..judging.overfitting import sharpe_ratios
from ..judging.resampling import RESAMPLES, Blocks
from ..judging.trades import Trades, trade
from ..judging.verdict import joint_test
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
    """The best candidate at a cost: its discount and epoch, what it earned on inner rows, in units of the stake.

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
        self._best = {name: np.zeros((len(self.costs), *shape), np.float32) for name, shape in weights.items()}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was found so far, by name; filled in place."""
        own = {"incomes": self.incomes, "sharpes": self.sharpes, "means": self._means}
        return own | {f"best_{name}": table for name, table in self._best.items()}

    @property
    def states(self) -> np.ndarray:
        """What is known at each turn of the inner rows, float32 (turns, columns)."""
        return self._inner.turn_states

    def consider(self, values: np.ndarray, weights: Mapping[str, np.ndarray], *, unit: float, epoch: int) -> None:
        """Replay all groups over the inner rows after an epoch, from 1; keep the weights of the best of each cost.

        values: float32 (groups, networks, turns, positions), what they hold positions for worth at `states`, in units
        of `unit`. weights: those of all groups by name, float32 (groups, networks, ...).
        """
        before = [self.incomes[place] for place in self._best_so_far()]
        for number, (cost, _) in enumerate(self._groups):
            held = held_by(values[number], self._inner, self._positions, cost=cost / unit)
            trades = trade(self._inner.by_row(held), self._inner.plan, fee=cost)
            self.incomes[epoch - 1, number] = trades.income
            self.sharpes[epoch - 1, number] = sharpe_ratios(daily(trades)[:, None])[0]
            self._means[epoch - 1, number] = self._blocks.sums(trades.net[:, None])[:, 0] / max(1, len(trades.net))
        for at, place in enumerate(self._best_so_far()):
            if self.incomes[place] > before[at]:
                for name, table in self._best.items():
                    table[at] = weights[name][place[1]]

    def _best_so_far(self) -> list[tuple[int, int]]:
        """Return of each cost the epoch, from 0, and the group that earned most; the earliest where several did."""
        found = []
        for cost in self.costs:
            of_cost = np.array([one == cost for one, _ in self._groups])
            incomes = np.where(of_cost, self.incomes, -np.inf)
            epoch, group = np.unravel_index(int(incomes.argmax()), incomes.shape)
            found.append((int(epoch), int(group)))
        return found

    def chosen(self) -> list[Chosen]:
        """Return the best of each cost, and whether there is evidence that it earns more than it costs."""
        return [self._judge(cost, *place) for cost, place in zip(self.costs, self._best_so_far(), strict=True)]

    def _judge(self, cost: float, epoch: int, group: int) -> Chosen:
        of_cost = [number for number, (one, _) in enumerate(self._groups) if one == cost]
        means = self._means[:, of_cost].reshape(-1, self._means.shape[-1]).T
        place = epoch * len(of_cost) + of_cost.index(group)
        test = joint_test(means)
        return Chosen(
            cost,
            self._groups[group][1],
            epoch + 1,
            float(self.incomes[epoch, group]),
            place + 1 in test.horizons,
            test.p,
            means.shape[1],
            self.sharpes[:, of_cost].ravel().tolist(),
        )

    def weights_of(self, cost: float) -> dict[str, np.ndarray]:
        """Return the weights of the best agent at a cost, float32 (1, networks, ...) by name."""
        at = self.costs.index(cost)
        return {name: table[at][None] for name, table in self._best.items()}
