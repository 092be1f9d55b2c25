"""The market as environments of gymnasium: what they pay is what the replay says."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from deeptrade.errors import SettingsError
from deeptrade.judging.trades import trade
from deeptrade.trading.state import scaled, scaling
from tests.support.agents import HOUR, POSITIONS, START, market_of

COST = 0.001
ROWS = 120


@pytest.fixture
def room():
    """The module, where gymnasium is installed."""
    pytest.importorskip("gymnasium", reason="gymnasium is not installed; pip install 'deeptrade[gym]'")
    from deeptrade.trading import environment

    return environment


@pytest.fixture
def market():
    """Two markets side by side, with gaps in time, and outcomes that are not known."""
    random = np.random.default_rng(5)
    hours = np.delete(np.arange(ROWS + 20), random.choice(np.arange(1, ROWS + 19), 20, replace=False))
    times = np.repeat(START + HOUR * hours, 2)
    returns = random.normal(0, 0.01, 2 * ROWS)
    returns[random.choice(2 * ROWS, 15, replace=False)] = np.nan
    return market_of(random.normal(size=(2 * ROWS, 3)), returns, times=times, markets=["A", "B"] * ROWS)


def at_random(market):
    return np.random.default_rng(7).integers(len(POSITIONS), size=len(market.plan.rows))


def sign_of_forecast(market):
    return np.sign(market.judged.forecasts[market.plan.rows, 0]).astype(int) + 1


AGENTS = pytest.mark.parametrize("agent", [at_random, sign_of_forecast])


def play_apart(env, actions):
    """Play every episode, the actions being those of the turns; return reward and net by turn."""
    rewards, net = np.full(len(actions), np.nan), np.full(len(actions), np.nan)
    for episode in range(len(env.episodes)):
        _, info = env.reset(options={"episode": episode})
        ended = False
        while not ended:
            turn = info["turn"]
            _, rewards[turn], terminated, truncated, info = env.step(actions[turn])
            net[turn], ended = info["net"], terminated or truncated
    return rewards, net


def play_together(env, actions):
    """Play every episode at once, and after its end what follows by itself; return the net by turn."""
    net = np.full(len(actions), np.nan)
    _, info = env.reset(seed=0, options={"episode": np.arange(len(env.episodes))})
    over = np.zeros(env.num_envs, bool)
    while not over.all():
        turns = info["turn"]
        _, _, terminated, truncated, info = env.step(actions[turns])
        net[turns[~over]] = info["net"][~over]
        over |= terminated | truncated
    return net


@AGENTS
def test_an_agent_in_the_environment_earns_what_the_replay_says(room, market, agent):
    actions = agent(market)
    _, net = play_apart(room.MarketEnv(market, cost=COST), actions)
    said = trade(market.by_row(np.array(POSITIONS)[actions]), market.plan, fee=COST)
    by_step = np.bincount(market.plan.step, weights=net) / market.plan.markets
    np.testing.assert_allclose(by_step, said.net, atol=1e-12, rtol=0)
    assert abs(net.sum() / market.plan.markets - said.income) < 1e-9


@AGENTS
def test_many_episodes_at_once_earn_the_same(room, market, agent):
    actions = agent(market)
    env = room.MarketVectorEnv(market, len(room.Episodes(market)), cost=COST)
    said = trade(market.by_row(np.array(POSITIONS)[actions]), market.plan, fee=COST)
    assert abs(play_together(env, actions).sum() / market.plan.markets - said.income) < 1e-9


def test_the_reward_leaves_out_the_closing_only_where_an_episode_is_truncated(room, market):
    actions = np.full(len(market.plan.rows), 2)
    rewards, net = play_apart(room.MarketEnv(market, cost=COST), actions)
    cut = market.plan.ends & ~market.closes
    assert 0 < cut.sum() < market.plan.ends.sum()
    np.testing.assert_allclose(rewards - net, np.where(cut, COST, 0), atol=1e-12)


def test_a_gap_ends_an_episode_and_a_missing_outcome_cuts_it(room):
    times = START + HOUR * np.array([0, 1, 5, 6, 7])
    market = market_of([0.0, 1, 2, 3, 4], [0.01, 0.02, 0.03, np.nan, 0.05], times=times)
    env = room.MarketEnv(market, cost=COST)
    env.reset(options={"episode": 0})
    assert env.step(2)[1:4] == (pytest.approx(0.01 - COST), False, False)
    seen, *rest = env.step(0)
    assert rest[:3] == [pytest.approx(-0.02 - 3 * COST), True, False]
    assert seen[-1] == 0  # closed
    env.reset(options={"episode": 1})
    seen, *rest = env.step(2)
    assert rest[:3] == [pytest.approx(0.03 - COST), False, True]
    assert seen[-1] == 1  # held on
    mean, deviation = scaling(market.turn_states)
    assert seen[0] == scaled(market.states, mean, deviation)[3, 0]  # what is known an hour later


def test_the_checker_of_gymnasium_has_nothing_to_say(room, market):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(room.MarketEnv(market), skip_render_check=True)


def test_the_observations_of_many_are_those_of_one(room, market):
    count = len(room.Episodes(market))
    single, vector = room.MarketEnv(market, cost=COST), room.MarketVectorEnv(market, count, cost=COST)
    seen, info = vector.reset(options={"episode": np.arange(count)})
    assert seen in vector.observation_space
    actions = at_random(market)[info["turn"]]
    after, rewards, terminated, truncated, _ = vector.step(actions)
    for episode in range(count):
        np.testing.assert_array_equal(single.reset(options={"episode": episode})[0], seen[episode])
        found = single.step(actions[episode])
        np.testing.assert_array_equal(found[0], after[episode])
        assert found[1:4] == (rewards[episode], terminated[episode], truncated[episode])


def test_an_episode_after_another_begins_flat_and_earns_nothing_at_first(room):
    times = START + HOUR * np.array([0, 5, 10, 15])
    market = market_of([1.0, 2, 3, 4], [0.01] * 4, times=times)
    env = room.MarketVectorEnv(market, 2, cost=COST)
    env.reset(seed=3)
    first = env.step(np.array([2, 2]))
    assert (first[2] | first[3]).all()
    seen, rewards, terminated, truncated, info = env.step(np.array([2, 2]))
    assert seen[:, -1].tolist() == [0, 0]
    assert rewards.tolist() == info["net"].tolist() == [0, 0]
    assert not (terminated | truncated).any()


def test_a_seed_says_which_episodes_come(room, market):
    def turns(seed):
        single, vector = room.MarketEnv(market), room.MarketVectorEnv(market, 3)
        drawn = [single.reset(seed=seed if not number else None)[1]["turn"] for number in range(10)]
        return drawn, vector.reset(seed=seed)[1]["turn"].tolist()

    assert turns(1) == turns(1)
    assert turns(1) != turns(2)


@pytest.mark.parametrize("action", [3, -1, 0.5])
def test_an_action_that_is_no_position_is_refused(room, market, action):
    env = room.MarketEnv(market)
    env.reset(seed=0)
    with pytest.raises(SettingsError, match="from 0 to 2"):
        env.step(action)


def test_a_step_after_the_end_asks_for_a_reset(room, market):
    import gymnasium

    with pytest.raises(gymnasium.error.ResetNeeded):
        room.MarketEnv(market).step(0)


def test_a_market_without_turns_is_refused(room):
    with pytest.raises(SettingsError, match="more rows"):
        room.MarketEnv(market_of([0.0, 1.0], [np.nan, np.nan]))


def test_without_gymnasium_one_line_names_the_extra():
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from deeptrade.errors import SettingsError\n"
        "try:\n    import deeptrade.trading.environment\n"
        "except SettingsError as error:\n    print(error)"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert text.count("\n") == 1
    assert "deeptrade[gym]" in text
