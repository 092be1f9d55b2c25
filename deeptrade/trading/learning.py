"""Learning what positions are worth, for several costs and discounts at once, with a look at the inner rows between.

What a position would have earned is known of every row, so each row teaches all pairs of positions, and a replay over
inner rows says exactly what a policy would have earned there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.backend import tf
from .choice import Candidates
from .learner import Learner, batches
from .market import Market
from .settings import SEEDS, AgentSettings, updates_per_epoch
from .state import scaled, scaling
from .targets import advantages, huber
from .values import in_parts, with_flat


@dataclass(frozen=True)
class Lessons:
    """What can be learned from a market, by turn: float32 arrays whose unit is the deviation of returns.

    states, following: (turns, columns), scaled. returns, bootstraps, closes: (turns,). mean, deviation: of the states'
    columns; unit: the standard deviation of returns one step ahead.
    """

    states: np.ndarray
    following: np.ndarray
    returns: np.ndarray
    bootstraps: np.ndarray
    closes: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    unit: float

    @classmethod
    def of(cls, market: Market) -> Lessons:
        """Return the lessons of the rows that an agent trains on."""
        turns = np.flatnonzero(market.teaches)
        rows, after = market.plan.rows[turns], market.following[turns]
        mean, deviation = scaling(market.states[rows])
        states = scaled(market.states, mean, deviation)
        unit = float(market.returns[turns].std()) if len(turns) else 1.0
        return cls(
            states[rows],
            states[np.maximum(after, 0)],
            (market.returns[turns] / (unit or 1.0)).astype(np.float32),
            (after >= 0).astype(np.float32),
            market.closes[turns].astype(np.float32),
            mean,
            deviation,
            unit or 1.0,
        )

    def __len__(self) -> int:
        return len(self.returns)


@dataclass(frozen=True)
class Group:
    """What the networks of a group have in common: the cost of trading, as a fraction, and the discount."""

    cost: float
    gamma: float


class Learning:
    """The agents of several groups, SEEDS networks each, learning from the same rows.

    The weights that act are the slow average of those that learn, see `Learner`.
    """

    def __init__(self, lessons: Lessons, groups: list[Group], settings: AgentSettings, *, seed: int = 0):
        self.lessons, self.groups, self.settings, self._seed = lessons, groups, settings, seed
        self.updates = updates_per_epoch(len(lessons), settings.rl_batch_size)
        self.learner = Learner(
            lessons.states.shape[1],
            len(settings.positions) - 1,
            networks=SEEDS,
            groups=len(groups),
            updates=self.updates * settings.rl_epochs,
            seed=seed,
        )
        self._cost = tf.constant([[[group.cost / lessons.unit]] for group in groups], tf.float32)
        self._gamma = tf.constant([[[group.gamma]] for group in groups], tf.float32)
        self._traced = tf.function(self._learn, reduce_retracing=True)

    def epoch(self, number: int) -> None:
        """Learn for one epoch, the first being 0."""
        lessons, first = self.lessons, number * self.updates
        tables = (lessons.states, lessons.following, lessons.returns, lessons.bootstraps, lessons.closes)
        size = min(self.settings.rl_batch_size, len(lessons))
        for batch in batches(tables, first=first, updates=self.updates, size=size, networks=SEEDS, seed=self._seed):
            self._traced(*batch)

    def _learn(self, states: Any, following: Any, returns: Any, bootstraps: Any, closes: Any) -> None:
        for at in tf.range(tf.shape(states)[0]):
            self._update(*(table[at][None] for table in (states, following, returns, bootstraps, closes)))

    def _update(self, states: Any, following: Any, returns: Any, bootstraps: Any, closes: Any) -> None:
        positions = self.settings.positions
        wanted = advantages(
            returns,
            with_flat(self.learner.learning(following), positions),
            with_flat(self.learner.judging(following), positions),
            bootstraps=bootstraps,
            closes=closes,
            positions=positions,
            cost=self._cost,
            gamma=self._gamma,
            risk=self.settings.rl_risk,
        )

        def loss() -> Any:
            errors = with_flat(self.learner.learning(states), positions) - wanted
            return tf.reduce_sum(tf.reduce_mean(huber(errors), axis=[-2, -1]))

        self.learner.update(loss)

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights of the acting networks by name, float32 (groups, SEEDS, ...)."""
        return {weight.name: weight.numpy() for weight in self.learner.judging.weights}

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return what the acting networks hold positions for worth, float32 (groups, SEEDS, rows, positions).

        states: float32 (rows, columns), not scaled. The unit is that of the lessons.
        """
        known = scaled(states, self.lessons.mean, self.lessons.deviation)
        return in_parts(lambda some: with_flat(self.learner.judging(some), self.settings.positions), known)


def learn(
    learning: Learning,
    candidates: Candidates,
    *,
    begin: int = 0,
    after_epoch: Callable[[int], None] = lambda done: None,
) -> None:
    """Learn to the end, from epoch `begin` on; after each epoch all groups are candidates, and `after_epoch` is told.

    after_epoch takes how many epochs are done.
    """
    for number in range(begin, learning.settings.rl_epochs):
        learning.epoch(number)
        values = learning.values(candidates.states)
        candidates.consider(values, learning.weights(), unit=learning.lessons.unit, epoch=number + 1)
        after_epoch(number + 1)
