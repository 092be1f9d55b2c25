"""Simple forecasts for a model to beat: the last known return, and a ridge regression on the last steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..store.row_range import RowRange

RIDGE_ROWS = 20_000
"""Maximum training rows, evenly spaced, for the ridge regression."""

READ_BYTES = 16 << 20
"""Bytes of rows read at once; only their last steps are kept."""

_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)


def last_values(dataset: Dataset, rows: np.ndarray, *, target_step: int = 0) -> np.ndarray:
    """Return float32 (rows, horizons): for h steps ahead, the return over the last h steps, known at the row.

    That is the target of the row of the same market whose h-th target ends at this row; NaN where there is none. Such
    a row lies h rows earlier where targets come from prices, else h times `target_step` ns (0: the time between rows).
    """
    targets = np.full((len(rows), dataset.schema.horizons), np.nan, np.float32)
    wanted, by_place = dataset.positions(rows), dataset.schema.target_source == "price"
    places, times = dataset.places, dataset.timestamps
    for of_market, gaps in dataset.gaps().values():
        asked = np.flatnonzero(np.isin(wanted, of_market))
        along, step = (places, 1) if by_place else (times, target_step or round(gaps.step))
        there, here = along[of_market], along[wanted[asked]]
        for horizon in range(1, dataset.schema.horizons + 1):
            earlier = np.searchsorted(there, here - horizon * step)
            found = there[earlier] == here - horizon * step
            targets[asked[found], horizon - 1] = dataset.targets[of_market[earlier[found]], horizon - 1]
    return targets


def ridge_forecasts(
    dataset: Dataset, train: RowRange, wanted: RowRange, features: list[str] | None = None, *, overlap: int = 0
) -> np.ndarray:
    """Return forecasts of a ridge regression on the last steps of `features`, None for all; float64 (rows, horizons).

    Hoerl and Kennard (1970). It is fitted to at most RIDGE_ROWS training rows, evenly spaced; the penalty is the best
    of five on the latest tenth of them, before which `overlap` rows, whose targets reach into it, are left out (0: the
    number of horizons). Non-finite numbers count as the mean. The result is NaN where fewer than ten
    training rows have all targets.
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
    gap = -(-(overlap or dataset.schema.horizons) // every)
    boundary = int(0.9 * len(prepared))
    fitting, testing = slice(0, max(0, boundary - gap)), slice(boundary, None)
    errors = [
        np.abs(prepared[testing] @ _solve(prepared[fitting], targets[fitting], penalty) - targets[testing]).mean()
        for penalty in _PENALTIES
    ]
    weights = _solve(prepared, targets, _PENALTIES[int(np.argmin(errors))])
    return prepare(_last_steps(dataset, wanted.numbers(), features)) @ weights


def _solve(inputs: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """Return ridge weights; the penalty is per row and does not apply to the constant in the last column."""
    lengths = np.full(inputs.shape[1], penalty * max(1, len(inputs)))
    lengths[-1] = 0
    return np.linalg.lstsq(inputs.T @ inputs + np.diag(lengths), inputs.T @ targets, rcond=None)[0]


def _last_steps(dataset: Dataset, rows: np.ndarray, features: list[str] | None) -> np.ndarray:
    """Return float32 (rows, channels): the last step of every sequence, and all vectors, flattened."""
    schema = dataset.schema.select(features)
    sequences = {feature.name: feature.is_sequence for feature in schema.features}
    at_once = max(1, READ_BYTES // schema.row_bytes)
    parts = []
    for start in range(0, max(1, len(rows)), at_once):
        values: dict[str, Any] = dataset.read(rows[start : start + at_once], features)
        last = [(v[:, -1] if sequences[name] else v).reshape(len(v), -1) for name, v in values.items()]
        parts.append(np.concatenate(last, axis=1))
    return np.concatenate(parts)
