"""Forecast errors over a whole split, computed in the graph and compared with the zero forecast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from ..data.batch_cache import Batch
from ..memory.collection import trimming
from ..units import count_of
from .step import fixed_signature, pad_rows, summed_loss
from .validation_errors import errors_of


class Validation:
    """Error sums per horizon over batches of at most `batch_size` rows, ignoring NaN targets.

    `evaluate` returns loss (mean Huber loss in units of target_scale), and per horizon mae, zero_mae (that of the
    forecast that is always 0) and directional_accuracy (share of agreeing signs where target and forecast are finite
    and not 0); NaN where there is no target.
    """

    def __init__(self, model: keras.Model, *, batch_size: int, target_scale: np.ndarray):
        self._model, self._batch_size = model, batch_size
        self._scale = tf.constant(target_scale, tf.float32)
        self._traced: Any = None

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Return the metrics over all batches as plain floats and lists."""
        loss = 0.0
        sums = np.zeros((5, self._scale.shape[0]))
        for batch in batches:
            if not len(batch.row_ids):
                continue
            padded = pad_rows(batch.inputs, batch.targets, self._batch_size)
            if self._traced is None:
                self._traced = tf.function(self._sums, input_signature=fixed_signature(*padded, rows=self._batch_size))
                with trimming():
                    batch_loss, batch_sums = self._traced(*padded)
            else:
                batch_loss, batch_sums = self._traced(*padded)
            loss += float(batch_loss)
            sums += batch_sums.numpy()
        valid, error, zero_error, signs, agreeing = sums
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "loss": float(np.divide(loss, valid.sum())),
                "mae": (error / valid).tolist(),
                "directional_accuracy": (agreeing / signs).tolist(),
                "zero_mae": (zero_error / valid).tolist(),
            }

    def _sums(self, inputs: Any, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        forecasts = self._model(inputs, training=False)
        loss, _ = summed_loss(targets, forecasts, self._scale)
        valid = tf.math.is_finite(targets)
        known = tf.where(valid, targets, 0.0)
        signed = valid & (known != 0) & (forecasts != 0) & tf.math.is_finite(forecasts)
        rows = (
            tf.cast(valid, tf.float32),
            tf.where(valid, tf.abs(known - forecasts), 0.0),
            tf.abs(known),
            tf.cast(signed, tf.float32),
            tf.cast(signed & (tf.sign(known) == tf.sign(forecasts)), tf.float32),
        )
        return loss, tf.stack([tf.reduce_sum(row, axis=0) for row in rows])


def validation_verdict(validation: dict[str, Any]) -> str:
    """Return in words how many horizons beat the zero forecast."""
    if not has_targets(validation):
        return "no validation row has a target, so its errors are unknown"
    errors = errors_of(validation)
    return f"MAE below the zero forecast's for {errors.better} of {count_of(errors.known, 'horizon')}"


def has_targets(validation: Mapping[str, Any]) -> bool:
    """Return whether any row of the split has a target."""
    return bool(np.isfinite(validation["zero_mae"]).any())
