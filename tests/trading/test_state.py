import numpy as np

from deeptrade.trading.state import (
    LEAST_RETURNS,
    VOLATILITY_ROWS,
    columns,
    make_states,
    realised_volatility,
    scaled,
    scaling,
)
from tests.support.agents import HOUR, START

ROWS = 200
TIMES = START + HOUR * np.arange(ROWS)
NO_MARKET = np.full(ROWS, "", object)


def draw(seed=0):
    return np.random.default_rng(seed).normal(0, 0.01, ROWS)


def test_volatility_is_the_root_mean_square_of_the_latest_returns_that_are_known():
    returns = draw()
    found = realised_volatility(TIMES, NO_MARKET, returns, target_step=HOUR)
    for row in (LEAST_RETURNS, 60, 150, ROWS - 1):
        latest = returns[max(0, row - VOLATILITY_ROWS) : row]
        assert np.isclose(found[row], np.sqrt(np.mean(latest**2)), rtol=1e-9)
    assert np.isnan(found[:LEAST_RETURNS]).all()


def test_volatility_does_not_know_the_return_of_its_own_row_or_of_later_ones():
    returns = draw()
    before = realised_volatility(TIMES, NO_MARKET, returns, target_step=HOUR)
    returns[100:] = 5.0
    after = realised_volatility(TIMES, NO_MARKET, returns, target_step=HOUR)
    assert before[:101].tobytes() == after[:101].tobytes()
    assert before[101] != after[101]


def test_a_return_over_three_steps_is_known_only_after_three():
    returns = draw()
    before = realised_volatility(TIMES, NO_MARKET, returns, target_step=3 * HOUR)
    returns[100] = 5.0
    after = realised_volatility(TIMES, NO_MARKET, returns, target_step=3 * HOUR)
    assert np.flatnonzero(before != after)[LEAST_RETURNS + 2 :][0] == 103


def test_missing_returns_are_left_out_of_volatility():
    returns = draw()
    returns[50:60] = np.nan
    found = realised_volatility(TIMES, NO_MARKET, returns, target_step=HOUR)
    known = returns[:90][np.isfinite(returns[:90])][-VOLATILITY_ROWS:]
    assert np.isclose(found[90], np.sqrt(np.mean(known**2)))


def test_each_market_has_its_own_volatility():
    markets = np.where(np.arange(ROWS) % 2, "A", "B").astype(object)
    returns = np.where(markets == "A", 0.01, 0.03)
    found = realised_volatility(np.repeat(TIMES[::2], 2), markets, returns, target_step=HOUR)
    assert np.allclose(found[100:][markets[100:] == "A"], 0.01)
    assert np.allclose(found[100:][markets[100:] == "B"], 0.03)


def test_a_state_has_the_numbers_that_its_columns_name():
    forecasts = np.arange(6.0).reshape(2, 3)
    midnight = 86_400_000_000_000 * 20_000
    states = make_states(forecasts, np.array([midnight, midnight + 6 * HOUR]), np.array([np.e, 0.0]))
    names = columns(3)
    assert states.shape == (2, len(names))
    row = dict(zip(names, states[1].tolist(), strict=True))
    assert (row["f_1"], row["f_3"]) == (3.0, 5.0)
    assert np.isclose(row["day_sin"], 1.0)
    assert np.isnan(row["log_volatility"])
    assert np.isclose(states[0, names.index("log_volatility")], 1.0)


def test_scaled_columns_have_mean_0_and_deviation_1_and_what_is_unknown_is_0():
    states = np.random.default_rng(1).normal([5.0, -1e-3, 7.0], [2.0, 1e-4, 0.0], (500, 3)).astype(np.float32)
    states[3, 0] = np.nan
    mean, deviation = scaling(states)
    found = scaled(states, mean, deviation)
    assert np.allclose(found[:, :2].mean(axis=0), 0, atol=1e-2)
    assert np.allclose(found[:, :2].std(axis=0), 1, atol=1e-2)
    assert found[3, 0] == 0
    assert (found[:, 2] == 0).all()


def test_no_state_is_further_than_ten_deviations_from_the_mean():
    found = scaled(np.float32([[1e9], [-np.inf]]), np.float32([0]), np.float32([1]))
    assert found.tolist() == [[10.0], [0.0]]
