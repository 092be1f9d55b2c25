import numpy as np
import pandas as pd
import pytest

from deeptrade.making.indicators import (
    BREAK_NAME,
    CONTEXT_NAMES,
    INDICATOR_BARS,
    INDICATOR_NAMES,
    LONG,
    Indicators,
    context,
    context_names,
)


@pytest.fixture
def bars():
    generator = np.random.default_rng(0)
    close = 100 * np.exp(generator.normal(0, 0.01, 400).cumsum())
    high, low = close * (1 + generator.random(400) * 0.01), close * (1 - generator.random(400) * 0.01)
    volume = generator.lognormal(3, 1, 400)
    amounts = [volume, volume * close, volume, volume * generator.random(400), volume]
    return np.column_stack([close, high, low, close, *amounts])


def by_name(values):
    return dict(zip(INDICATOR_NAMES, values, strict=True))


def test_there_are_21_indicators_and_11_context_numbers(bars):
    assert len(INDICATOR_NAMES) == len(set(INDICATOR_NAMES)) == len(Indicators()(bars[:INDICATOR_BARS])) == 21
    assert len(CONTEXT_NAMES) == len(set(CONTEXT_NAMES)) == 11
    assert len(context(bars, step_bars=4, seconds_of_day=0)) == 11
    assert len(context(bars[:, :5], step_bars=4, seconds_of_day=0)) == 9


def test_the_context_has_a_name_for_each_of_its_numbers(bars):
    for channels in (5, 9):
        numbers = context(bars[:, :channels], step_bars=4, seconds_of_day=0)
        names = context_names(channels, breaks=False)
        assert len(names) == len(numbers)
        assert names == CONTEXT_NAMES[: len(names)]
        assert context_names(channels, breaks=True) == (*names, BREAK_NAME)


def test_indicators_equal_their_textbook_formulas(bars):
    window = bars[:INDICATOR_BARS]
    found = by_name(Indicators()(window))
    high, low, close, volume = (pd.Series(window[:, channel]) for channel in (1, 2, 3, 4))
    mean, deviation = close.rolling(20).mean().iloc[-1], close.rolling(20).std(ddof=0).iloc[-1]
    change = close.diff()[1:]
    gain, loss = (_wilder(part.to_numpy(), 14) for part in (change.clip(lower=0), -change.clip(upper=0)))
    top, bottom = high.rolling(14).max().iloc[-1], low.rolling(14).min().iloc[-1]
    expected = {
        "sma_50": close.rolling(50).mean().iloc[-1],
        "bollinger_upper_20": mean + 2 * deviation,
        "bollinger_middle_20": mean,
        "bollinger_lower_20": mean - 2 * deviation,
        "rsi_14": 100 - 100 / (1 + gain / loss),
        "obv_change_14": (np.sign(close.diff()) * volume)[-14:].sum() / volume[-14:].sum(),
        "williams_r_14": -100 * (top - close.iloc[-1]) / (top - bottom),
        "ichimoku_conversion_9": (high.iloc[-9:].max() + low.iloc[-9:].min()) / 2,
        "ichimoku_base_26": (high.iloc[-26:].max() + low.iloc[-26:].min()) / 2,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def _wilder(values, period):
    average = values[:period].mean()
    for value in values[period:]:
        average += (value - average) / period
    return average


def test_context_equals_plain_spelling(bars):
    step = 4
    found = dict(zip(CONTEXT_NAMES, context(bars, step_bars=step, seconds_of_day=6 * 3600), strict=True))
    close, volume, taker = bars[:, 3], bars[:, 4], bars[:, 7]
    assert found["log_return_12_steps"] == pytest.approx(np.log(close[-1] / close[-1 - 12 * step]))
    assert found["volatility_72_steps"] == pytest.approx(np.diff(np.log(close[-LONG * step - 1 :])).std())
    assert found["relative_volume_1_step"] == pytest.approx(volume[-4:].sum() / (volume[-288:].sum() / 72))
    assert found["taker_buy_share_1_step"] == pytest.approx(taker[-4:].sum() / volume[-4:].sum())
    assert (found["sin_hour"], found["cos_hour"]) == pytest.approx((1, 0), abs=1e-12)


def test_a_share_of_no_volume_is_not_a_number(bars):
    bars[:, 4:] = 0
    found = dict(zip(CONTEXT_NAMES, context(bars, step_bars=4, seconds_of_day=0), strict=True))
    assert np.isnan(found["taker_buy_share_1_step"])
    assert np.isnan(found["relative_volume_1_step"])


def test_no_indicator_depends_on_where_its_bars_start(bars):
    late, early = (by_name(Indicators()(bars[start : start + 241])) for start in (0, 1))
    assert late["obv_change_14"] != early["obv_change_14"]
    scaled = by_name(Indicators()(bars[:241] * np.array([1, 1, 1, 1, 7, 7, 7, 7, 7])))
    assert scaled["obv_change_14"] == pytest.approx(late["obv_change_14"])
    assert abs(late["obv_change_14"]) <= 1


@pytest.mark.parametrize("window", [1, 20, 64, 120, 241, 300])
def test_an_indicator_is_a_function_of_a_fixed_number_of_bars(bars, window):
    compute = Indicators(window)
    np.testing.assert_array_equal(compute(bars), compute(bars[-compute.bars :]))
    changed = bars.copy()
    changed[: -compute.bars] *= 3
    np.testing.assert_array_equal(compute(bars), compute(changed))


def test_indicators_of_short_windows_differ_from_those_of_long_ones_by_what_they_start_with(bars):
    short, long = (by_name(Indicators(window)(bars)) for window in (20, 241))
    for name in ("rsi_14", "macd_12_26", "adx_14", "atr_14", "ema_20", "ema_50", "cci_20", "sma_50", "parabolic_sar"):
        assert short[name] == pytest.approx(long[name], rel=3e-3), name


def test_an_indicator_without_enough_bars_is_not_a_number(bars):
    found = by_name(Indicators(64)(bars[:64]))
    missing = {name for name, value in found.items() if np.isnan(value)}
    assert missing == {
        "rsi_14", "macd_12_26", "macd_histogram_9", "adx_14", "atr_14", "ema_20", "ema_50", "parabolic_sar"
    }  # fmt: skip
