"""Learning from logged actions: against value iteration, against d3rlpy, and what holds guesses down."""

import numpy as np
import pytest

from deeptrade.trading.conservative import LoggedAgent, LoggedLearning, Transitions
from deeptrade.trading.logged import Log
from deeptrade.trading.settings import SEEDS

GAMMA = 0.9
STATES, ACTIONS = 5, 2
REWARDS = np.array([[0.0, 0.3], [0.1, -0.4], [-0.2, 0.5], [0.8, 0.0], [0.2, 0.6]])
NEXT = np.array([[1, 2], [2, 0], [3, 4], [4, 1], [0, 3]])
ENDS = np.array([[0, 0], [0, 0], [0, 1], [0, 0], [1, 0]])


def transitions_of(states, actions, rewards, following, ends):
    """Return transitions whose states and rewards are in their own units."""
    columns = np.shape(states)[1]
    return Transitions(
        np.asarray(states, np.float32),
        np.asarray(actions, np.int32),
        np.asarray(rewards, np.float32),
        np.asarray(following, np.float32),
        1 - np.asarray(ends, np.float32),
        np.zeros(columns, np.float32),
        np.ones(columns, np.float32),
        1.0,
    )


def five_states(times, repeat=()):
    """Return every state and action `times` times, those in `repeat` ten times as often."""
    pairs = [(state, action) for state in range(STATES) for action in range(ACTIONS)] * times
    state, action = np.array([*pairs, *list(repeat) * 9 * times]).T
    hot = np.eye(STATES)
    return transitions_of(hot[state], action, REWARDS[state, action], hot[NEXT[state, action]], ENDS[state, action])


def value_iteration(policy=None):
    worth = np.zeros((STATES, ACTIONS))
    for _ in range(1000):
        after = worth.max(axis=1) if policy is None else worth[np.arange(STATES), policy]
        worth = REWARDS + GAMMA * (1 - ENDS) * after[NEXT]
    return worth


def learn(transitions, *, epochs=20, **options):
    learning = LoggedLearning(transitions, ACTIONS, epochs=epochs, batch_size=40, gamma=GAMMA, **options)
    for number in range(epochs):
        learning.epoch(number)
    return learning


def test_without_holding_down_the_values_are_those_of_value_iteration():
    values = learn(five_states(50), alpha=0.0).values(np.eye(STATES, dtype=np.float32))
    assert np.abs(values - value_iteration()).max() < 1e-2


def test_a_policy_is_evaluated_as_value_iteration_does():
    policy = np.array([0, 1, 1, 0, 1])
    transitions = five_states(50)
    following = transitions.following.argmax(axis=1)
    learning = learn(transitions, alpha=0.0, policy=policy[following])
    values = learning.values(np.eye(STATES, dtype=np.float32))
    assert np.abs(values - value_iteration(policy)).max() < 1e-2
    assert np.abs(value_iteration(policy) - value_iteration()).max() > 0.1


def test_actions_that_a_log_hardly_has_are_held_down():
    logged = np.array([1, 0, 1, 1, 0])
    transitions = five_states(10, repeat=list(enumerate(logged.tolist())))
    hot = np.eye(STATES, dtype=np.float32)
    gap = {}
    for alpha in (0.0, 1.0):
        values = learn(transitions, alpha=alpha, epochs=10).values(hot).mean(axis=0)
        gap[alpha] = values[np.arange(STATES), logged] - values[np.arange(STATES), 1 - logged]
    assert (gap[1.0] > gap[0.0] + 0.2).all()


def test_equal_seeds_give_equal_bytes_and_networks_differ():
    transitions = five_states(5)
    one, other = (learn(transitions, epochs=2).values(transitions.states) for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert one.shape == (SEEDS, len(transitions), ACTIONS)
    assert len({network.tobytes() for network in one}) == SEEDS


def test_a_row_is_worth_the_same_whatever_stands_beside_it():
    learning = learn(five_states(5), epochs=1)
    states = np.random.default_rng(0).normal(size=(700, STATES)).astype(np.float32)
    np.testing.assert_allclose(learning.values(states)[:, 600:601], learning.values(states[600:601]), atol=1e-6)


def test_a_saved_agent_acts_like_the_one_that_learned(tmp_path):
    import keras

    transitions = five_states(20)
    agent = LoggedAgent.of(learn(transitions, epochs=2), transitions, ("LONG", "SHORT"), gamma=GAMMA)
    agent.save(tmp_path / "agent.keras")
    loaded = keras.models.load_model(tmp_path / "agent.keras")
    assert loaded.actions == ("LONG", "SHORT")
    np.testing.assert_array_equal(loaded.worth(transitions.states), agent.worth(transitions.states))
    np.testing.assert_array_equal(loaded.choose(transitions.states), agent.choose(transitions.states))


def test_rewards_and_states_in_other_units_lead_to_the_same_agent():
    random = np.random.default_rng(2)
    states, rewards = random.normal(size=(301, 4)).astype(np.float32), random.normal(size=300)
    actions, ends = random.integers(2, size=300), random.random(300) < 0.1

    def agent_of(scale, shift):
        seen = states * np.float32(scale) + np.float32(shift)
        log = Log("log.csv", seen[:-1], actions, scale * rewards, seen[1:], ends, "log", 300, {}, ())
        transitions = Transitions.of(log, np.arange(300))
        agent = LoggedAgent.of(learn(transitions, epochs=1), transitions, ("LONG", "SHORT"), gamma=GAMMA)
        return agent.worth(log.states)

    np.testing.assert_allclose(agent_of(4, 3), 4 * agent_of(1, 0), atol=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_updates_are_those_of_d3rlpy(alpha):
    """More than one, for the first step of Adam is the sign of the gradient whatever its size."""
    pytest.importorskip("d3rlpy", reason="d3rlpy is not installed; pip install d3rlpy")
    from tests.support.d3rlpy_update import updated_by_d3rlpy

    random = np.random.default_rng(3)
    batches = [random_batch(random) for _ in range(4)]
    learning = LoggedLearning(
        batches[0], 3, epochs=10**6, batch_size=len(batches[0]), gamma=0.97, alpha=alpha, delta=1.0
    )
    learner = learning.learner
    for weight in [*learner.learning.weights, *learner.judging.weights]:
        weight.assign(random.normal(0, 0.3, weight.shape))
    begun, judging = ([weight.numpy()[0] for weight in layer.weights] for layer in (learner.learning, learner.judging))
    for batch in batches:
        learning.update(*for_all_networks(batch), polyak=0.0)
    for network in range(SEEDS):
        weights = ([weight[network] for weight in part] for part in (begun, judging))
        expected = updated_by_d3rlpy(batches, *weights, gamma=0.97, alpha=alpha)
        for weight, wanted, was in zip(learner.learning.weights, expected, begun, strict=True):
            assert np.abs(wanted - was[network]).max() > 2e-3  # it has moved
            np.testing.assert_allclose(weight.numpy()[0, network], wanted, atol=2e-6, rtol=0)


def random_batch(random, rows=64, columns=6):
    return transitions_of(
        random.normal(size=(rows, columns)),
        random.integers(3, size=rows),
        3 * random.normal(size=rows),
        random.normal(size=(rows, columns)),
        random.random(rows) < 0.2,
    )


def for_all_networks(batch):
    nothing = np.zeros(len(batch), np.int32)
    arrays = (batch.states, batch.actions, batch.rewards, batch.following, batch.bootstraps, nothing)
    return [np.broadcast_to(array, (1, SEEDS, *array.shape)) for array in arrays]
