"""The numbers a row holds besides its windows: technical indicators per timeframe, and the context at its time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

INDICATOR_BARS = 241
"""The most bars an indicator is computed from: the starting value then makes up less than 0.1% of a 50-bar exponential
average."""

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
    "obv_change_14",
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

"""On-balance volume has no level of its own, for it starts at 0 wherever its first bar is: `obv_change_14` is its
change over 14 bars divided by the volume of those bars, from -1 (every close fell) to 1 (every close rose)."""

SHORT, MIDDLE, LONG = 3, 12, 72
"""Context looks back 1, 3, 12 and 72 steps: 20 minutes, 1, 4 and 24 hours at the usual step."""

_TAKER_NAMES = ("taker_buy_share_1_step", "taker_buy_share_12_steps")
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
    *_TAKER_NAMES,
)
"""The context; without taker volumes the last two are absent."""

BREAK_NAME = "steps_since_break"
"""One number more, the last, where windows may cross the breaks of a session market: trading steps since the latest
break, at most 72, which says that nothing the context looks back on crossed one."""

HIGH, LOW, CLOSE, VOLUME, TAKER_VOLUME = 1, 2, 3, 4, 7


def context_names(channels: int, *, breaks: bool) -> tuple[str, ...]:
    """Return the names of the context's numbers for bars of so many channels, whose windows cross breaks or not.

    >>> len(context_names(9, breaks=False)), len(context_names(5, breaks=True))
    (11, 10)
    """
    names = CONTEXT_NAMES if channels > TAKER_VOLUME else CONTEXT_NAMES[: -len(_TAKER_NAMES)]
    return (*names, BREAK_NAME) if breaks else names


@dataclass(frozen=True)
class _Family:
    """Indicators that are computed together: their names, the bars they need, and their latest values."""

    names: tuple[str, ...]
    bars: int
    values: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Sequence[float]]


def _families() -> tuple[_Family, ...]:
    """The indicators by TA-Lib's functions, with the bars from which each is computed at least.

    Those with an endless memory get so many that the value they start with weighs at most 0.1%: (1 - 2/51)^173 for
    ema_50 after its first 50 bars, (13/14)^94 for Wilder's averages, twice such for adx_14. The parabolic SAR forgets
    all at its second turn, which comes within 120 bars in nearly every market.
    """
    import talib

    def plain(name: str) -> Callable:
        """TA-Lib's own function: the wrapper around it looks for tables of pandas, which takes as long as the work."""
        return inspect.unwrap(getattr(talib, name))

    rsi, adx, atr, sma, ema, cci = map(plain, ("RSI", "ADX", "ATR", "SMA", "EMA", "CCI"))
    mfi, willr, midprice, sar = map(plain, ("MFI", "WILLR", "MIDPRICE", "SAR"))
    macds, bbands, stoch = map(plain, ("MACD", "BBANDS", "STOCH"))

    def macd(high, low, close, volume):
        line, _, histogram = macds(close, 12, 26, 9)
        return line[-1], histogram[-1]

    def bands(high, low, close, volume):
        upper, middle, lower = bbands(close, 20, 2.0, 2.0)
        return upper[-1], middle[-1], lower[-1], middle[-1]

    def stochastic(high, low, close, volume):
        fast, slow = stoch(high, low, close, 14, slowk_period=3, slowd_period=3)
        return fast[-1], slow[-1]

    return (
        _Family(("rsi_14",), 109, lambda h, lo, c, v: (rsi(c, 14)[-1],)),
        _Family(("macd_12_26", "macd_histogram_9"), 124, macd),
        _Family(("bollinger_upper_20", "bollinger_middle_20", "bollinger_lower_20", "sma_20"), 20, bands),
        _Family(("stochastic_k_14_3", "stochastic_d_3"), 18, stochastic),
        _Family(("adx_14",), 154, lambda h, lo, c, v: (adx(h, lo, c, 14)[-1],)),
        _Family(("obv_change_14",), 15, lambda h, lo, c, v: (_obv_change(c[-15:], v[-14:]),)),
        _Family(("atr_14",), 109, lambda h, lo, c, v: (atr(h, lo, c, 14)[-1],)),
        _Family(("sma_50",), 50, lambda h, lo, c, v: (sma(c, 50)[-1],)),
        _Family(("ema_20",), 90, lambda h, lo, c, v: (ema(c, 20)[-1],)),
        _Family(("ema_50",), 223, lambda h, lo, c, v: (ema(c, 50)[-1],)),
        _Family(("cci_20",), 20, lambda h, lo, c, v: (cci(h, lo, c, 20)[-1],)),
        _Family(("mfi_14",), 15, lambda h, lo, c, v: (mfi(h, lo, c, v, 14)[-1],)),
        _Family(("williams_r_14",), 14, lambda h, lo, c, v: (willr(h, lo, c, 14)[-1],)),
        _Family(("ichimoku_conversion_9",), 9, lambda h, lo, c, v: (midprice(h, lo, 9)[-1],)),
        _Family(("ichimoku_base_26",), 26, lambda h, lo, c, v: (midprice(h, lo, 26)[-1],)),
        _Family(("parabolic_sar",), 120, lambda h, lo, c, v: (sar(h, lo, 0.02, 0.2)[-1],)),
    )


def _obv_change(close: np.ndarray, volume: np.ndarray) -> float:
    """Volume of bars whose close rose less that of those whose close fell, over all of it."""
    return _share(float((np.sign(np.diff(close)) * volume).sum()), float(volume.sum()))


class Indicators:
    """The 21 indicators for windows of some length.

    Each is a function of a fixed number of bars, whatever lies before them: as many as the window has, up to
    INDICATOR_BARS, and at least those it needs. `bars` is the number for the one with the longest memory.
    """

    def __init__(self, window: int = INDICATOR_BARS):
        places = {name: index for index, name in enumerate(INDICATOR_NAMES)}
        least = min(window, INDICATOR_BARS)
        parts = [(max(least, family.bars), family, [places[name] for name in family.names]) for family in _families()]
        self.bars = max(count for count, _, _ in parts)
        self._by_count = {count: [part[1:] for part in parts if part[0] == count] for count, _, _ in parts}

    def __call__(self, bars: np.ndarray) -> np.ndarray:
        """Return the indicators after the last bar, float64 (21,), NaN where undefined or where bars are too few.

        `bars` is float64 (bars, channels) with open, high, low, close, volume first, oldest bar first. The formulas are
        TA-Lib's; Ichimoku's lines are the middle of the highest high and the lowest low.
        """
        series = [np.ascontiguousarray(bars[:, channel]) for channel in (HIGH, LOW, CLOSE, VOLUME)]
        found = [np.nan] * len(INDICATOR_NAMES)
        for count, parts in self._by_count.items():
            if count > len(bars):
                continue
            latest = [values[-count:] for values in series]
            for family, places in parts:
                for place, value in zip(places, family.values(*latest), strict=True):
                    found[place] = value
        return np.array(found)


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
