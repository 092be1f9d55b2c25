import numpy as np

from deeptrade.trading.market import make_market
from tests.support.agents import HOUR, START, judged_of, market_of


def test_every_row_is_a_turn_that_the_next_row_follows():
    market = market_of(np.arange(5.0), [0.1, 0.2, 0.3, 0.4, 0.5])
    assert market.plan.rows.tolist() == [0, 1, 2, 3, 4]
    assert market.following.tolist() == [1, 2, 3, 4, -1]
    assert not market.closes.any()
    assert market.teaches.tolist() == [True, True, True, True, False]


def test_before_a_gap_the_position_is_closed_and_nothing_follows():
    times = START + HOUR * np.array([0, 1, 2, 5, 6])
    market = market_of(np.arange(5.0), np.ones(5) / 100, times=times)
    assert market.following.tolist() == [1, 2, -1, 4, -1]
    assert market.closes.tolist() == [False, False, True, False, False]
    assert market.plan.ends.tolist() == [False, False, True, False, True]


def test_a_missing_target_cuts_the_episode_but_the_state_it_ends_in_is_known():
    market = market_of(np.arange(5.0), [0.1, 0.2, np.nan, 0.4, 0.5])
    assert market.plan.rows.tolist() == [0, 1, 3, 4]
    assert market.following.tolist() == [1, 2, 4, -1]
    assert not market.closes.any()
    assert market.plan.ends.tolist() == [False, True, False, True]


def test_no_turn_is_followed_by_a_row_of_another_market():
    markets = ["A", "B"] * 4
    times = START + HOUR * np.repeat(np.arange(4), 2)
    market = market_of(np.arange(8.0), np.ones(8) / 100, times=times, markets=markets)
    for turn, after in zip(market.plan.rows, market.following, strict=True):
        assert after == -1 or market.judged.markets[turn] == market.judged.markets[after]
    assert sorted(market.following.tolist()) == [-1, -1, 2, 3, 4, 5, 6, 7]


def test_rows_closer_together_than_a_step_take_turns_without_overlap():
    judged = judged_of(np.arange(6.0), np.ones(6) / 100)
    market = make_market(judged, np.zeros((6, 1), np.float32), target_step=2 * HOUR)
    assert market.plan.rows.tolist() == [0, 2, 4]
    assert market.following.tolist() == [2, 4, -1]


def test_positions_by_turn_stand_at_their_rows():
    market = market_of(np.arange(4.0), [0.1, np.nan, 0.3, 0.4])
    assert market.by_row(np.array([1, -1, 1])).tolist() == [1, 0, -1, 1]
