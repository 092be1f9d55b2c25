"""What turns knowledge into positions: the agent's rule, and the rivals that it has to beat.

A policy is a table: at each turn, which position it takes from each position that it may hold. All positions are
indexes into a tuple such as (-1, 0, 1), of which 0 is one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..judging.trades import Schedule
from ..sources.time_order import rows_by_market

CAUTION = 1.0
"""Standard deviations, between an agent's networks, that are taken off what a position is worth beyond being flat."""


def changes(positions: Sequence[int]) -> np.ndarray:
    """Return how much is traded from each position (first axis) to each other, float64 (positions, positions)."""
    held = np.asarray(positions, np.float64)
    return np.abs(held[:, None] - held[None, :])


def cautious(values: np.ndarray, *, caution: float = CAUTION) -> np.ndarray:
    """Return the values an agent acts on, float64 (rows, positions), of those of its networks, (networks, rows,
    positions).

    The mean over networks, less `caution` times their standard deviation; being flat is worth 0 without doubt.
    """
    return values.mean(axis=0, dtype=np.float64) - caution * values.std(axis=0, dtype=np.float64)


def greedy(values: np.ndarray, positions: Sequence[int], *, cost: float) -> np.ndarray:
    """Return the table of the position with the highest value less the cost of getting there, int64 (turns, positions).

    values: float (turns, positions), what holding each position is worth, in the unit of `cost`. Where several are
    equal, the one that is held stays, then that which is flat.
    """
    net = values[:, None, :].astype(np.float64) - cost * changes(positions)
    count, flat = len(positions), list(positions).index(0)
    at_once = np.argmax(net, axis=2)
    best = np.take_along_axis(net, at_once[..., None], axis=2)[..., 0]
    at_once = np.where(net[:, :, flat] >= best, flat, at_once)
    stay = net[:, np.arange(count), np.arange(count)] >= best
    return np.where(stay, np.arange(count), at_once)


def follow(table: np.ndarray, plan: Schedule, positions: Sequence[int]) -> np.ndarray:
    """Return the positions that a policy holds at each turn, int64 (turns,); each episode begins flat.

    table: int (turns, positions).
    """
    flat, held, found = list(positions).index(0), 0, []
    for begins, choices in zip(plan.begins.tolist(), table.tolist(), strict=True):
        held = choices[flat if begins else held]
        found.append(held)
    return np.asarray(positions, np.int64)[np.asarray(found, np.int64)] if found else np.empty(0, np.int64)


def hindsight(plan: Schedule, positions: Sequence[int], *, cost: float) -> np.ndarray:
    """Return the positions that would have earned most had all returns been known, int64 (turns,).

    Dynamic programming backwards through each episode (Bellman 1957); what no policy can beat.
    """
    held, traded = np.asarray(positions, np.float64), changes(positions)
    earned = plan.returns[:, None] * held
    table = np.zeros((len(plan.returns), len(positions)), np.int64)
    worth = np.zeros(len(positions))
    for turn in range(len(plan.returns) - 1, -1, -1):
        after = -cost * np.abs(held) if plan.ends[turn] else worth
        net = (earned[turn] + after)[None, :] - cost * traded
        table[turn] = net.argmax(axis=1)
        worth = net.max(axis=1)
    return follow(table, plan, positions)


def shifted(held: np.ndarray, markets: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Return the same positions at other times, (count, turns): those of each market shifted around by random steps.

    held: (turns,). markets: names (turns,). Such policies know nothing of the market: what they earn is chance.
    """
    generator, found = np.random.default_rng(seed), np.repeat(held[None], count, axis=0)
    for _, turns in rows_by_market(markets):
        for draw, step in enumerate(generator.integers(1, max(2, len(turns)), count).tolist()):
            found[draw, turns] = np.roll(held[turns], step)
    return found
