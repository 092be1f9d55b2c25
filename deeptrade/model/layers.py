"""Input normalization as part of the model: by the row itself and by constants, never by the rest of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.backend import keras
from ..sources.statistics import FeatureStatistics

CLIP = 10.0
"""Normalized inputs stay within 10 standard deviations: one bad tick of an exchange must not dominate a gradient."""


class _Normalization(keras.layers.Layer):
    """Constants per channel, float32 (channels,), saved with the model as weights that do not train."""

    def __init__(self, **options: Any):
        super().__init__(**{"dtype": "float32", **options, "trainable": False})

    def _constant(self, name: str, channels: int, value: float) -> Any:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=(channels,), initializer=initializer, trainable=False)

    def build(self, input_shape: Any) -> None:
        """Create the constants, which change nothing until `set_statistics` is called."""
        self.mean = self._constant("mean", input_shape[-1], 0.0)
        self.std = self._constant("std", input_shape[-1], 1.0)

    def set_statistics(self, statistics: FeatureStatistics) -> None:
        """Set the statistics of the training split; a channel that never changes is left unscaled."""
        self.mean.assign(statistics.mean)
        self.std.assign(_above_zero(statistics.std))

    def get_config(self) -> dict[str, Any]:
        """Return the name; the constants are weights."""
        return {"name": self.name}

    def _filled(self, inputs: Any) -> Any:
        return keras.ops.where(keras.ops.isfinite(inputs), inputs, self.mean)

    def _standard(self, filled: Any) -> Any:
        return keras.ops.clip((filled - self.mean) / self.std, -CLIP, CLIP)


@keras.saving.register_keras_serializable("deeptrade")
class VectorNormalization(_Normalization):
    """float32 (rows, elements) to standard units; a number that is not finite becomes the training mean."""

    def call(self, inputs: Any) -> Any:
        """Return the inputs in standard units."""
        return self._standard(self._filled(inputs))


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


@keras.saving.register_keras_serializable("deeptrade")
class SequenceNormalization(_Normalization):
    """float32 (rows, steps, channels) to (rows, steps, 2 * channels): in standard units, and relative to its last step.

    The second half is r = (x[t] - x[last]) / mean over t of |x|, divided by the training split's root mean square
    of r: statistics of a whole price history would bury the returns of one window under the price level.
    """

    def build(self, input_shape: Any) -> None:
        """Create the constants, which change nothing until `set_statistics` is called."""
        super().build(input_shape)
        self.relative_std = self._constant("relative_std", input_shape[-1], 1.0)

    def set_statistics(self, statistics: FeatureStatistics) -> None:
        """Set the statistics of the training split, including those of the relative view."""
        super().set_statistics(statistics)
        self.relative_std.assign(_above_zero(statistics.relative_std))

    def call(self, inputs: Any) -> Any:
        """Return both views side by side."""
        filled = self._filled(inputs)
        scale = keras.ops.mean(keras.ops.abs(filled), axis=1, keepdims=True)
        scale = keras.ops.where(scale > 0, scale, 1.0) * self.relative_std
        relative = (filled - filled[:, -1:]) / scale
        # Numbers near the largest float32 overflow to infinity over infinity: no usable view, so it says nothing.
        relative = keras.ops.where(keras.ops.isnan(relative), 0.0, relative)
        return keras.ops.concatenate([self._standard(filled), keras.ops.clip(relative, -CLIP, CLIP)], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape with twice the channels."""
        return (*input_shape[:-1], 2 * input_shape[-1])


def _above_zero(scale: Any) -> np.ndarray:
    return np.where(np.asarray(scale) > 0, scale, 1).astype(np.float32)
