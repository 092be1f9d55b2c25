"""What the agent learns: what each position is worth, one step and then the best that follows.

A change of position costs the same whatever the market does, so of Q(row, from, to) only the worth of `to` has to be
learned: Q(row, from, to) = V(row) + D(row, to) - cost * |to - from|, where V, the worth of being flat, is common to all
pairs and drops out of every comparison. D lies within the cost of two changes around what one step earns, so it is
learned without waiting for the sum of all future income to settle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.backend import tf
from .policies import changes

HUBER = 10.0
"""Errors above so many standard deviations of returns count by their size instead of its square (Huber 1964). Below,
the mean is learned: a lower bound would learn something like a median, which is not what a position earns."""


def advantages(
    returns: Any,
    following: Any,
    judging: Any,
    *,
    bootstraps: Any,
    closes: Any,
    positions: tuple[int, ...],
    cost: Any,
    gamma: Any,
    risk: float = 0.0,
) -> Any:
    """Return by how much holding each position for a step is worth more than being flat, float32 (..., positions).

    Double Q-learning (van Hasselt, Guez, Silver 2016) over all pairs of positions at once.

    returns: float32 (...,), what a position of 1 earns. following, judging: float32 (..., positions), the worth of
    positions one step later, by the network that chooses among them and by the one that judges the choice. bootstraps,
    closes: float32 (...,), 1 where the episode goes on, and where a gap closes the position at a cost. cost, gamma:
    float32 tensors that broadcast with returns; cost and risk are in the unit of returns.
    """
    held = tf.constant(positions, tf.float32)
    trading = cost[..., None, None] * tf.constant(changes(positions), tf.float32)
    best = tf.argmax(following[..., None, :] - trading, axis=-1)
    worth = tf.reduce_sum((judging[..., None, :] - trading) * tf.one_hot(best, len(positions)), axis=-1)
    earned = held * returns[..., None]
    after = (gamma * bootstraps)[..., None] * worth - (closes * cost)[..., None] * tf.abs(held)
    total = earned - risk * earned**2 + after
    flat = positions.index(0)
    return total - total[..., flat : flat + 1]


def huber(errors: Any, *, delta: float = HUBER) -> Any:
    """Return the Huber loss of each error: half its square, and beyond `delta` a straight line."""
    size = tf.abs(errors)
    return tf.where(size < delta, errors**2 / 2, delta * (size - delta / 2))


def pair_values(advantage: np.ndarray, positions: tuple[int, ...], *, cost: float) -> np.ndarray:
    """Return Q less the worth of being flat, float (..., from, to), of advantages (..., positions)."""
    return advantage[..., None, :] - cost * changes(positions)
