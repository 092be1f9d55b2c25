"""Forecasts of a model over the rows of a split, and their errors beside those of the zero forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from ..data.batch_cache import Batch
from ..memory.collection import trimming
from .step import HUBER_DELTA, fixed_signature, pad_rows
from .validation_errors import errors_of


@dataclass(frozen=True)
class Forecasts:
    """Rows in file order: row_ids int64 (rows,), forecasts and targets float32 (rows, horizons), NaN if missing."""

    row_ids: np.ndarray
    forecasts: np.ndarray
    targets: np.ndarray

    def times(self, factors: Sequence[float]) -> Forecasts:
        """Return the same rows with every horizon's forecasts multiplied by its factor."""
        return replace(self, forecasts=self.forecasts * np.asarray(factors, np.float32))


def no_forecasts(horizons: int) -> Forecasts:
    """Return the forecasts of no row."""
    return Forecasts(np.empty(0, np.int64), *(np.empty((0, horizons), np.float32) for _ in range(2)))


class Forward:
    """A model's forecasts over batches of at most `batch_size` rows; traced once, whatever the weights become."""

    def __init__(self, model: keras.Model, *, batch_size: int):
        self._model, self._batch_size = model, batch_size
        self._traced: Any = None

    def over(self, batches: Iterable[Batch], *, horizons: int) -> Forecasts:
        """Return the forecasts of all rows of the batches; each batch is dropped before the next."""
        none = no_forecasts(horizons)
        parts = [(none.row_ids, none.forecasts, none.targets)]
        parts += [(b.row_ids, self._forecast(b), b.targets) for b in batches if len(b.row_ids)]
        return Forecasts(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _forecast(self, batch: Batch) -> np.ndarray:
        inputs, targets = pad_rows(batch.inputs, batch.targets, self._batch_size)
        if self._traced is None:
            signature = fixed_signature(inputs, targets, rows=self._batch_size)[:1]
            self._traced = tf.function(lambda some: self._model(some, training=False), input_signature=signature)
            with trimming():
                forecasts = self._traced(inputs)
        else:
            forecasts = self._traced(inputs)
        return forecasts.numpy()[: len(batch.row_ids)]


def score(forecasts: np.ndarray, targets: np.ndarray, *, target_scale: np.ndarray) -> dict[str, Any]:
    """Return the errors of forecasts (rows, horizons) as plain floats and lists; NaN targets do not count.

    loss is the mean Huber loss in units of target_scale; per horizon there are mae, zero_mae (that of the forecast that
    is always 0) and directional_accuracy (share of equal signs where target and forecast are finite and not 0), NaN
    where there is no target.
    """
    forecasts, targets = forecasts.astype(np.float64), targets.astype(np.float64)
    valid = np.isfinite(targets)
    size = np.abs(targets - forecasts)  # a forecast that is not finite shows, a missing target does not count
    units = size / target_scale
    huber = np.where(units <= HUBER_DELTA, 0.5 * units**2, HUBER_DELTA * (units - 0.5 * HUBER_DELTA))
    signed = valid & (targets != 0) & (forecasts != 0) & np.isfinite(forecasts)
    agreeing = signed & (np.sign(targets) == np.sign(forecasts))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "loss": float(np.divide(huber[valid].sum(), valid.sum())),
            "mae": _mean(size, valid),
            "directional_accuracy": _mean(agreeing, signed),
            "zero_mae": _mean(np.abs(targets), valid),
        }


def _mean(values: np.ndarray, counted: np.ndarray) -> list[float]:
    return (np.where(counted, values, 0).sum(axis=0) / counted.sum(axis=0)).tolist()


def validation_verdict(validation: dict[str, Any]) -> str:
    """Return in words where the error lies beside the zero forecast's."""
    if not has_targets(validation):
        return "no row has a target, so its errors are unknown"
    errors = errors_of(validation)
    return "the forecasts are not finite" if errors.has_diverged else f"MAE {errors.beside_zero('that of zero')}"


def has_targets(validation: Mapping[str, Any]) -> bool:
    """Return whether any row of the split has a target."""
    return bool(np.isfinite(validation["zero_mae"]).any())
