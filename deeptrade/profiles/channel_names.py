"""Names of channels, where the file's own numbers bear them out.

A file has names of features, not of channels. Features named like those of `build` and `synth` get the names of their
layout, if what is in them can be that: prices in order, an index of strength between 0 and 100. Others get none.
"""

from __future__ import annotations

import re

import numpy as np

from ..making.indicators import INDICATOR_NAMES, VOLUME, context_names
from ..making.kline_columns import CHANNELS
from ..sources.schema import Feature
from ..sources.statistics import FeatureStatistics

_BOUNDS = {
    "rsi_14": (0, 100),
    "mfi_14": (0, 100),
    "stochastic_k_14_3": (0, 100),
    "williams_r_14": (-100, 0),
    "obv_change_14": (-1, 1),
    "sin_hour": (-1, 1),
    "cos_hour": (-1, 1),
    "volatility_12_steps": (0, np.inf),
    "taker_buy_share_1_step": (0, 1),
}
"""What values of some channels lie between."""

_ROUNDING = 1e-3


def channel_names(feature: Feature, statistics: FeatureStatistics, last: np.ndarray) -> list[str]:
    """Return the names of a feature's channels, [] where they are not known.

    statistics are of all its numbers, `last` are last steps of some rows, float32 (rows, channels).
    """
    if feature.is_sequence:
        return list(CHANNELS[: feature.channels]) if are_klines(last) else []
    for prefix, names in (("arr_ta_", _indicators(feature.channels)), ("arr_ctx_", _context(feature.channels))):
        if re.fullmatch(rf"{prefix}\d+", feature.name) and names and _are_within(names, statistics):
            return names
    return []


def are_klines(steps: np.ndarray) -> bool:
    """Return whether steps, float (steps, channels), can be open, high, low, close and volume, and what goes with them.

    Steps in which one of these five is missing are left out; there must be one without.
    """
    if not VOLUME < steps.shape[1] <= len(CHANNELS):
        return False
    known = steps[np.isfinite(steps[:, : VOLUME + 1]).all(axis=1)]
    first, high, low, close, volume = known[:, : VOLUME + 1].T
    highest, lowest = np.maximum(first, close), np.minimum(first, close)
    in_order = (high >= highest) & (low <= lowest) & (low > 0) & (volume >= 0)
    return bool(len(known) and in_order.all())


def _indicators(channels: int) -> list[str]:
    """Return the names of so many indicators: those of every timeframe in turn."""
    times, rest = divmod(channels, len(INDICATOR_NAMES))
    if rest or not times:
        return []
    return [f"{name}, timeframe {time + 1}" if times > 1 else name for time in range(times) for name in INDICATOR_NAMES]


def _context(channels: int) -> list[str]:
    layouts = (context_names(bars, breaks=breaks) for bars in (len(CHANNELS), VOLUME + 1) for breaks in (False, True))
    return next((list(names) for names in layouts if len(names) == channels), [])


def _are_within(names: list[str], statistics: FeatureStatistics) -> bool:
    """Return whether every channel with bounds keeps within them, to rounding."""
    for name, low, high in zip(names, statistics.minimum, statistics.maximum, strict=True):
        least, most = _BOUNDS.get(name.partition(",")[0], (-np.inf, np.inf))
        if low < least - _ROUNDING or high > most + _ROUNDING:
            return False
    return True
