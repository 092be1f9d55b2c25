"""The multiscale encoder: short patches of a sequence, averaged over the past at ten time scales.

    (G, B, T, C) -> segments of 4 steps -> patches of 2 segments (G, B, N, U) -> blocks
                 -> averages (G, B, S, U) -> two dense layers (B, G, 2U)

A patch is two neighbouring segments, so it spans 8 steps and starts every 4. Averages decay exponentially with age; the
fastest is nearly the last patch, the slowest nearly the mean of all. Every step is multiplied once, in a few large
products instead of hundreds of small ones in a row: a twentieth of the multiplications of the recurrence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.backend import keras, tf
from ...planning.sizes import SCALES, SEGMENT_STEPS, count_patches
from .stacked import Dense, Norm, Stacked

_FASTEST = 0.5
"""Patches after which a weight of the fastest average has fallen to 1/e."""


@keras.saving.register_keras_serializable("deeptrade")
class Multiscale(Stacked):
    """(features, rows, steps, channels) to tokens (rows, features, 2 * units)."""

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        features, _, self._steps, channels = input_shape
        wide = SCALES * self.units
        self._patch = self.add_matrix("patch_kernel", features, SEGMENT_STEPS * channels, 2 * self.units)
        self._patch_bias = self.add_vector("patch_bias", features, self.units)
        self._blocks = [
            (
                Norm(self, f"block_{n}_norm", features, self.units),
                Dense(self, f"block_{n}", features, *[self.units] * 2),
            )
            for n in range(1, self.blocks)
        ]
        self._norm = Norm(self, "norm", features, wide)
        self._hidden = Dense(self, "hidden", features, wide, 2 * self.units)
        self._token = Dense(self, "token", features, 2 * self.units, 2 * self.units)

    def call(self, inputs: Any) -> Any:
        """Return the tokens."""
        patches = count_patches(self._steps)
        x = tf.nn.gelu(self._patches(inputs, patches))  # (G, B * N, U)
        for norm, dense in self._blocks:
            x += tf.nn.gelu(dense(norm(x)))
        x = tf.reshape(x, (-1, patches, self.units))
        x = tf.matmul(tf.cast(decaying_weights(patches), x.dtype), x)  # (G * B, S, U)
        x = self._norm(tf.reshape(x, (inputs.shape[0], -1, SCALES * self.units)))
        return tf.transpose(self._token(tf.nn.gelu(self._hidden(x))), (1, 0, 2))

    def _patches(self, inputs: Any, patches: int) -> Any:
        """Return (features, rows * patches, units); steps are filled up with zeros in front, where they are oldest."""
        features, _, steps, channels = inputs.shape
        segments = patches + 1
        x = tf.pad(inputs, [[0, 0], [0, 0], [segments * SEGMENT_STEPS - steps, 0], [0, 0]])
        x = tf.matmul(tf.reshape(x, (features, -1, SEGMENT_STEPS * channels)), self._patch)
        x = tf.reshape(x, (features, -1, segments, 2 * self.units))
        x = x[:, :, :-1, : self.units] + x[:, :, 1:, self.units :]  # a segment as first and as second of a patch
        return tf.reshape(x, (features, -1, self.units)) + self._patch_bias


def decaying_weights(patches: int) -> np.ndarray:
    """Return float32 (SCALES, patches), the weights of the averages: exp(-age / scale), each row with the sum 1.

    Scales are spaced evenly in logarithm, from _FASTEST patches to all of them.
    """
    scales = np.geomspace(_FASTEST, patches, SCALES)
    weights = np.exp(-np.arange(patches)[::-1] / scales[:, None])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
