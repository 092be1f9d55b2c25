"""Learning from a log of another agent, where of each state only the action that was taken is known.

What an action that is missing would have brought has to be guessed, and guesses that are too high win. So what a log
does not support is held down, by conservative Q-learning (Kumar, Zhou, Tucker, Levine 2020) on top of double
Q-learning (van Hasselt, Guez, Silver 2016):

    loss = huber(Q(s, a) - r - gamma * Q'(s', argmax Q(s', .))) + alpha * (logsumexp Q(s, .) - Q(s, a))

The same networks, with alpha 0 and the actions of a policy in place of the best ones, say what that policy is worth:
fitted Q evaluation (Le, Voloshin, Yue 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from .learner import POLYAK, Learner, batches
from .learning import updates_per_epoch
from .logged import Log
from .settings import SEEDS
from .state import scaled, scaling
from .targets import HUBER, huber
from .values import StackedValues, in_parts

ALPHA, GAMMA = 1.0, 0.9
"""The weight of what holds guesses down, rewards being in standard deviations (that of the usual implementations for
discrete actions), and the discount of a step. A log has no rows on which to choose them by replay."""

_HORIZONS = 8.0
"""How often the judging weights must be replaced for rewards of the whole horizon to arrive before learning ends: what
is missing then is some exp(-8) of a value."""

LEAST_UPDATES_A_PASS = 8
"""Batches of a short log are smaller, so that as many passes are enough updates: more passes learn the noise."""


@dataclass(frozen=True)
class Transitions:
    """What can be learned from a log, by row, the unit of rewards being their deviation.

    states, following: float32 (rows, columns), scaled. actions: int32 (rows,). rewards, bootstraps: float32 (rows,),
    the latter 0 where an episode ends. mean, deviation: of the states' columns; unit: the deviation of rewards.
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    following: np.ndarray
    bootstraps: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    unit: float

    @classmethod
    def of(cls, log: Log, rows: np.ndarray) -> Transitions:
        """Return the transitions of some rows of a log, int64 (rows,)."""
        mean, deviation = scaling(log.states[rows])
        unit = float(log.rewards[rows].std()) or 1.0
        return cls(
            scaled(log.states[rows], mean, deviation),
            log.actions[rows].astype(np.int32),
            (log.rewards[rows] / unit).astype(np.float32),
            scaled(log.following[rows], mean, deviation),
            1 - log.ends[rows].astype(np.float32),
            mean,
            deviation,
            unit,
        )

    def __len__(self) -> int:
        return len(self.actions)


