"""A step of training in traced functions: a pass computes loss and gradients, which are added, and at the end applied.

A window is the rows of one optimizer step, fed in micro-batches of fixed shape. Loss and gradients are summed over the
valid targets, divided once at the end, clipped by global norm and applied. So k micro-batches equal the full batch up
to rounding, even if the last one is short or targets are missing. (The mean of the micro-batches' means, which Keras's
own accumulation takes, does not.)

Whether loss and gradients are finite is decided in the graph for each pass; the host reads the answers only at the end
of the window, and a window with a bad pass changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from ..errors import SettingsError
from .pieces import Pieces
from .traced import Traced

HUBER_DELTA = 1.0
"""In units of the target scale: the error is squared below one standard deviation of the returns, absolute above."""

_FIRST_SCALE, _LEAST_SCALE, _MOST_SCALE = 2.0**15, 2.0**-4, 2.0**24
_GROW_AFTER = 2000

_LEAST_SHARE = 1e-4
"""Least share of the newest weights in the average (after 20,000 steps); below it float32 rounds small changes away."""


@dataclass(frozen=True)
class Window:
    """What one optimizer step did: mean loss per valid target, gradient norm before clipping, whether it was applied.

    The loss is NaN without a valid target, and excludes regularization penalties. `bad` maps the number of a pass in
    the window to its tensor that is not finite ('loss', or 'gradient of ...'); such a window changes nothing.
    `overflowed`: only gradients times the loss scale are not finite, and the scale is now lower; the same rows may work
    next time.
    """

    loss: float
    gradient_norm: float
    valid_targets: int
    applied: bool
    bad: Mapping[int, str] = field(default_factory=dict)
    overflowed: bool = False


def summed_loss(
    targets: tf.Tensor, forecasts: tf.Tensor, target_scale: tf.Tensor, row_weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (sum of Huber losses, count) over the targets that are not NaN, each row times its weight; two scalars.

    targets and forecasts are (rows, horizons), and errors are in units of target_scale; row_weights is (rows,), None
    for 1. The result has the forecasts' dtype, which must be able to hold sums (float32 or float64).
    """
    targets, target_scale = tf.cast(targets, forecasts.dtype), tf.cast(target_scale, forecasts.dtype)
    valid = tf.math.is_finite(targets)
    errors = tf.where(valid, targets - forecasts, 0) / target_scale
    size = tf.abs(errors)
    losses = tf.where(size <= HUBER_DELTA, 0.5 * errors**2, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
    # A missing target is NaN and does not count; a NaN forecast must show, not vanish under the mask.
    losses = tf.where(valid, losses + 0 * forecasts, 0)
    counts = tf.cast(valid, forecasts.dtype)
    if row_weights is not None:
        weights = tf.cast(row_weights, forecasts.dtype)[:, None]
        losses, counts = losses * weights, counts * weights
    return tf.reduce_sum(losses), tf.reduce_sum(counts)


def pad_rows(
    arrays: Mapping[str, np.ndarray], targets: np.ndarray, rows: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the batch padded to `rows` with copies of its last row, without targets: shapes and sums stay the same.

    Zeros would not do: a model may have no finite gradient there, and a weight of 0 does not remove NaN.
    """
    missing = rows - len(targets)
    if not missing:
        return dict(arrays), targets
    if not len(targets):
        raise ValueError("a batch without rows cannot be padded; give at least 1 row")
    padded = {name: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for name, a in arrays.items()}
    return padded, np.concatenate([targets, np.full((missing, targets.shape[1]), np.nan, np.float32)])


def fixed_signature(inputs: Mapping[str, np.ndarray], targets: np.ndarray, *, rows: int | None) -> list[Any]:
    """Return the tensor specs of a batch of `rows` rows (None: any number), so that a function is traced only once."""
    specs = {name: tf.TensorSpec((rows, *values.shape[1:]), tf.float32) for name, values in inputs.items()}
    return [specs, tf.TensorSpec((rows, *targets.shape[1:]), tf.float32)]


class AccumulatingStep:
    """Trains a model on micro-batches of `batch_size` rows; call with last=True at the end of a window.

    `batch_size` may change between windows: the functions are traced for any number of rows, since tracing them again
    briefly takes 100 MB, just when memory is scarce. With `jit` the loss and its gradient are one XLA program, which is
    compiled for each number of rows: a few seconds (benchmarks/precision_and_xla.py).

    clip_norm bounds the global norm of the averaged gradient (0: no bound). The gradient of the variables' regularizers
    is added to the averaged one, once per window. With `scale_loss` (float16) losses are multiplied by a power of two
    that changes only between windows: it is halved after a window that was not finite, doubled after 2000 that were,
    and stays within 2**-4 and 2**24.

    With `averaging`, `averages` holds the mean of the trainable variables over all steps so far, step n with weight n:
    it smooths the noise of the latest windows, and early steps count less and less (polynomial-decay averaging with eta
    1, Shamir and Zhang 2013, "Stochastic gradient descent for non-smooth optimization").

    Sums over passes and the norm are float64; a window of one pass has no sums. With `fused`, the optimizer updates one
    vector of all weights instead of a hundred variables; for one that treats every number alone, as Adam does, the
    numbers are the same. While `marking` is True, `mark` is called with 'forward' and 'backward' once that part of a
    pass is computed, with `jit` once with 'compute'; without it 'forward' is called from the graph, where it waits for
    Python's lock.
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
        averaging: bool = False,
        fused: bool = False,
        jit: bool = False,
        mark: Callable[[str], None] | None = None,
    ):
        self._mark = mark
        self.marking = True
        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        self._clip_norm, self._scale_loss, self._jit = clip_norm, scale_loss, jit
        self._weights = [variable.value for variable in model.trainable_variables]
        self._dtype = tf.float64 if any(weight.dtype == tf.float64 for weight in self._weights) else tf.float32
        self.target_scale = tf.constant(target_scale, self._dtype)
        self._regularized = [variable for variable in model.trainable_variables if variable.regularizer is not None]
        self._pieces, self._fused = Pieces(model.trainable_variables), fused
        weights = self._pieces.weights(self._dtype)
        self._vector = keras.Variable(weights[0], name="weights") if fused and self._pieces.small else None
        small = [] if self._vector is None else [self._vector]
        self._updated = [*small, *self._pieces.large] if fused else list(model.trainable_variables)
        optimizer.build(self._updated)
        self.averages = [
            keras.Variable(piece, trainable=False, name=f"average_of_{number}")
            for number, piece in enumerate(weights if averaging else ())
        ]
        self._sums: list[tf.Variable] = []
        self.loss_scale = tf.Variable(_FIRST_SCALE if scale_loss else 1.0, trainable=False)
        self.clean_windows = tf.Variable(0, trainable=False)
        self._passes: list[tf.Tensor] = []
        self._traced: Traced | None = None
        self._add, self._apply_sums = Traced(self._add_pass), Traced(self._finish_sums)
        self._apply_pass = Traced(self._finish_pass)

    def swap(self) -> None:
        """Exchange the weights and their average, where there is one."""
        if self.averages:
            weights = [tf.identity(piece) for piece in self._pieces.weights(self._dtype)]
            self._pieces.assign([average.value for average in self.averages])
            for average, piece in zip(self.averages, weights, strict=True):
                average.assign(piece)

    @property
    def tracing_count(self) -> int:
        """Number of times the pass was traced; more than one means that shapes change."""
        return self._traced.tracing_count if self._traced else 0

    def __call__(
        self,
        inputs: Mapping[str, np.ndarray],
        targets: np.ndarray,
        *,
        last: bool,
        row_weights: np.ndarray | None = None,
    ) -> Window | None:
        """Add one micro-batch of at most batch_size rows; at the last of a window, apply and return what was done."""
        finite, totals, *pieces = self._run(inputs, targets, row_weights)
        self._passes.append(finite)
        if last and len(self._passes) == 1:
            return self._window(self._apply_pass(finite, totals, *pieces).numpy())
        self._make_sums()
        self._add(len(self._passes) == 1, finite, totals, *pieces)
        return self._window(self._apply_sums().numpy()) if last else None

    def _make_sums(self) -> None:
        if not self._sums:
            self._sums = [*self._pieces.zeros(tf.float64), tf.Variable(tf.zeros(4, tf.float64), trainable=False)]

    def _window(self, result: np.ndarray) -> Window:
        """Return what the window that ends now did: loss, norm, valid targets, applied, whether the scale is lower."""
        loss, norm, valid, applied, lowered = result.tolist()
        bad = {} if applied else self._find_bad_passes()
        self._passes.clear()
        overflowed = bool(lowered and valid and np.isfinite(loss) and "loss" not in bad.values())
        return Window(loss if valid else math.nan, norm, int(valid), bool(applied), bad, overflowed)

    def examine(self, inputs: Mapping[str, np.ndarray], targets: np.ndarray, row_weights: Any = None) -> str:
        """Return the first tensor that is not finite for these rows, '' if all are; discards the window so far.

        Uses the smallest loss scale: overflow at a larger one is not the rows' fault.
        """
        scale = self.scale_state
        if self._scale_loss:
            self.loss_scale.assign(_LEAST_SCALE)
        finite, *_ = self._run(inputs, targets, row_weights)
        self.reset()
        self.scale_state = scale
        return self._first_bad(finite)

    @property
    def scale_state(self) -> tuple[float, int]:
        """The loss scale and the number of windows since it last changed."""
        return float(self.loss_scale.numpy()), int(self.clean_windows.numpy())

    @scale_state.setter
    def scale_state(self, state: tuple[float, int]) -> None:
        self.loss_scale.assign(state[0])
        self.clean_windows.assign(state[1])

    def reset(self) -> None:
        """Forget what has been added to a window that will not be finished."""
        self._passes.clear()

    def _run(self, inputs: Mapping[str, np.ndarray], targets: np.ndarray, row_weights: Any) -> Any:
        """Return what `_pass` does for these rows, padded to batch_size."""
        inputs = {name: np.asarray(values, np.float32) for name, values in inputs.items()}
        padded, padded_targets = pad_rows(inputs, np.asarray(targets, np.float32), self.batch_size)
        weights = np.zeros(self.batch_size, np.float32)
        weights[: len(targets)] = 1 if row_weights is None else row_weights
        if self._traced is None:
            signature = [
                *fixed_signature(padded, padded_targets, rows=None),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.bool),
            ]
            self._traced = Traced(self._pass, signature=signature, jit=self._jit)
        found = self._traced(padded, padded_targets, weights, self.loss_scale, self.marking)
        if self._mark is not None and self.marking:
            self._mark("compute" if self._jit else "backward")
        return found

    def _find_bad_passes(self) -> dict[int, str]:
        named = ((number, self._first_bad(finite)) for number, finite in enumerate(self._passes))
        return {number: name for number, name in named if name}

    def _first_bad(self, finite: tf.Tensor) -> str:
        """The first tensor whose entry is False, '' if there is none."""
        at = np.flatnonzero(~finite.numpy())
        if not len(at):
            return ""
        return f"gradient of {self.model.trainable_variables[at[0] - 1].path}" if at[0] else "loss"

    def _pass(
        self, inputs: Any, targets: tf.Tensor, row_weights: tf.Tensor, scale: tf.Tensor, marking: tf.Tensor
    ) -> list[tf.Tensor]:
        """Return which tensors are finite, the sums over the rows, and the pieces of the loss's gradient times `scale`.

        The first are bool (1 + variables,), the loss and each variable's gradient; the sums float64 (4,): loss, weight
        of the valid targets, their number, and 1 if a tensor is not finite.
        """
        scale = tf.cast(scale, self._dtype)
        with tf.GradientTape() as tape:
            forecasts = tf.cast(self.model(inputs, training=True), self._dtype)
            loss, weight = summed_loss(targets, forecasts, self.target_scale, row_weights)
        if len(self.model.losses) > len(self._regularized):
            raise SettingsError(
                "the model adds losses that depend on its rows (add_loss or an activity regularizer), which is not "
                "supported; regularize weights instead"
            )
        with tf.control_dependencies(self._marked("forward", loss, marking)):  # the backward pass starts with the scale
            scale = tf.identity(scale)
        gradients = tape.gradient(loss, self._weights, scale, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        pieces = self._pieces.of([tf.convert_to_tensor(one) for one in gradients], self._dtype)
        finite = tf.concat([[tf.math.is_finite(loss)], self._pieces.finite(pieces)], axis=0)
        valid = tf.math.is_finite(targets) & (row_weights > 0)[:, None]
        counts = (tf.reduce_sum(tf.cast(valid, tf.float64)), tf.cast(~tf.reduce_all(finite), tf.float64))
        return [finite, tf.stack([tf.cast(loss, tf.float64), tf.cast(weight, tf.float64), *counts]), *pieces]

    def _marked(self, phase: str, computed: tf.Tensor, marking: tf.Tensor) -> list[tf.Tensor]:
        if self._mark is None or self._jit:
            return []
        mark = self._mark

        def note(_: np.ndarray) -> np.int32:
            mark(phase)
            return np.int32(0)

        return [tf.cond(marking, lambda: tf.numpy_function(note, [computed], tf.int32), lambda: tf.constant(0))]

    def _add_pass(self, first: tf.Tensor, finite: tf.Tensor, totals: tf.Tensor, *pieces: tf.Tensor) -> None:
        """Add a pass to the sums of the window, or begin them with it; one that is not finite adds no gradient."""
        *sums, counts = self._sums
        known = tf.reduce_all(finite)
        counted = tf.where(known, totals, totals * tf.constant([0, 0, 1, 1], tf.float64))
        counted = tf.where(tf.math.is_nan(counted), tf.zeros_like(counted), counted)

        def begin() -> tf.Tensor:
            for total, piece in zip(sums, pieces, strict=True):
                total.assign(tf.cast(tf.where(known, piece, tf.zeros_like(piece)), tf.float64))
            return tf.constant(0)

        def add() -> tf.Tensor:
            for total, piece in zip(sums, pieces, strict=True):
                total.assign_add(tf.cast(piece, tf.float64))
            return tf.constant(0)

        tf.cond(first, begin, lambda: tf.cond(known, add, lambda: tf.constant(0)))
        counts.assign(tf.where(first, counted, counts + counted))

    def _finish_pass(self, finite: tf.Tensor, totals: tf.Tensor, *pieces: tf.Tensor) -> tf.Tensor:
        return self._finish(totals, [tf.cast(piece, tf.float64) for piece in pieces])

    def _finish_sums(self) -> tf.Tensor:
        *sums, counts = self._sums
        return self._finish(counts.value(), [total.value() for total in sums])

    def _finish(self, counts: tf.Tensor, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Apply the sums of a window; return what it did, float64 (5,), as `_window` reads it."""
        loss, weight, valid, bad_passes = tf.unstack(counts)
        count = tf.where(weight > 0, weight, 1)
        mean = 1 / (count * tf.cast(self.loss_scale, tf.float64))
        if self._regularized:
            penalties = self._penalty_gradients()
            gradients = [total + piece / mean for total, piece in zip(gradients, penalties, strict=True)]
        norm = tf.linalg.global_norm(gradients) * mean
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss) & (bad_passes == 0)
        applied = finite & (weight > 0)
        tf.cond(applied, lambda: self._apply(gradients, mean, norm), lambda: tf.constant(False))
        lowered = self._adjust_scale(finite) if self._scale_loss else tf.constant(False)
        return tf.stack([loss / count, norm, valid, tf.cast(applied, tf.float64), tf.cast(lowered, tf.float64)])

    def _penalty_gradients(self) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            penalty = tf.add_n([variable.regularizer(variable) for variable in self._regularized])
        gradients = tape.gradient(penalty, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return self._pieces.of(gradients, tf.float64)

    def _apply(self, sums: Sequence[tf.Tensor], mean: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
        if self._clip_norm:
            mean *= tf.minimum(self._clip_norm / norm, 1.0)
        gradients = [tf.cast(total * mean, self._dtype) for total in sums]
        if not self._fused:
            gradients = self._pieces.apart(gradients)
        if self._vector is not None:  # whatever has set the variables since the last step
            self._vector.assign(self._pieces.weights(self._dtype)[0])
        self.optimizer.apply(gradients, self._updated)
        if self._vector is not None:
            self._pieces.assign_small(self._vector.value)
        if self.averages:
            steps = tf.cast(self.optimizer.iterations.value, tf.float32)
            share = tf.cast(tf.maximum(2 / (steps + 1), _LEAST_SHARE), self._dtype)
            pieces = self._updated if self._fused else self._pieces.weights(self._dtype)
            for average, piece in zip(self.averages, pieces, strict=True):  # average += share * (piece - average)
                handle, away = average.value.handle, average.value - piece
                tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=share, delta=away)
        return tf.constant(True)

    def _adjust_scale(self, finite: tf.Tensor) -> tf.Tensor:
        """Adjust the loss scale after a window; return whether it is lower now."""
        before = self.loss_scale.read_value()
        clean = tf.where(finite, self.clean_windows + 1, 0)
        grown = tf.where(clean >= _GROW_AFTER, before * 2, before)
        scale = tf.clip_by_value(tf.where(finite, grown, before / 2), _LEAST_SCALE, _MOST_SCALE)
        self.loss_scale.assign(scale)
        self.clean_windows.assign(tf.where(clean >= _GROW_AFTER, 0, clean))
        return scale < before
