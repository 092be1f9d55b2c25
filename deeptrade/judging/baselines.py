"""Simple forecasts for a model to beat: zero, the training mean, and a ridge regression and boosted trees on features
of the same rows that stay comparable over years. Inner rows tune them, as they choose the model's epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.split import Split
from ..store.row_range import RowRange

MOST_ROWS = 10_000
"""Maximum training rows of a baseline, evenly spaced, and maximum inner rows that tune it: more hardly change them."""

CHUNK_ROWS, LEAST_ROWS = 8192, 100
"""Rows that are forecast at once; fewest known training targets of a horizon."""

READ_BYTES = 16 << 20
"""Bytes of rows read at once; only what is taken from them is kept."""

LAGS = (1, 2, 4, 8, 16, 32)
"""Steps back from the end of a window; of each channel the change since then is taken."""

_CLIP = 10.0
_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Ridge penalties per row, in units of standardized features."""

_TREES: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 100,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "feature_fraction": 0.3,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbose": -1,
}
_MOST_TREES, _PATIENCE = 150, 20
"""Small trees for LightGBM, each on half of the rows; inner rows choose how many, up to the first _PATIENCE without a
lower error."""


def simple_forecasts(
    dataset: Dataset, split: Split, features: Sequence[str] | None = None, *, overlap: int
) -> dict[str, np.ndarray]:
    """Return by name the forecasts of the validation rows, float32 (rows, horizons) in their order.

    'zero', 'mean' (of the training targets), 'ridge' and, where LightGBM can be loaded, 'trees'. Without inner rows the
    latest tenth of the training rows tunes, and the `overlap` rows before it, whose targets reach into it, are left out
    of each market's. Forecasts are NaN for horizons with fewer than LEAST_ROWS known training targets.
    """
    fitting, tuning = _some(split.train, MOST_ROWS), _some(split.inner, MOST_ROWS)
    if not len(tuning):
        boundary = int(0.9 * len(fitting))
        gap = -(-overlap * max(1, len(dataset.markets)) * len(fitting) // max(1, len(split.train)))
        fitting, tuning = fitting[: max(0, boundary - gap)], fitting[boundary:]
    wanted = split.validation.numbers()
    targets, tuning_targets = (dataset.read_targets(rows).astype(np.float64) for rows in (fitting, tuning))
    shape = (len(wanted), dataset.schema.horizons)
    mean, _ = _location(dataset.read_targets(split.train.numbers()).astype(np.float64))
    found = {"zero": np.zeros(shape, np.float32), "mean": np.broadcast_to(mean, shape).astype(np.float32)}
    inputs = stationary(dataset, fitting, features)
    center, spread = _location(inputs)

    def ready(rows: np.ndarray) -> np.ndarray:
        return _standard(rows, center, spread)

    inputs, choosing = ready(inputs), ready(stationary(dataset, tuning, features))
    models = {
        name: [_fit(fit, inputs, targets[:, at], choosing, tuning_targets[:, at]) for at in range(targets.shape[1])]
        for name, fit in (("ridge", _ridge), ("trees", _trees()))
        if fit is not None
    }
    found |= {name: np.full(shape, np.nan, np.float32) for name in models}
    for start in range(0, len(wanted), CHUNK_ROWS):
        some = slice(start, start + CHUNK_ROWS)
        inputs = ready(stationary(dataset, wanted[some], features))
        for name, by_horizon in models.items():
            for at, forecast in enumerate(by_horizon):
                if forecast is not None:
                    found[name][some, at] = forecast(inputs)
    return found


def _some(rows: RowRange, most: int) -> np.ndarray:
    every = max(1, -(-len(rows) // most))
    return rows.numbers()[::every]


def _location(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(values)
    counts = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, values, 0).sum(axis=0) / counts
    spread = np.sqrt((np.where(known, values - center, 0) ** 2).sum(axis=0) / counts)
    return center, np.where(spread > 0, spread, np.inf)


def _standard(values: np.ndarray, center: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return float32 values in units of the spread, at most _CLIP, 0 where they are not known."""
    known = np.isfinite(values)
    return np.clip(np.where(known, (values - center) / spread, 0), -_CLIP, _CLIP).astype(np.float32)


Forecast = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Forecast]
"""From inputs (rows, columns) and targets (rows,), to fit and to tune on, to what forecasts from inputs."""


def _fit(
    fit: Fit, inputs: np.ndarray, targets: np.ndarray, choosing: np.ndarray, tuning: np.ndarray
) -> Forecast | None:
    """Fit one horizon on its known targets; None where there are too few."""
    known, judged = np.isfinite(targets), np.isfinite(tuning)
    if known.sum() < LEAST_ROWS or not judged.any():
        return None
    return fit(inputs[known], targets[known], choosing[judged], tuning[judged])


def _ridge(x: np.ndarray, y: np.ndarray, x_tuning: np.ndarray, y_tuning: np.ndarray) -> Forecast:
    """Return the ridge regression (Hoerl and Kennard 1970) with the best of the penalties."""
    from sklearn.linear_model import Ridge

    models = [Ridge(alpha=penalty * len(x)).fit(x, y) for penalty in _PENALTIES]
    errors = [np.mean((model.predict(x_tuning) - y_tuning) ** 2) for model in models]
    best = models[int(np.argmin(errors))]
    return lambda inputs: np.asarray(best.predict(inputs))


def _trees() -> Fit | None:
    """Return the function that fits boosted trees (Ke et al. 2017, LightGBM); None where it cannot be loaded."""
    try:
        import lightgbm
    except (ImportError, OSError):  # its library needs OpenMP of the system
        return None

    def fit(x: np.ndarray, y: np.ndarray, x_tuning: np.ndarray, y_tuning: np.ndarray) -> Forecast:
        scale = float(np.std(y)) or 1.0
        rows = lightgbm.Dataset(x, y / scale)
        judged = lightgbm.Dataset(x_tuning, y_tuning / scale, reference=rows)
        stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
        model = lightgbm.train(_TREES, rows, _MOST_TREES, valid_sets=[judged], callbacks=[stop])
        return lambda inputs: np.asarray(model.predict(inputs)) * scale

    return fit


def stationary(dataset: Dataset, rows: np.ndarray, features: Sequence[str] | None = None) -> np.ndarray:
    """Return float32 (rows, columns) of what stays comparable over years, NaN where not finite.

    Of every channel of a window: its changes over the last LAGS steps, relative to its mean size in the window. Of
    every vector: its elements as they are.
    """
    schema = dataset.schema.select(features)
    at_once = max(1, READ_BYTES // schema.row_bytes)
    parts = []
    for start in range(0, max(1, len(rows)), at_once):
        values = dataset.read(rows[start : start + at_once], schema.names)
        columns = [
            _changes(values[one.name]) if one.is_sequence else values[one.name].reshape(len(values[one.name]), -1)
            for one in schema.features
        ]
        parts.append(np.concatenate(columns, axis=1))
    return np.concatenate(parts)


def _changes(windows: np.ndarray) -> np.ndarray:
    """Return float32 (rows, channels x lags) from windows (rows, steps, ...)."""
    windows = windows.reshape(len(windows), windows.shape[1], -1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        size = np.abs(windows).mean(axis=1)
        last = windows[:, -1]
        lags = [lag for lag in LAGS if lag < windows.shape[1]]
        changes = [(last - windows[:, -1 - lag]) / np.where(size > 0, size, 1) for lag in lags]
    columns = np.concatenate(changes, axis=1) if changes else last
    return np.where(np.isfinite(columns), columns, np.nan).astype(np.float32)