class LoggedLearning:
    """SEEDS networks that learn what actions are worth from the same transitions, each in an order of its own.

    actions: how many there are. alpha: the weight of what holds down guesses. policy: int (rows,), the actions that
    follow each row, of a policy to evaluate; None for the best ones. delta: of the Huber loss.
    """

    def __init__(
        self,
        transitions: Transitions,
        actions: int,
        *,
        epochs: int,
        batch_size: int,
        gamma: float = GAMMA,
        alpha: float = ALPHA,
        policy: np.ndarray | None = None,
        delta: float = HUBER,
        seed: int = 0,
    ):
        self.epochs, self._seed = epochs, seed
        self._batch_size = min(batch_size, max(1, len(transitions) // LEAST_UPDATES_A_PASS))
        self.updates = updates_per_epoch(len(transitions), self._batch_size)
        self._gamma, self._alpha, self._delta = gamma, alpha, delta
        self._polyak = min(1.0, max(POLYAK, _HORIZONS / (self.updates * epochs * (1 - gamma))))
        self._evaluates = policy is not None
        chosen = np.zeros(len(transitions)) if policy is None else policy
        self._tables = (
            transitions.states,
            transitions.actions,
            transitions.rewards,
            transitions.following,
            transitions.bootstraps,
            chosen.astype(np.int32),
        )
        self.learner = Learner(
            transitions.states.shape[1],
            actions,
            networks=SEEDS,
            groups=1,
            updates=self.updates * epochs,
            seed=seed,
        )
        self._traced = tf.function(self._learn, reduce_retracing=True)

    def epoch(self, number: int) -> None:
        """Learn for one epoch, the first being 0."""
        first, size = number * self.updates, self._batch_size
        for batch in batches(
            self._tables, first=first, updates=self.updates, size=size, networks=SEEDS, seed=self._seed
        ):
            self._traced(*batch)

    def _learn(self, *tables: Any) -> None:
        for at in tf.range(tf.shape(tables[0])[0]):
            self.update(*(table[at][None] for table in tables), polyak=self._polyak)

    def update(
        self,
        states: Any,
        actions: Any,
        rewards: Any,
        following: Any,
        bootstraps: Any,
        chosen: Any,
        *,
        polyak: float,
    ) -> None:
        """Take one step with batches (1, SEEDS, rows, ...), as those of `Transitions`; to be traced."""
        best = chosen if self._evaluates else tf.argmax(self.learner.learning(following), axis=-1)
        later = _of(self.learner.judging(following), best)
        wanted = rewards + self._gamma * bootstraps * later

        def loss() -> Any:
            values = self.learner.learning(states)
            taken = _of(values, actions)
            guesses = tf.reduce_logsumexp(values, axis=-1) - taken
            lost = huber(taken - wanted, delta=self._delta) + self._alpha * guesses
            return tf.reduce_sum(tf.reduce_mean(lost, axis=-1))

        self.learner.update(loss, polyak=polyak)

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return what actions are worth, float32 (SEEDS, rows, actions), at scaled states, in deviations of rewards."""
        return in_parts(self.learner.judging, states)[0]


def _of(values: Any, actions: Any) -> Any:
    """Return the values (..., actions) of these actions, (...,)."""
    return tf.gather(values, tf.cast(actions, tf.int32), axis=-1, batch_dims=len(values.shape) - 1)


@keras.saving.register_keras_serializable("deeptrade")
class LoggedAgent(keras.Model):
    """An agent that a log has taught: what it is called with are states as the log has them, float32 (rows, columns).

    It returns float32 (networks, rows, actions): the sum of discounted rewards, in the unit of the log, that each of
    its networks expects of each of `actions`.
    """

    def __init__(
        self, actions: tuple[str, ...], *, columns: int, networks: int, unit: float, gamma: float, **options: Any
    ):
        super().__init__(**options)
        self.actions, self.columns, self.networks = tuple(actions), columns, networks
        self.unit, self.gamma = unit, gamma
        self.stacked = StackedValues(len(self.actions), networks=networks, name="values")
        self.stacked.build((None, columns))
        self.mean = self.add_weight(name="mean", shape=(columns,), initializer="zeros", trainable=False)
        self.deviation = self.add_weight(name="deviation", shape=(columns,), initializer="ones", trainable=False)
        self.built = True

    @classmethod
    def of(
        cls, learning: LoggedLearning, transitions: Transitions, actions: tuple[str, ...], *, gamma: float
    ) -> LoggedAgent:
        """Return the agent that has been learned."""
        agent = cls(actions, columns=len(transitions.mean), networks=SEEDS, unit=transitions.unit, gamma=gamma)
        for weight, learned in zip(agent.stacked.weights, learning.learner.judging.weights, strict=True):
            weight.assign(learned)
        agent.mean.assign(transitions.mean)
        agent.deviation.assign(transitions.deviation)
        return agent

    def call(self, states: Any) -> Any:
        """Return the values of states."""
        known = scaled(np.asarray(states), np.asarray(self.mean), np.asarray(self.deviation))
        return self.unit * self.stacked(known)[0]

    def worth(self, states: np.ndarray) -> np.ndarray:
        """Return what a call does for any number of rows, as an array."""
        return in_parts(self, states)

    def choose(self, states: np.ndarray) -> np.ndarray:
        """Return the action with the largest mean value over networks, int64 (rows,), an index into `actions`."""
        return self.worth(states).mean(axis=0, dtype=np.float64).argmax(axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` rebuilds the model from."""
        names = ("actions", "columns", "networks", "unit", "gamma")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> LoggedAgent:
        """Return the model of a configuration, with untrained weights."""
        return cls(tuple(config["actions"]), **{name: value for name, value in config.items() if name != "actions"})
