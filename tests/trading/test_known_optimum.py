"""Agents on markets whose best policy is known by dynamic programming."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.linear_model import Ridge

from deeptrade.trading.policies import follow, greedy
from tests.support.agents import POSITIONS, Wave, learned_agent, market_of

COST = 0.001
UNSEEN = 20_000


def split_market(rows, inner, seed, wave=None):
    """Return the markets of training and inner rows whose state is the true signal."""
    wave = wave or Wave()
    signal = wave.signal(rows + inner, seed)
    returns = wave.returns(signal, seed)
    return market_of(signal[:rows], returns[:rows]), market_of(signal[rows:], returns[rows:])


def share_of_best(agent, seed, states=None, signal=None, cost=COST):
    """Return the expected income on unseen rows as a share of the best policy's; and of the best for one step."""
    wave = Wave()
    signal = wave.signal(UNSEEN, seed) if signal is None else signal
    market = market_of(signal if states is None else states, np.zeros(len(signal)))
    best = wave.best_income(signal, cost)
    one_step = follow(greedy(wave.edge * np.outer(signal, POSITIONS), POSITIONS, cost=cost), market.plan, POSITIONS)
    return wave.income(agent.play(market), signal, cost) / best, wave.income(one_step, signal, cost) / best


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_with_the_true_signal_it_earns_97_percent_of_the_optimum_and_more_than_the_best_for_one_step(seed):
    agent, chosen = learned_agent(*split_market(40_000, 6000, seed), cost=COST, seed=seed)
    assert chosen.evidence
    share, one_step = share_of_best(agent, 1000 + seed)
    assert share >= 0.97
    assert one_step < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_forecasts_learned_from_data_it_earns_85_percent_of_the_optimum(seed):
    """Ridge regressions on the past forecast returns 1, 3 and 10 steps on, from noisy views of the signal and their
    averages over time, as windows would show them."""
    wave, rows, inner = Wave(), 40_000, 6000
    signal = wave.signal(rows + inner + UNSEEN, seed)
    returns = wave.returns(signal, seed)
    draws = np.random.default_rng(900 + seed)
    views = signal[:, None] * draws.normal(size=(1, 20)) + draws.normal(0, 2.0, (len(signal), 20))
    features = np.concatenate([lfilter([1 - keep], [1, -keep], views, axis=0) for keep in (0.0, 0.5)], axis=1)
    ahead = np.stack([np.convolve(returns, np.ones(h), "full")[h - 1 :][: len(returns)] for h in (1, 3, 10)], axis=1)
    forecasts = np.zeros((len(signal), 3), np.float32)
    edges = [0, *(rows // 5 * part for part in range(1, 6)), rows + inner + UNSEEN]
    for begin, end in pairwise(edges[1:]):  # each part by what came before it
        past = slice(0, begin - 10)
        forecasts[begin:end] = Ridge(100.0).fit(features[past], ahead[past]).predict(features[begin:end])
    first = edges[1]
    train = market_of(forecasts[first:rows], returns[first:rows])
    chooser = market_of(forecasts[rows : rows + inner], returns[rows : rows + inner])
    agent, chosen = learned_agent(train, chooser, cost=COST, seed=seed)
    assert chosen.evidence
    share, _ = share_of_best(agent, seed, states=forecasts[rows + inner :], signal=signal[rows + inner :])
    assert share >= 0.85


def noise_market(seed):
    """Return markets whose state says nothing of their heavy-tailed returns; those of training rows have no mean."""
    signal = Wave().signal(10_000, seed)
    returns = 0.002 * np.random.default_rng(500 + seed).standard_t(4, 10_000)
    returns[:8000] -= returns[:8000].mean()
    return market_of(signal[:8000], returns[:8000]), market_of(signal[8000:], returns[8000:])


def share_flat(seed):
    agent, _ = learned_agent(*noise_market(seed), cost=COST, seed=seed)
    return (agent.play(market_of(Wave().signal(UNSEEN, 2000 + seed), np.zeros(UNSEEN))) == 0).mean()


def test_without_a_signal_it_stays_flat():
    assert share_flat(0) >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_a_signal_it_stays_flat_in_18_of_20_markets():
    assert sum(share_flat(seed) >= 0.95 for seed in range(20)) >= 18


@pytest.mark.slow
def test_without_a_fee_it_holds_the_sign_of_the_signal():
    agent, chosen = learned_agent(*split_market(20_000, 4000, 3), cost=0.0)
    assert chosen.evidence
    signal = Wave().signal(UNSEEN, 1003)
    held = agent.play(market_of(signal, np.zeros(UNSEEN)))
    assert (held == np.sign(signal))[np.abs(signal) > 0.15].mean() >= 0.97
    assert share_of_best(agent, 1003, cost=0.0)[0] >= 0.99


@pytest.mark.slow
def test_at_a_huge_fee_it_stays_flat():
    agent, _ = learned_agent(*split_market(8000, 2000, 4), cost=0.2)
    market = market_of(Wave().signal(UNSEEN, 1004), np.zeros(UNSEEN))
    assert (agent.play(market, gated=False) == 0).all()
