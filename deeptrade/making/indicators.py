"""The numbers a row holds besides its windows: technical indicators per timeframe, and the context at its time."""

from __future__ import annotations

import numpy as np

INDICATOR_BARS = 241
"""Indicators are computed from exactly this many bars, so that they depend only on a row's own past; the starting value
then makes up less than 0.1% of a 50-bar exponential average."""

INDICATOR_NAMES = (
    "rsi_14",
    "macd_12_26",
    "macd_histogram_9",
    "bollinger_upper_20",
    "bollinger_middle_20",
    "bollinger_lower_20",
    "stochastic_k_14_3",
    "stochastic_d_3",
    "adx_14",
    "obv",
    "atr_14",
    "sma_20",
    "sma_50",
    "ema_20",
    "ema_50",
    "cci_20",
    "mfi_14",
    "williams_r_14",
    "ichimoku_conversion_9",
    "ichimoku_base_26",
    "parabolic_sar",
)

SHORT, MIDDLE, LONG = 3, 12, 72
"""Context looks back 1, 3, 12 and 72 steps: 20 minutes, 1, 4 and 24 hours at the usual step."""

CONTEXT_NAMES = (
    "log_return_1_step",
    "log_return_3_steps",
    "log_return_12_steps",
    "log_return_72_steps",
    "volatility_12_steps",
    "volatility_72_steps",
    "relative_volume_1_step",
    "sin_hour",
    "cos_hour",
    "taker_buy_share_1_step",
    "taker_buy_share_12_steps",
)

HIGH, LOW, CLOSE, VOLUME, TAKER_VOLUME = 1, 2, 3, 4, 7


def indicators(bars: np.ndarray) -> np.ndarray:
    """Return the 21 indicators after the last bar, float64 (21,), NaN where undefined.

    `bars` is float64 (bars, channels) with open, high, low, close, volume first, oldest bar first. The formulas
    are TA-Lib's; Ichimoku's lines are the middle of the highest high and the lowest low.
    """
    import talib

    high, low, close, volume = (np.ascontiguousarray(bars[:, channel]) for channel in (HIGH, LOW, CLOSE, VOLUME))
    macd, _, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    fast, slow = talib.STOCH(high, low, close, 14, slowk_period=3, slowd_period=3)
    series = (
        talib.RSI(close, 14),
        macd,
        histogram,
        upper,
        middle,
        lower,
        fast,
        slow,
        talib.ADX(high, low, close, 14),
        talib.OBV(close, volume),
        talib.ATR(high, low, close, 14),
        middle,
        talib.SMA(close, 50),
        talib.EMA(close, 20),
        talib.EMA(close, 50),
        talib.CCI(high, low, close, 20),
        talib.MFI(high, low, close, volume, 14),
        talib.WILLR(high, low, close, 14),
        talib.MIDPRICE(high, low, 9),
        talib.MIDPRICE(high, low, 26),
        talib.SAR(high, low, 0.02, 0.2),
    )
    return np.array([values[-1] for values in series])


def context(bars: np.ndarray, *, step_bars: int, seconds_of_day: float) -> np.ndarray:
    """Return the context after the last bar, float64 (11,), or (9,) where bars have no taker volume.

    `bars` is float64 (72 * step_bars + 1 or more, channels) at the source's own interval, of which step_bars make
    one step; `seconds_of_day` is UTC. A share of no volume is NaN.
    """
    close, volume = bars[:, CLOSE], bars[:, VOLUME]
    log_close = np.log(close[-LONG * step_bars - 1 :])
    returns = np.diff(log_close)
    angle = 2 * np.pi * seconds_of_day / 86_400
    long_volume = volume[-LONG * step_bars :].sum() / LONG
    numbers = [log_close[-1] - log_close[-1 - steps * step_bars] for steps in (1, SHORT, MIDDLE, LONG)]
    numbers += [returns[-MIDDLE * step_bars :].std(), returns.std()]
    numbers += [_share(volume[-step_bars:].sum(), long_volume), np.sin(angle), np.cos(angle)]
    if bars.shape[1] > TAKER_VOLUME:
        taker = bars[:, TAKER_VOLUME]
        for steps in (1, MIDDLE):
            span = slice(-steps * step_bars, None)
            numbers.append(_share(taker[span].sum(), volume[span].sum()))
    return np.array(numbers)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan
