"""The size of forecasts, and intervals around them, learned on inner rows: what they support, and no more.

A network that fits noise forecasts returns several times too large. The slope of outcomes on forecasts says by how
much, horizon by horizon: where it is sure, forecasts are multiplied by it; where it is not, they shrink towards zero.
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

    `slope` of outcomes on forecasts and its standard error `slope_error`, NaN where unknown; `shrinkage`, by which
    forecasts are multiplied; `half_width`, the outcome lies within so much of the shrunken forecast in COVERAGE of
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
    slopes = [_slope(forecasts[:, h].astype(float), targets[:, h].astype(float), block) for h in range(horizons)]
    factors = np.array([shrinkage(*slope) for slope in slopes])
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


def _slope(forecast: np.ndarray, target: np.ndarray, block: int) -> tuple[float, float]:
    """Return the slope of target on forecast through the origin, and its standard error from sums over blocks."""
    known = np.isfinite(forecast) & np.isfinite(target)
    forecast, target = forecast[known], target[known]
    power, blocks = float(forecast @ forecast), len(forecast) // block
    if blocks < LEAST_BLOCKS or power == 0:
        return np.nan, np.nan
    slope = float(forecast @ target) / power
    scores = forecast * (target - slope * forecast)
    sums = [part.sum() for part in np.array_split(scores, blocks)]
    return slope, float(np.sqrt(np.square(sums).sum() * blocks / (blocks - 1)) / power)


def conformal_half_width(errors: np.ndarray) -> float:
    """Return the error that a new row stays within with probability COVERAGE, if it is exchangeable with these.

    errors: sizes, float (rows,), NaN where unknown. It is the ⌈(n + 1) COVERAGE⌉-th smallest of n (Papadopoulos et al.
    2002, "Inductive confidence machines for regression"), infinite where n is too small for that.
    """
    known = np.sort(errors[np.isfinite(errors)])
    rank = int(np.ceil((len(known) + 1) * COVERAGE))
    return float(known[rank - 1]) if rank <= len(known) else np.inf
