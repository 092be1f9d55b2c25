"""What an agent may know at a row: forecasts, how volatile the market has been, and the time of day and week."""

from __future__ import annotations

import numpy as np

from ..sources.time_order import rows_by_market
from ..times import SECOND

VOLATILITY_ROWS, LEAST_RETURNS = 50, 10
"""Returns that make up a row's volatility, and how many of them must be known."""

_DAY, _WEEK = 86_400 * SECOND, 7 * 86_400 * SECOND


def columns(horizons: int) -> list[str]:
    """Return the names of the numbers in a state, in order."""
    return [*(f"f_{step}" for step in range(1, horizons + 1)), "log_volatility", *_CLOCK]


_CLOCK = ("day_sin", "day_cos", "week_sin", "week_cos")


def make_states(forecasts: np.ndarray, times: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """Return what an agent knows at each row, float32 (rows, horizons + 5), in the order of `columns`.

    forecasts: float (rows, horizons), in units of returns. times: int64 ns UTC (rows,). volatility: float (rows,), that
    of `realised_volatility`. What is not known is NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm = np.log(np.where(volatility > 0, volatility, np.nan))
    angles = [2 * np.pi * (times % period) / period for period in (_DAY, _WEEK)]
    clock = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.column_stack([forecasts, logarithm, *clock]).astype(np.float32)


def realised_volatility(times: np.ndarray, markets: np.ndarray, returns: np.ndarray, *, target_step: int) -> np.ndarray:
    """Return the root mean square of the latest returns that are known at each row, float64 (rows,).

    times: int64 ns (rows,). markets: names (rows,). returns: float (rows,), one step ahead, NaN where missing: that of
    a row is known `target_step` ns after it. NaN where fewer than LEAST_RETURNS of the latest VOLATILITY_ROWS are.
    """
    found = np.full(len(times), np.nan)
    for _, rows in rows_by_market(markets):
        rows = rows[np.argsort(times[rows], kind="stable")]
        known = rows[np.isfinite(returns[rows])]
        squares = np.concatenate([[0.0], np.cumsum(returns[known].astype(np.float64) ** 2)])
        end = np.searchsorted(times[known] + target_step, times[rows], side="right")
        begin = np.maximum(0, end - VOLATILITY_ROWS)
        count = end - begin
        mean = (squares[end] - squares[begin]) / np.maximum(1, count)
        found[rows] = np.where(count >= LEAST_RETURNS, np.sqrt(np.maximum(0, mean)), np.nan)
    return found


def scaling(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of every column over rows where it is known, float32 (columns,) each.

    A column that does not vary has the deviation 0, one that is never known has the mean 0 as well.
    """
    known = np.isfinite(states)
    counts = np.maximum(1, known.sum(axis=0))
    mean = np.where(known, states, 0).sum(axis=0, dtype=np.float64) / counts
    deviation = np.sqrt((np.where(known, states - mean, 0.0) ** 2).sum(axis=0) / counts)
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    return mean.astype(np.float32), np.where(varies, deviation, 0).astype(np.float32)


def scaled(states: np.ndarray, mean: np.ndarray, deviation: np.ndarray, *, most: float = 10.0) -> np.ndarray:
    """Return states in standard deviations from the mean, float32, at most `most`; 0 for what is not known."""
    varies = deviation > 0
    distance = (states - mean) / np.where(varies, deviation, 1)
    return np.clip(np.where(varies & np.isfinite(distance), distance, 0), -most, most).astype(np.float32)
