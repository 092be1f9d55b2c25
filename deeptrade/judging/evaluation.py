"""How good forecasts are on the validation rows: against zero, the last value and a ridge regression, with intervals.

Neighbouring rows share most of their targets, so intervals come from resampling blocks of rows, not rows (Künsch 1989,
"The jackknife and the bootstrap for general stationary observations"; blocks wrap around: Politis and Romano 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..errors import DataError
from ..files import read_json, user_path, write_json
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from ..store.row_range import RowRange

RESAMPLES, LEAST_BLOCK, LEAST_BLOCKS, BINS = 1000, 20, 5, 5
"""Bootstrap samples; rows of a block at least (twice the horizons where that is more); blocks from which an interval is
given; groups of forecasts by size."""

RIDGE_ROWS = 20_000
"""Training rows, evenly spaced, that the ridge regression sees."""

READ_BYTES = 16 << 20
"""Bytes of rows read at once, of which only the last steps are kept."""

_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval; null bounds where there are less than LEAST_BLOCKS blocks to resample."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_above(self) -> bool:
        """Whether all of the interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether all of the interval is below zero."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True)
class HorizonScore:
    """One horizon on the validation rows whose target is known.

    `mae` by forecaster; `gain` by baseline, how much lower the model's MAE is as a share of the baseline's, over the
    rows where both are known; `direction`, the share of signs that agree; `calibration`, (mean forecast, mean target)
    of BINS groups of forecasts in ascending order. Null where nothing is known.
    """

    horizon: int
    rows: int
    mae: dict[str, float | None]
    gain: dict[str, Interval | None]
    direction: Interval | None
    calibration: list[tuple[float, float]]


def evaluate(run: str | Path, *, data: str | Path = "", seed: int = 0) -> list[HorizonScore]:
    """Judge the model of a run's folder (what `fit --out` left) on its validation rows; write evaluation.json there.

    `data` where it no longer lies where the run read it. Raises DataError where the run has no model.
    """
    from .predict import predict

    folder = TrainingFolder(user_path(run))
    result = read_json(folder.result)
    if result["status"] != "completed":
        raise DataError(f"{folder.folder} is not completed; run fit again to continue it, then evaluate")
    known = {name: value for name, value in result["settings"].items() if name in FitSettings.__dataclass_fields__}
    settings = FitSettings(**known)
    with open_dataset(
        data or settings.csv, store=settings.store, max_rows=settings.max_rows, max_bad_rows=settings.max_bad_rows
    ) as dataset:
        if result["data_id"] not in (dataset.data_id, *dataset.former_data_ids):
            raise DataError(f"{data or settings.csv} is not the data of this run; give the file it was trained on")
        split = dataset.split(settings.val_ratio)
        forecasts = predict(folder.model, dataset, split="validation", val_ratio=settings.val_ratio).to_numpy()
        rows = split.validation.numbers()
        targets = dataset.read_targets(rows)
        others = {
            "zero": np.zeros_like(targets),
            "last value": last_values(dataset, rows),
            "ridge": ridge_forecasts(dataset, split.train, split.validation, settings.feature_names),
        }
    scores = judge(forecasts, targets, others, seed=seed)
    content = {"schema_version": 1, "weights_sha256": result["weights_sha256"]}
    write_json(folder.evaluation, content | {"horizons": [asdict(score) for score in scores]})
    return scores


def read_scores(path: Path, *, weights_sha256: str) -> list[HorizonScore]:
    """Return the scores that `evaluate` wrote to an evaluation.json; none where there are none of these weights."""
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or content.get("weights_sha256") != weights_sha256:
        return []

    def interval(content: dict[str, Any] | None) -> Interval | None:
        return None if content is None else Interval(**content)

    return [
        HorizonScore(
            **{name: one[name] for name in ("horizon", "rows", "mae")},
            gain={name: interval(content) for name, content in one["gain"].items()},
            direction=interval(one["direction"]),
            calibration=[(forecast, target) for forecast, target in one["calibration"]],
        )
        for one in content.get("horizons", [])
    ]


def judge(
    forecasts: np.ndarray, targets: np.ndarray, others: Mapping[str, np.ndarray], *, seed: int = 0
) -> list[HorizonScore]:
    """Return a score per horizon; all arrays are float (rows, horizons) in file order, NaN where nothing is known."""
    block = max(LEAST_BLOCK, 2 * targets.shape[1])
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
    """sum(numerator) / sum(denominator) over rows, with the 2.5% and 97.5% quantiles over resampled blocks."""
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
    """The sum of `length` values from every place on, going on at the beginning behind the end."""
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[: length - 1]]))])
    return running[length:] - running[:-length]


def _calibration(forecasts: np.ndarray, targets: np.ndarray) -> list[tuple[float, float]]:
    if len(forecasts) < BINS:
        return []
    groups = np.array_split(np.argsort(forecasts, kind="stable"), BINS)
    return [(float(forecasts[group].mean()), float(targets[group].mean())) for group in groups]


def last_values(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return float32 (rows, horizons): for h steps ahead, the return over the last h steps that is known at the row.

    That is the target of the row h steps earlier; NaN where that row is rejected, or rows do not follow each other.
    """
    targets = np.full((len(rows), dataset.schema.horizons), np.nan, np.float32)
    times = dataset.read_times(rows)
    everyone = dataset.usable.numbers()
    step = np.median(np.diff(dataset.read_times(everyone[:1001]))) if len(everyone) > 1 else 0
    for horizon in range(1, dataset.schema.horizons + 1):
        earlier = rows - horizon
        there = (earlier >= 0) & np.isin(earlier, everyone)
        if not there.any():
            continue
        follows = times[there] - dataset.read_times(earlier[there]) == horizon * step
        found = dataset.read_targets(earlier[there])[:, horizon - 1]
        targets[there, horizon - 1] = np.where(follows, found, np.nan)
    return targets


def ridge_forecasts(
    dataset: Dataset, train: RowRange, wanted: RowRange, features: list[str] | None = None
) -> np.ndarray:
    """Return float64 (rows, horizons): a linear regression on the last steps of all features, with a penalty.

    Hoerl and Kennard (1970). It sees at most RIDGE_ROWS training rows, evenly spaced; the penalty is the best of some
    on the latest tenth of them. Numbers that are not finite count as the mean. NaN where no ten training rows have all
    targets.
    """
    every = max(1, -(-len(train) // RIDGE_ROWS))
    numbers = train.numbers()[::every]
    targets = dataset.read_targets(numbers).astype(float)
    complete = np.isfinite(targets).all(axis=1)
    numbers, targets = numbers[complete], targets[complete]
    if len(numbers) < 10:
        return np.full((len(wanted), dataset.schema.horizons), np.nan)
    inputs = _last_steps(dataset, numbers, features)
    known = np.where(np.isfinite(inputs), inputs, np.nan)
    mean = np.nan_to_num(np.nanmean(known, axis=0)) if len(known) else 0.0
    deviation = np.nan_to_num(np.nanstd(known, axis=0))
    scale = np.where(deviation > 0, deviation, np.inf)

    def prepare(values: np.ndarray) -> np.ndarray:
        scores = np.nan_to_num((values - mean) / scale, nan=0.0, posinf=0.0, neginf=0.0)
        return np.column_stack([np.clip(scores, -10, 10), np.ones(len(scores))])

    prepared = prepare(inputs)
    gap = -(-dataset.schema.horizons // every)
    fitting, testing = slice(0, int(0.9 * len(prepared)) - gap), slice(int(0.9 * len(prepared)), None)
    errors = [
        np.abs(prepared[testing] @ _solve(prepared[fitting], targets[fitting], penalty) - targets[testing]).mean()
        for penalty in _PENALTIES
    ]
    weights = _solve(prepared, targets, _PENALTIES[int(np.argmin(errors))])
    return prepare(_last_steps(dataset, wanted.numbers(), features)) @ weights


def _solve(inputs: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge weights; the penalty is per row and spares the constant in the last column."""
    lengths = np.full(inputs.shape[1], penalty * max(1, len(inputs)))
    lengths[-1] = 0
    return np.linalg.lstsq(inputs.T @ inputs + np.diag(lengths), inputs.T @ targets, rcond=None)[0]


def _last_steps(dataset: Dataset, rows: np.ndarray, features: list[str] | None) -> np.ndarray:
    """float32 (rows, channels): the last step of every sequence, and the vectors, whatever their shape."""
    schema = dataset.schema.select(features)
    sequences = {feature.name: feature.is_sequence for feature in schema.features}
    at_once = max(1, READ_BYTES // schema.row_bytes)
    parts = []
    for start in range(0, max(1, len(rows)), at_once):
        values: dict[str, Any] = dataset.read(rows[start : start + at_once], features)
        last = [(v[:, -1] if sequences[name] else v).reshape(len(v), -1) for name, v in values.items()]
        parts.append(np.concatenate(last, axis=1))
    return np.concatenate(parts)
