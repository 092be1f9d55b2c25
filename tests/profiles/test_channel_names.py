import numpy as np
import pytest

from deeptrade.making.indicators import CONTEXT_NAMES, INDICATOR_NAMES
from deeptrade.making.kline_columns import CHANNELS
from deeptrade.profiles.channel_names import are_klines, channel_names
from deeptrade.sources.schema import Feature
from deeptrade.sources.statistics import FeatureStatistics

KLINES = np.array([[10, 12, 9, 11, 5, 50, 3, 2, 20], [11, 13, 10, 12, 0, 0, 0, 0, 0]], np.float32)


def statistics(low, high):
    low, high = np.asarray(low, float), np.asarray(high, float)
    return FeatureStatistics(
        known=np.full(len(low), 9), mean=(low + high) / 2, std=high - low, minimum=low, maximum=high
    )


def names(feature, *, low=(), high=(), last=KLINES):
    return channel_names(feature, statistics(low, high), np.asarray(last, np.float32))


def test_windows_whose_prices_are_in_order_have_the_names_of_klines():
    assert names(Feature("arr_x", (241, 9))) == list(CHANNELS)
    assert names(Feature("arr_x", (241, 5)), last=KLINES[:, :5]) == ["open", "high", "low", "close", "volume"]


@pytest.mark.parametrize("broken", [[10, 9, 9, 11, 5], [10, 12, 11, 11, 5], [-1, 2, -3, 1, 5], [np.nan] * 5])
def test_windows_that_cannot_be_klines_have_no_names(broken):
    assert names(Feature("arr_5m", (241, 5)), last=[broken]) == []
    assert not are_klines(np.array([broken], float))


def test_indicators_and_context_are_named_where_their_values_are_possible():
    low, high = np.zeros(63), np.full(63, 0.5)
    low[[INDICATOR_NAMES.index("williams_r_14") + 21 * time for time in range(3)]] = -1
    high[[INDICATOR_NAMES.index("williams_r_14") + 21 * time for time in range(3)]] = -0.5
    found = names(Feature("arr_ta_63", (63,)), low=low, high=high)
    assert (found[0], found[21], len(found)) == ("rsi_14, timeframe 1", "rsi_14, timeframe 2", 63)
    low[0] = -5
    assert names(Feature("arr_ta_63", (63,)), low=low, high=high) == []
    assert names(Feature("arr_ctx_11", (11,)), low=np.zeros(11), high=np.ones(11)) == list(CONTEXT_NAMES)


def test_other_features_have_no_names():
    assert names(Feature("arr_santiment", (12,)), low=np.zeros(12), high=np.ones(12)) == []
    assert names(Feature("arr_ta_20", (20,)), low=np.zeros(20), high=np.ones(20)) == []
