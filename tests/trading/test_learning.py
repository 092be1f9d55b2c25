import numpy as np
import pytest

from deeptrade.trading.learner import row_order
from deeptrade.trading.learning import Group, Learning, Lessons, updates_per_epoch
from deeptrade.trading.policies import changes, follow, greedy
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.targets import pair_values
from tests.support.agents import POSITIONS, market_of

MOVES = np.array(
    [
        [0.6, 0.3, 0.1, 0.0, 0.0],
        [0.2, 0.5, 0.2, 0.1, 0.0],
        [0.1, 0.2, 0.4, 0.2, 0.1],
        [0.0, 0.1, 0.2, 0.5, 0.2],
        [0.0, 0.0, 0.1, 0.3, 0.6],
    ]
)
EARNED = np.array([-0.02, -0.004, 0.0, 0.006, 0.015])
"""What a long position earns in each of five states, and how the states follow each other."""

GAMMA, COST = 0.9, 0.01


def chain_market(rows=6000, seed=0):
    draws = np.random.default_rng(seed).random(rows)
    state, states = 2, []
    for value in draws.tolist():
        states.append(state)
        state = int(np.searchsorted(np.cumsum(MOVES[state]), value))
    states = np.array(states)
    return market_of(np.eye(5)[states], EARNED[states]), states


def value_iteration(cost=COST, gamma=GAMMA, moves=MOVES):
    """Return Q (states, from, to) of the five states by value iteration."""
    worth = np.zeros((5, 3))
    for _ in range(2000):
        held = EARNED[:, None] * np.array(POSITIONS) + gamma * moves @ worth
        q = held[:, None, :] - cost * changes(POSITIONS)
        worth = q.max(axis=2)
    return q


@pytest.fixture(scope="module")
def learned():
    market, states = chain_market()
    settings = AgentSettings(rl_batch_size=256)
    learning = Learning(Lessons.of(market), [Group(COST, GAMMA)], settings)
    for epoch in range(settings.rl_epochs):
        learning.epoch(epoch)
    return learning, states


def test_on_five_states_q_equals_value_iteration(learned):
    learning, states = learned
    unit = learning.lessons.unit
    found = pair_values(learning.values(np.eye(5, dtype=np.float32))[0].mean(axis=0), POSITIONS, cost=COST / unit)
    seen = np.array([np.bincount(states[1:][states[:-1] == state], minlength=5) for state in range(5)], float)
    wanted = value_iteration(moves=seen / seen.sum(axis=1, keepdims=True))  # the chain as it was drawn
    wanted = (wanted - wanted[:, 1:2, 1:2]) / unit
    assert np.abs(found - wanted).max() < 1e-2


def test_fitted_evaluation_of_its_policy_agrees_with_a_replay(learned):
    """Both are of the mean discounted income; fitted evaluation solves the equations of the chain that was seen."""
    learning, _ = learned
    values = learning.values(np.eye(5, dtype=np.float32))[0].mean(axis=0)
    table = greedy(values, POSITIONS, cost=COST / learning.lessons.unit)
    market, states = chain_market(rows=20_000, seed=5)
    held = follow(table[states], market.plan, POSITIONS)
    earned = held * EARNED[states] - COST * np.abs(np.diff(np.concatenate([[0], held])))
    replayed, total = np.zeros(len(earned)), 0.0
    for turn in range(len(earned) - 1, -1, -1):
        total = earned[turn] + GAMMA * total
        replayed[turn] = total
    pairs = 3 * states + np.concatenate([[1], held[:-1] + 1])
    fitted = fitted_evaluation(pairs, earned)[pairs].mean()
    assert fitted == pytest.approx(replayed.mean(), rel=1e-2)


def fitted_evaluation(pairs, earned):
    """Return the worth of each pair of state and position under the policy that was followed, by least squares."""
    counts = np.zeros((15, 15))
    np.add.at(counts, (pairs[:-1], pairs[1:]), 1)
    visits = np.maximum(1, counts.sum(axis=1))
    reward = np.bincount(pairs[:-1], weights=earned[:-1], minlength=15) / visits
    return np.linalg.solve(np.eye(15) - GAMMA * counts / visits[:, None], reward)


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    market, _ = chain_market(rows=600)

    def weights(seed):
        settings = AgentSettings(rl_epochs=1, rl_batch_size=64)
        learning = Learning(Lessons.of(market), [Group(COST, GAMMA)], settings, seed=seed)
        learning.epoch(0)
        return [weight.numpy().tobytes() for weight in learning.learner.variables]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_every_network_sees_every_row_once_a_pass_in_an_order_of_its_own():
    order = row_order(50, first=0, count=120, networks=2, seed=3)
    assert sorted(order[0, :50].tolist()) == sorted(order[1, 50:100].tolist()) == list(range(50))
    assert order[0].tolist() != order[1].tolist()
    assert np.array_equal(row_order(50, first=70, count=30, networks=2, seed=3), order[:, 70:100])


def test_few_rows_are_not_passed_over_more_often_than_twenty_times_an_epoch():
    assert updates_per_epoch(60_000, 512) == 250
    assert updates_per_epoch(1000, 512) == 40
    assert updates_per_epoch(3, 512) == 1
