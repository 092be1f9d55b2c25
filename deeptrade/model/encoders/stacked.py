"""What encoders share: weights for each of G features of one shape, applied to all of them in one product."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ...data.backend import keras, tf
from ...mixing import draw

_EPSILON = 1e-3
"""Added to the variance, as `keras.layers.LayerNormalization` does."""


class Stacked(keras.layers.Layer):
    """A layer over (features, rows, ...) whose weights have the features as their first axis.

    Arguments: units U, blocks, the depth; seed, of the initial weights, which are a function of it alone. The precision
    is the layer's dtype; normalization over units computes in float32 whatever it is.
    """

    def __init__(self, units: int, blocks: int, *, seed: int = 0, **options: Any):
        super().__init__(**options)
        self.units, self.blocks, self.seed = units, blocks, seed
        self._key, self._drawn = f"encoder/{seed}", itertools.count()

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return (rows, features, 2 * units)."""
        return (input_shape[1], input_shape[0], 2 * self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the layer."""
        own = {name: getattr(self, name) for name in ("units", "blocks", "seed")}
        return {**super().get_config(), **own}

    def next_seed(self) -> int:
        """Return a seed for one weight."""
        return draw(self._key, next(self._drawn), below=2**31)

    def add_matrix(self, name: str, features: int, inputs: int, outputs: int) -> Any:
        """Add (features, inputs, outputs), initially uniform for each feature as in Glorot and Bengio (2010)."""
        bound = math.sqrt(6 / (inputs + outputs))
        initializer = keras.initializers.RandomUniform(-bound, bound, seed=self.next_seed())
        return self.add_weight(name=name, shape=(features, inputs, outputs), initializer=initializer)

    def add_vector(self, name: str, features: int, units: int, value: float = 0.0) -> Any:
        """Add (features, 1, units) of one value, such as a bias of 0 or a gain of 1."""
        initializer = keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=(features, 1, units), initializer=initializer)


class Dense:
    """A product with a matrix and a bias for each feature: (features, rows, inputs) to (features, rows, outputs)."""

    def __init__(self, layer: Stacked, name: str, features: int, inputs: int, outputs: int):
        self.kernel = layer.add_matrix(f"{name}_kernel", features, inputs, outputs)
        self.bias = layer.add_vector(f"{name}_bias", features, outputs)

    def __call__(self, inputs: Any) -> Any:
        """Return the product plus the bias."""
        return tf.matmul(inputs, self.kernel) + self.bias


class Norm:
    """Layer normalization (Ba et al. 2016) of (features, rows, units), with gains and offsets for each feature."""

    def __init__(self, layer: Stacked, name: str, features: int, units: int):
        self.gain = layer.add_vector(f"{name}_gain", features, units, 1.0)
        self.offset = layer.add_vector(f"{name}_offset", features, units)

    def __call__(self, inputs: Any) -> Any:
        """Return the normalized inputs; the arithmetic is in float32 at least."""
        x = tf.cast(inputs, tf.float32) if inputs.dtype != tf.float64 else inputs
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normal = tf.cast(centred * tf.math.rsqrt(variance + _EPSILON), inputs.dtype)
        return normal * self.gain + self.offset
