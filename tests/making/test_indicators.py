import numpy as np
import pandas as pd
import pytest

from deeptrade.making.indicators import CONTEXT_NAMES, INDICATOR_BARS, INDICATOR_NAMES, LONG, context, indicators


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
    assert len(INDICATOR_NAMES) == len(set(INDICATOR_NAMES)) == len(indicators(bars[:INDICATOR_BARS])) == 21
    assert len(CONTEXT_NAMES) == len(set(CONTEXT_NAMES)) == 11
    assert len(context(bars, step_bars=4, seconds_of_day=0)) == 11
    assert len(context(bars[:, :5], step_bars=4, seconds_of_day=0)) == 9


def test_indicators_equal_their_textbook_formulas(bars):
    window = bars[:INDICATOR_BARS]
    found = by_name(indicators(window))
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
        "obv": volume[0] + (np.sign(close.diff()) * volume)[1:].sum(),
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
