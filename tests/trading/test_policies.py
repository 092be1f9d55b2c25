import itertools

import numpy as np
import pytest

from deeptrade.judging.trades import trade
from deeptrade.trading.policies import cautious, follow, greedy, hindsight, shifted
from tests.support.agents import HOUR, POSITIONS, START, gappy_market, market_of, plain_income

COST = 0.002


def test_a_replay_equals_a_plain_loop():
    market = gappy_market()
    held = np.random.default_rng(1).choice(POSITIONS, len(market.plan.rows))
    found = trade(market.by_row(held), market.plan, fee=COST).income
    assert found == pytest.approx(plain_income(market, held, COST), abs=1e-12)


def test_following_a_table_takes_each_position_from_the_one_before():
    market = gappy_market()
    table = np.random.default_rng(2).integers(0, 3, (len(market.plan.rows), 3))
    found, before = follow(table, market.plan, POSITIONS), 1
    for turn, choices in enumerate(table):
        before = choices[1 if market.plan.begins[turn] else before]
        assert found[turn] == POSITIONS[before]


def test_the_greedy_position_is_worth_most_after_the_cost_of_getting_there():
    values = np.random.default_rng(3).normal(0, 1, (50, 3))
    table = greedy(values, POSITIONS, cost=0.7)
    for row, held in itertools.product(range(50), range(3)):
        net = [values[row, to] - 0.7 * abs(POSITIONS[to] - POSITIONS[held]) for to in range(3)]
        assert table[row, held] == int(np.argmax(net))


def test_among_equal_values_a_position_stays_and_then_flat_is_taken():
    assert greedy(np.zeros((1, 3)), POSITIONS, cost=0.0).tolist() == [[0, 1, 2]]
    assert greedy(np.array([[1.0, 1.0, 0.0]]), POSITIONS, cost=0.0).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("cost", [0.0, 0.002, 0.02])
def test_hindsight_equals_the_best_of_all_ways(cost):
    times = START + HOUR * np.array([0, 1, 2, 5, 6, 7, 8])
    market = market_of(np.zeros(7), np.random.default_rng(4).normal(0, 0.01, 7), times=times)
    best = max(
        trade(market.by_row(np.array(held)), market.plan, fee=cost).income
        for held in itertools.product(POSITIONS, repeat=7)
    )
    found = trade(market.by_row(hindsight(market.plan, POSITIONS, cost=cost)), market.plan, fee=cost).income
    assert found == pytest.approx(best, abs=1e-12)


def test_shifted_positions_are_the_same_ones_at_other_times():
    held = np.array([0, 1, 1, 0, -1, 0])
    one_market = np.full(6, "", object)
    found = shifted(held, one_market, 20, seed=0)
    assert {tuple(one) for one in found} <= {tuple(np.roll(held, step)) for step in range(1, 6)}
    assert len({tuple(one) for one in found}) == 5
    assert np.array_equal(found, shifted(held, one_market, 20, seed=0))


def test_positions_are_shifted_within_their_market():
    held, markets = np.array([1, 0, 0, -1, 0, 0]), np.array(["A"] * 3 + ["B"] * 3, object)
    for one in shifted(held, markets, 10, seed=1):
        assert sorted(one[:3].tolist()) == [0, 0, 1]
        assert sorted(one[3:].tolist()) == [-1, 0, 0]


def test_doubt_among_networks_is_taken_off_what_a_position_is_worth():
    values = np.array([[[1.0, 0.0, 3.0]], [[3.0, 0.0, 3.0]]])
    assert cautious(values, caution=1.0).tolist() == [[1.0, 0.0, 3.0]]
    assert cautious(values, caution=0.0).tolist() == [[2.0, 0.0, 3.0]]
