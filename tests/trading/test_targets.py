import itertools

import numpy as np
import pytest

from deeptrade.data.backend import tf
from deeptrade.trading.targets import advantages, huber, pair_values
from tests.support.agents import POSITIONS

ROWS, GAMMA = 64, 0.9
FEES = (0.0, 0.0002, 0.0005, 0.001, 0.002)
UNIT = 0.004
"""Standard deviation of a return: fees are divided by it."""


def lessons(seed=0):
    draws = np.random.default_rng(seed)
    kind = draws.integers(0, 3, ROWS)  # goes on, closed before a gap, and neither
    following, judging = (draws.normal(size=(ROWS, 3)) for _ in range(2))
    following[:, 1] = judging[:, 1] = 0.0
    return draws.normal(size=ROWS), following, judging, (kind == 0) * 1.0, (kind == 1) * 1.0


def tensors(*arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


def plain_targets(returns, following, judging, bootstraps, closes, *, cost, risk):
    """Return Q of every row and pair by the textbook: (rows, from, to), relative to staying flat."""
    found = np.zeros((ROWS, 3, 3))
    for row, before, to in itertools.product(range(ROWS), range(3), range(3)):
        held = POSITIONS[to]
        reward = held * returns[row] - risk * (held * returns[row]) ** 2 - cost * abs(held - POSITIONS[before])
        net = [following[row, b] - cost * abs(POSITIONS[b] - held) for b in range(3)]
        best = int(np.argmax(net))
        worth = judging[row, best] - cost * abs(POSITIONS[best] - held)
        found[row, before, to] = reward + GAMMA * bootstraps[row] * worth - closes[row] * cost * abs(held)
    return found - found[:, 1:2, 1:2]


@pytest.mark.parametrize("fee", FEES)
@pytest.mark.parametrize("risk", [0.0, 0.1])
def test_targets_of_all_nine_pairs_equal_a_plain_loop(fee, risk):
    returns, following, judging, bootstraps, closes = lessons()
    cost = fee / UNIT
    found = advantages(
        *tensors(returns, following, judging),
        bootstraps=tf.constant(bootstraps, tf.float32),
        closes=tf.constant(closes, tf.float32),
        positions=POSITIONS,
        cost=tf.constant(cost, tf.float32),
        gamma=tf.constant(GAMMA, tf.float32),
        risk=risk,
    ).numpy()
    wanted = plain_targets(returns, following, judging, bootstraps, closes, cost=cost, risk=risk)
    assert np.allclose(pair_values(found, POSITIONS, cost=cost), wanted, atol=2e-6)


def test_the_choosing_network_chooses_and_the_judging_one_judges():
    following, judging = np.array([[0.0, 0.0, 2.0]]), np.array([[9.0, 0.0, 0.5]])
    found = advantages(
        *tensors([0.0], following, judging),
        bootstraps=tf.constant([1.0]),
        closes=tf.constant([0.0]),
        positions=POSITIONS,
        cost=tf.constant(0.1),
        gamma=tf.constant(1.0),
    ).numpy()
    assert np.allclose(found, [[-0.1, 0.0, 0.1]])  # all end long: from short over two changes, from flat over one


def test_small_errors_count_by_their_square_and_large_ones_by_their_size():
    assert huber(tf.constant([0.5, -3.0]), delta=1.0).numpy().tolist() == [0.125, 2.5]
