"""Input normalization as part of the model: by the row itself and by constants, never by the rest of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.backend import keras
from ..sources.statistics import FeatureStatistics

CLIP = 10.0
"""Normalized inputs stay within 10 standard deviations: one bad tick of an exchange must not dominate a gradient."""


class _Normalization(keras.layers.Layer):
    """Constants per channel, saved with the model as weights that do not train.

    Called with a list of G features of one shape, it stacks them on a new first axis and keeps constants for each, as
    float32 (G, 1, ..., channels). Called with one array, as in models saved by earlier versions, it has
    float32 (channels,).
    """

    def __init__(self, **options: Any):
        super().__init__(**{"dtype": "float32", **options, "trainable": False})

    def _constant(self, name: str, value: float) -> Any:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=self._constants, initializer=initializer, trainable=False)

    def build(self, input_shape: Any) -> None:
        """Create the constants, which change nothing until `set_statistics` is called."""
        if _is_of_many(input_shape):
            first = input_shape[0]
            self._constants = (len(input_shape), *(1 for _ in first[:-1]), first[-1])
        else:
            self._constants = (input_shape[-1],)
        self.mean, self.std = self._constant("mean", 0.0), self._constant("std", 1.0)

    def set_statistics(self, *statistics: FeatureStatistics) -> None:
        """Set the statistics of the training split, one per feature; a channel that never changes is left unscaled."""
        self._set(self.mean, [one.mean for one in statistics])
        self._set(self.std, [_above_zero(one.std) for one in statistics])

    def get_config(self) -> dict[str, Any]:
        """Return the name; the constants are weights."""
        return {"name": self.name}

    def _set(self, weight: Any, values: list[Any]) -> None:
        weight.assign(np.stack(values).reshape(weight.shape))

    def _filled(self, inputs: Any) -> Any:
        stacked = keras.ops.stack(inputs) if isinstance(inputs, list) else inputs
        return keras.ops.where(keras.ops.isfinite(stacked), stacked, self.mean)

    def _standard(self, filled: Any) -> Any:
        return keras.ops.clip((filled - self.mean) / self.std, -CLIP, CLIP)


@keras.saving.register_keras_serializable("deeptrade")
class VectorNormalization(_Normalization):
    """Float32 (rows, elements), or a list of G such, to standard units; what is not finite becomes the training mean.

    A list gives float32 (G, rows, elements).
    """

    def call(self, inputs: Any) -> Any:
        """Return the inputs in standard units."""
        return self._standard(self._filled(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape, with the features in front where there is a list of them."""
        return _stacked(input_shape)


@keras.saving.register_keras_serializable("deeptrade")
class SequenceNormalization(_Normalization):
    """Float32 (rows, steps, channels), or a list of G such, to (rows, steps, 2 * channels), a list to (G, rows, ...).

    The first half is in standard units, the second relative to the last step: r = (x[t] - x[last]) / mean over t of
    |x|, divided by the training split's root mean square of r. Statistics of a whole price history would bury the
    returns of one window under the price level.
    """

    def build(self, input_shape: Any) -> None:
        """Create the constants, which change nothing until `set_statistics` is called."""
        super().build(input_shape)
        self.relative_std = self._constant("relative_std", 1.0)

    def set_statistics(self, *statistics: FeatureStatistics) -> None:
        """Set the statistics of the training split, including those of the relative view."""
        super().set_statistics(*statistics)
        self._set(self.relative_std, [_above_zero(one.relative_std) for one in statistics])

    def call(self, inputs: Any) -> Any:
        """Return both views side by side."""
        filled = self._filled(inputs)
        scale = keras.ops.mean(keras.ops.abs(filled), axis=-2, keepdims=True)
        scale = keras.ops.where(scale > 0, scale, 1.0) * self.relative_std
        relative = (filled - filled[..., -1:, :]) / scale
        # Numbers near the largest float32 overflow to infinity over infinity: no usable view, so it says nothing.
        relative = keras.ops.where(keras.ops.isnan(relative), 0.0, relative)
        return keras.ops.concatenate([self._standard(filled), keras.ops.clip(relative, -CLIP, CLIP)], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape with twice the channels."""
        *shape, channels = _stacked(input_shape)
        return (*shape, 2 * channels)


@keras.saving.register_keras_serializable("deeptrade")
class Calibrated(keras.layers.Layer):
    """Forecasts (rows, horizons) times a shrinkage per horizon; it also keeps half the width of their intervals.

    `shrinkage` and `half_width` are float32 (horizons,), saved with the model as weights that do not train; half_width
    is infinite where it is not known.
    """

    def __init__(self, **options: Any):
        super().__init__(**{"dtype": "float32", **options, "trainable": False})

    def build(self, input_shape: Any) -> None:
        """Create the weights, which change nothing until they are set."""
        for name, value in (("shrinkage", 1.0), ("half_width", float("inf"))):
            initializer = keras.initializers.Constant(value)
            weight = self.add_weight(name=name, shape=input_shape[-1:], initializer=initializer, trainable=False)
            setattr(self, name, weight)

    def call(self, inputs: Any) -> Any:
        """Return the forecasts in the size that is supported."""
        return inputs * self.shrinkage

    def get_config(self) -> dict[str, Any]:
        """Return the name; the numbers are weights."""
        return {"name": self.name}


def _is_of_many(shape: Any) -> bool:
    """Whether it is a list of shapes; in a saved model, a single shape is a list as well."""
    return isinstance(shape[0], list | tuple)


def _stacked(shape: Any) -> tuple[Any, ...]:
    return (len(shape), *shape[0]) if _is_of_many(shape) else tuple(shape)


def _above_zero(scale: Any) -> np.ndarray:
    return np.where(np.asarray(scale) > 0, scale, 1).astype(np.float32)
