"""Score forecasts by horizon: errors, gains over baselines, correct directions, calibration, with 95% intervals.

Neighbouring rows share most of their targets, so intervals come from resampling blocks of rows, not rows (Künsch 1989,
"The jackknife and the bootstrap for general stationary observations"; blocks wrap around: Politis and Romano 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_json

RESAMPLES, LEAST_BLOCK, LEAST_BLOCKS = 1000, 20, 5
"""Bootstrap samples; minimum rows per block (or twice the horizons, if more); minimum blocks for an interval."""

CALIBRATION_GROUPS = 5
"""Groups of forecasts by size, with nearly equal numbers of rows."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval; bounds are None with fewer than LEAST_BLOCKS blocks to resample."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_above(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True)
class HorizonScore:
    """Scores of one horizon over the validation rows whose target is known.

    `mae` is by forecaster; `gain`, by baseline, is how much lower the model's MAE is as a share of the baseline's, over
    rows where both are known; `direction` is the share of correct signs; `calibration` holds (mean forecast, mean
    target) of CALIBRATION_GROUPS groups of forecasts in ascending order. None or empty where nothing is known.
    """

    horizon: int
    rows: int
    mae: dict[str, float | None]
    gain: dict[str, Interval | None]
    direction: Interval | None
    calibration: list[tuple[float, float]]


@dataclass(frozen=True)
class Evaluation:
    """Scores by horizon over all validation rows, and over those of each market; no markets where rows name none."""

    scores: list[HorizonScore]
    by_market: dict[str, list[HorizonScore]] = field(default_factory=dict)


def read_evaluation(path: Path, *, weights_sha256: str) -> Evaluation:
    """Return the scores in an evaluation.json; none where it is missing or is of other weights."""
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or content.get("weights_sha256") != weights_sha256:
        return Evaluation([])
    by_market = {market["name"]: _scores(market["horizons"]) for market in content.get("markets", [])}
    return Evaluation(_scores(content.get("horizons", [])), by_market)


def _scores(horizons: Sequence[dict[str, Any]]) -> list[HorizonScore]:
    def interval(content: dict[str, Any] | None) -> Interval | None:
        return None if content is None else Interval(**content)

    return [
        HorizonScore(
            **{name: one[name] for name in ("horizon", "rows", "mae")},
            gain={name: interval(content) for name, content in one["gain"].items()},
            direction=interval(one["direction"]),
            calibration=[(forecast, target) for forecast, target in one["calibration"]],
        )
        for one in horizons
    ]


def judge(
    forecasts: np.ndarray, targets: np.ndarray, others: Mapping[str, np.ndarray], *, overlap: int = 0, seed: int = 0
) -> list[HorizonScore]:
    """Return a score per horizon; arrays are float (rows, horizons) in order of time, NaN where not known.

    overlap: how many rows follow a row before the end of its last target (0: as many as there are horizons).
    """
    block = max(LEAST_BLOCK, 2 * (overlap or targets.shape[1]))
    scores = []
    for horizon in range(targets.shape[1]):
        target, forecast = targets[:, horizon].astype(float), forecasts[:, horizon].astype(float)
        known = np.isfinite(target) & np.isfinite(forecast)
        error = np.abs(target - forecast)
        mae: dict[str, float | None] = {"model": _mean(error[known])}
        gain: dict[str, Interval | None] = {}
        for name, other in others.items():
            both = known & np.isfinite(other[:, horizon])
            other_error = np.abs(target - other[:, horizon])
            mae[name] = _mean(other_error[both])
            gain[name] = _ratio(other_error[both] - error[both], other_error[both], block=block, seed=seed)
        signed = known & (target != 0) & (forecast != 0)
        agree = (np.sign(target) == np.sign(forecast))[signed].astype(float)
        direction = _ratio(agree, np.ones_like(agree), block=block, seed=seed)
        calibration = _calibration(forecast[known], target[known])
        scores.append(HorizonScore(horizon + 1, int(known.sum()), mae, gain, direction, calibration))
    return scores


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(numerator: np.ndarray, denominator: np.ndarray, *, block: int, seed: int) -> Interval | None:
    """Return sum(numerator) / sum(denominator) over rows, with its 2.5% and 97.5% quantiles over resampled blocks."""
    rows = len(numerator)
    if not rows or denominator.sum() == 0:
        return None
    value = float(numerator.sum() / denominator.sum())
    if rows < LEAST_BLOCKS * block:
        return Interval(value, None, None)
    starts = np.random.default_rng(seed).integers(0, rows, (RESAMPLES, -(-rows // block)))
    sums = [_block_sums(values, block)[starts].sum(axis=1) for values in (numerator, denominator)]
    ratios = np.divide(sums[0], sums[1], out=np.full(RESAMPLES, np.nan), where=sums[1] != 0)
    low, high = np.nanquantile(ratios, (0.025, 0.975))
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _block_sums(values: np.ndarray, length: int) -> np.ndarray:
    """Return the sum of `length` consecutive values from each position, wrapping around at the end."""
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: length - 1]]))])
    return running[length:] - running[:-length]


def _calibration(forecasts: np.ndarray, targets: np.ndarray) -> list[tuple[float, float]]:
    if len(forecasts) < CALIBRATION_GROUPS:
        return []
    groups = np.array_split(np.argsort(forecasts, kind="stable"), CALIBRATION_GROUPS)
    return [(float(forecasts[group].mean()), float(targets[group].mean())) for group in groups]
