"""The size of forecasts, and intervals around them, learned on inner rows: what they support, and no more.

A network that fits noise forecasts returns several times too large. The slope of outcomes on forecasts says by how
much, horizon by horizon: where it is sure, forecasts are multiplied by it; where it is not, they shrink towards zero.
Squared and absolute errors must both support the size: returns have heavy tails, and a slope that a few of them make
can raise the absolute error above that of the forecast zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SHRINKAGE = 0.01
"""Forecasts never shrink further, so that their ranks stay."""

COVERAGE = 0.95
"""Nominal coverage of the intervals."""

LEAST_BLOCK, LEAST_BLOCKS = 20, 5
"""Rows of a market per block, or twice the overlap of targets if that is more; with fewer blocks the error of a slope
is not known."""


@dataclass(frozen=True)
class Calibration:
    """What inner rows say of forecasts, by horizon, as lists of floats.

    `slope` of outcomes on forecasts by squared errors, and its standard error `slope_error`, NaN where unknown;
    `shrinkage`, by which forecasts are multiplied, the smaller of what squared and absolute errors support;
    `half_width`, the outcome lies within so much of the shrunken forecast in COVERAGE of
    rows, infinite where there are too few.
    """

    rows: int
    slope: list[float]
    slope_error: list[float]
    shrinkage: list[float]
    half_width: list[float]


def calibrate(forecasts: np.ndarray, targets: np.ndarray, *, overlap: int, markets: int = 1) -> Calibration:
    """Return the calibration from inner rows in order of time: float (rows, horizons), NaN where missing.

    overlap: how many rows of its market follow a row before the end of its last target. markets: how many have rows
    side by side; a block of rows spans as much time as one of a single market.
    """
    rows, horizons = targets.shape
    block = markets * max(LEAST_BLOCK, 2 * overlap)
    pairs = [_known(forecasts[:, h], targets[:, h]) for h in range(horizons)]
    slopes = [_slope(*pair, block) for pair in pairs]
    factors = np.array(
        [min(shrinkage(*slope), _absolute(*pair, block)) for slope, pair in zip(slopes, pairs, strict=True)]
    )
    errors = np.abs(targets - factors * forecasts)
    return Calibration(
        rows,
        [slope for slope, _ in slopes],
        [error for _, error in slopes],
        factors.tolist(),
        [conformal_half_width(errors[:, h]) for h in range(horizons)],
    )


def shrinkage(slope: float, error: float) -> float:
    """Return the factor on forecasts: the slope, reduced as far as its standard error makes it doubtful.

    The positive part of the estimator of James and Stein (1961), slope (1 - (error / slope)²), between LEAST_SHRINKAGE
    and 1. A slope of less than one standard error, or below zero, supports nothing.

    >>> shrinkage(0.5, 0.1), shrinkage(0.05, 0.1), shrinkage(2.0, 0.1)
    (0.48, 0.01, 1.0)
    """
    if not (np.isfinite(error) and slope > error):
        return LEAST_SHRINKAGE
    return float(np.clip(slope * (1 - (error / slope) ** 2), LEAST_SHRINKAGE, 1.0))


def _known(forecast: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(forecast) & np.isfinite(target)
    return forecast[known].astype(float), target[known].astype(float)


def _slope(forecast: np.ndarray, target: np.ndarray, block: int) -> tuple[float, float]:
    """Return the slope of target on forecast through the origin, and its standard error from sums over blocks."""
    power = float(forecast @ forecast)
    if power == 0:
        return np.nan, np.nan
    slope = float(forecast @ target) / power
    return slope, _error_of_sum(forecast * (target - slope * forecast), block) / power


def _absolute(forecast: np.ndarray, target: np.ndarray, block: int) -> float:
    """Return the factor on forecasts that absolute errors support, reduced as `shrinkage` does.

    The line of least absolute errors through the origin: its slope is the median of target / forecast, each weighted by
    the size of the forecast (Laplace's method of situation). How sure its sign is follows from the sums over blocks of
    forecasts times the sign of the target, by which small forecasts lower the error.
    """
    if len(forecast) < LEAST_BLOCKS * block:
        return LEAST_SHRINKAGE
    gains, moving = np.sign(target) * forecast, forecast != 0
    total, error = float(gains.sum()), _error_of_sum(gains - gains.mean(), block)
    if total <= error:
        return LEAST_SHRINKAGE
    ratios, weights = target[moving] / forecast[moving], np.abs(forecast[moving])
    order = np.argsort(ratios)
    slope = float(ratios[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])
    return shrinkage(slope, slope * error / total)


def _error_of_sum(values: np.ndarray, block: int) -> float:
    """Return the standard error of the sum of values, float (rows,), from sums over blocks; NaN for too few."""
    blocks = len(values) // block
    if blocks < LEAST_BLOCKS:
        return np.nan
    sums = [part.sum() for part in np.array_split(values, blocks)]
    return float(np.sqrt(np.square(sums).sum() * blocks / (blocks - 1)))


def conformal_half_width(errors: np.ndarray) -> float:
    """Return the error that a new row stays within with probability COVERAGE, if it is exchangeable with these.

    errors: sizes, float (rows,), NaN where unknown. It is the ⌈(n + 1) COVERAGE⌉-th smallest of n (Papadopoulos et al.
    2002, "Inductive confidence machines for regression"), infinite where n is too small for that.
    """
    known = np.sort(errors[np.isfinite(errors)])
    rank = int(np.ceil((len(known) + 1) * COVERAGE))
    return float(known[rank - 1]) if rank <= len(known) else np.inf
