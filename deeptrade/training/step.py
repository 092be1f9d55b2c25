"""One micro-batch of training as one traced function: forward, backward, accumulate, and at a window's end, apply.

A window is the rows of one optimizer step, fed in micro-batches of fixed shape. Sums of loss and gradients over valid
targets are kept, divided once at the end, then clipped by global norm, then applied. So k micro-batches equal
the full batch to rounding, also when the last is short or targets are missing. (The mean of the micro-batches' means,
which Keras's own accumulation takes, does not.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

HUBER_DELTA = 1.0
"""In units of the target scale: squared error below one standard deviation of the returns, absolute above."""

_FIRST_SCALE, _LEAST_SCALE, _MOST_SCALE = 2.0**15, 2.0**-4, 2.0**24
_GROW_AFTER = 2000


@dataclass(frozen=True)
class Window:
    """What one optimizer step did: mean loss per valid target, gradient norm before clipping, whether it counted.

    `overflowed`: the loss is finite, its gradient times the loss scale is not, and the scale is lower now; the same
    rows may well do next time.
    """

    loss: float
    gradient_norm: float
    valid_targets: int
    applied: bool
    overflowed: bool = False


def summed_loss(targets: tf.Tensor, forecasts: tf.Tensor, target_scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (sum of Huber losses, count) over the targets that are not NaN; both float32 scalars.

    targets and forecasts are float32 (rows, horizons), their difference is taken in units of target_scale.
    """
    valid = tf.math.is_finite(targets)
    errors = tf.where(valid, targets - forecasts, 0.0) / target_scale
    size = tf.abs(errors)
    losses = tf.where(size <= HUBER_DELTA, 0.5 * errors**2, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
    # A missing target is NaN and stays out; a forecast that is NaN must show, not vanish under the mask.
    losses = tf.where(valid, losses + 0.0 * forecasts, 0.0)
    return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(valid, tf.float32))


def pad_rows(
    arrays: Mapping[str, np.ndarray], targets: np.ndarray, rows: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the batch with rows of zeros and missing targets added up to `rows`: shapes stay fixed, sums too."""
    missing = rows - len(targets)
    if not missing:
        return dict(arrays), targets
    padded = {name: np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for name, a in arrays.items()}
    return padded, np.concatenate([targets, np.full((missing, targets.shape[1]), np.nan, np.float32)])


def fixed_signature(inputs: Mapping[str, np.ndarray], targets: np.ndarray) -> list[Any]:
    """Return the tensor specs of a padded batch: shapes never change, so a function is traced once."""
    specs = {name: tf.TensorSpec(values.shape, tf.float32) for name, values in inputs.items()}
    return [specs, tf.TensorSpec(targets.shape, tf.float32)]


class AccumulatingStep:
    """Trains a model on micro-batches of `batch_size` rows; call with last=True at the end of a window.

    clip_norm bounds the global norm of the averaged gradient (0: no bound). With `scale_loss` (float16) losses are
    multiplied by a power of two that changes only between windows: halved after a window that overflowed, doubled
    after 2000 that did not, within 2**-4 and 2**24.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        batch_size: int,
        target_scale: np.ndarray | float,
        clip_norm: float = 1.0,
        scale_loss: bool = False,
    ):
        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        self._clip_norm, self._scale_loss = clip_norm, scale_loss
        self._target_scale = tf.constant(target_scale, tf.float32)
        self._weights = [variable.value for variable in model.trainable_variables]
        optimizer.build(model.trainable_variables)
        self._gradients = [tf.Variable(tf.zeros(w.shape), trainable=False) for w in self._weights]
        self._loss = tf.Variable(0.0, trainable=False)
        self._valid = tf.Variable(0.0, trainable=False)
        self.loss_scale = tf.Variable(_FIRST_SCALE if scale_loss else 1.0, trainable=False)
        self.clean_windows = tf.Variable(0, trainable=False)
        self._traced: Any = None

    @property
    def tracing_count(self) -> int:
        """How often the step was traced; more than once means that shapes change."""
        return self._traced.experimental_get_tracing_count() if self._traced else 0

    def __call__(self, inputs: Mapping[str, np.ndarray], targets: np.ndarray, *, last: bool) -> Window | None:
        """Add one micro-batch of at most batch_size rows; at the window's last, apply and return what was done."""
        padded, padded_targets = pad_rows(inputs, targets, self.batch_size)
        if self._traced is None:
            signature = [*fixed_signature(padded, padded_targets), tf.TensorSpec((), tf.bool)]
            self._traced = tf.function(self._step, input_signature=signature)
        if not last:
            self._traced(padded, padded_targets, last)
            return None
        scale = float(self.loss_scale.numpy())
        loss, norm, valid, applied = (result.numpy() for result in self._traced(padded, padded_targets, last))
        overflowed = bool(not applied and valid and np.isfinite(loss) and self.loss_scale.numpy() < scale)
        return Window(float(loss), float(norm), int(valid), bool(applied), overflowed)

    def reset(self) -> None:
        """Forget what has been added to a window that will not be finished."""
        self._reset()

    def _step(self, inputs: Any, targets: tf.Tensor, last: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            forecasts = self.model(inputs, training=True)
            loss, valid = summed_loss(targets, forecasts, self._target_scale)
            scaled = loss * self.loss_scale
        gradients = tape.gradient(scaled, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for total, gradient in zip(self._gradients, gradients, strict=True):
            total.assign_add(tf.cast(gradient, tf.float32))
        self._loss.assign_add(loss)
        self._valid.assign_add(valid)
        nothing = (tf.constant(0.0), tf.constant(0.0), tf.constant(0.0), tf.constant(False))
        return tf.cond(last, self._finish, lambda: nothing)

    def _finish(self) -> Any:
        count = tf.maximum(self._valid, 1.0)
        gradients = [total / (count * self.loss_scale) for total in self._gradients]
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(self._loss)
        result = (self._loss / count, norm, tf.identity(self._valid), finite & (self._valid > 0))
        tf.cond(result[3], lambda: self._apply(gradients, norm), lambda: tf.constant(False))
        if self._scale_loss:
            self._adjust_scale(finite)
        with tf.control_dependencies(result):
            self._reset()
        return result

    def _apply(self, gradients: Sequence[tf.Tensor], norm: tf.Tensor) -> tf.Tensor:
        if self._clip_norm:
            gradients = [gradient * tf.minimum(1.0, self._clip_norm / norm) for gradient in gradients]
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return tf.constant(True)

    def _adjust_scale(self, finite: tf.Tensor) -> None:
        clean = tf.where(finite, self.clean_windows + 1, 0)
        grown = tf.where(clean >= _GROW_AFTER, self.loss_scale * 2, self.loss_scale)
        scale = tf.where(finite, grown, self.loss_scale / 2)
        self.loss_scale.assign(tf.clip_by_value(scale, _LEAST_SCALE, _MOST_SCALE))
        self.clean_windows.assign(tf.where(clean >= _GROW_AFTER, 0, clean))

    def _reset(self) -> None:
        for total in (*self._gradients, self._loss, self._valid):
            total.assign(tf.zeros_like(total))
