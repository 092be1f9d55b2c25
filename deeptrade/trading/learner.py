"""One network that learns, one that follows it slowly and judges, and the optimizer, for many agents at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from ..mixing import draw, mix
from ..training.adam import Adam
from .values import StackedValues

LEARNING_RATE, POLYAK = 1e-3, 0.005
"""Of Adam, falling to zero along a cosine; and the share of the learning weights that the judging ones take over in an
update. The judging weights, an average over some 200 updates, are those that act."""


class Learner:
    """Networks that learn by gradient steps; `variables` are all that a checkpoint must hold.

    columns, outputs, networks, groups: as `StackedValues` has them. updates: how many there will be in all.
    """

    def __init__(self, columns: int, outputs: int, *, networks: int, groups: int, updates: int, seed: int):
        self.learning, self.judging = (
            StackedValues(outputs, networks=networks, groups=groups, seed=seed, name=name)
            for name in ("learning", "judging")
        )
        for layer in (self.learning, self.judging):
            layer.build((None, columns))
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, updates)
        self._optimizer = Adam(rate, name="adam")  # Keras would count them, and a checkpoint go by another name
        self._optimizer.build(self.learning.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        """Weights of both networks and what the optimizer remembers."""
        return [*self.learning.weights, *self.judging.weights, *self._optimizer.variables]

    def update(self, loss: Callable[[], Any], *, polyak: float = POLYAK) -> None:
        """Take one step down the gradient of `loss`, the sum over networks; to be traced."""
        weights = self.learning.trainable_variables
        with tf.GradientTape() as tape:
            found = loss()
        self._optimizer.apply(tape.gradient(found, weights), weights)
        for follower, leader in zip(self.judging.trainable_variables, weights, strict=True):
            follower.assign_add(polyak * (leader - follower))


_UPDATES_AT_ONCE, _BYTES_AT_ONCE = 50, 32 << 20


def batches(
    tables: Sequence[np.ndarray], *, first: int, updates: int, size: int, networks: int, seed: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the rows of tables (rows, ...) for some updates at a time, arrays (updates, networks, size, ...).

    first: the update to begin with, from 0; updates: how many there are; size: rows of each.
    """
    update_bytes = networks * size * sum(table[:1].nbytes for table in tables)
    at_once = max(1, min(_UPDATES_AT_ONCE, _BYTES_AT_ONCE // update_bytes))
    for begin in range(first, first + updates, at_once):
        count = min(at_once, first + updates - begin)
        rows = row_order(len(tables[0]), first=begin * size, count=count * size, networks=networks, seed=seed)
        chosen = np.swapaxes(rows.reshape(networks, count, size), 0, 1)
        yield tuple(table[chosen] for table in tables)


def row_order(rows: int, *, first: int, count: int, networks: int, seed: int) -> np.ndarray:
    """Return which rows each network sees, int64 (networks, count): places first to first + count of its own order.

    The order is one shuffle of all rows after the other, a function of seed, network and pass alone.
    """
    passes = range(first // rows, -(-(first + count) // rows))
    found = np.empty((networks, count), np.int64)
    for network in range(networks):
        shuffles = [_shuffle(rows, f"agent order/{seed}/{network}/{number}") for number in passes]
        begin = first - passes.start * rows
        found[network] = np.concatenate(shuffles)[begin : begin + count]
    return found


def _shuffle(rows: int, key: str) -> np.ndarray:
    return np.argsort(mix(np.arange(rows, dtype=np.uint64), draw(key, 0, below=2**63)), kind="stable")
