"""The recurrent encoder: convolutions, then a recurrence over all steps in both directions.

(G, B, T, C) -> convolutions (G, B, T, U) -> recurrence both ways (G, B, 2U) -> (B, G, 2U)
"""

from __future__ import annotations

import math
from typing import Any

from ...data.backend import keras, tf
from ...planning.sizes import KERNEL_STEPS
from ..recurrence import last_state
from .stacked import Norm, Stacked


@keras.saving.register_keras_serializable("deeptrade")
class Recurrent(Stacked):
    """(features, rows, steps, channels) to tokens (rows, features, 2 * units).

    The recurrence computes in float32 whatever the precision of the rest: its kernel has no bfloat16.
    """

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        features, _, _, channels = input_shape
        units = self.units
        inputs = [channels, *(units for _ in range(1, self.blocks))]
        self._kernels = [
            self.add_matrix(f"block_{n}_kernel", features, KERNEL_STEPS * wide, units) for n, wide in enumerate(inputs)
        ]
        self._biases = [self.add_vector(f"block_{n}_bias", features, units) for n in range(self.blocks)]
        self._norms = [Norm(self, f"norm_{n}", features, units) for n in range(self.blocks)]
        self._ways = [self._add_way(name, features) for name in ("forward", "backward")]

    def call(self, inputs: Any) -> Any:
        """Return the tokens."""
        features, _, steps, channels = inputs.shape
        x = tf.reshape(tf.transpose(inputs, (0, 2, 1, 3)), (features, -1, channels))  # steps before rows, as they recur
        x = self._convolved(x, 0, steps)
        for block in range(1, self.blocks):
            x += self._convolved(self._norms[block - 1](x), block, steps)
        x = tf.reshape(tf.cast(self._norms[-1](x), tf.float32), (features, steps, -1, self.units))
        states = []
        for one, way in zip((x, tf.reverse(x, [1])), self._ways, strict=True):
            parts = zip(tf.unstack(one), *map(tf.unstack, way), strict=True)
            states.append(tf.stack([last_state(*part) for part in parts], axis=1))
        return tf.cast(tf.concat(states, axis=-1), self.compute_dtype)

    def _convolved(self, inputs: Any, block: int, steps: int) -> Any:
        """Return a block's activations (features, steps * rows, units): a convolution over time for each feature."""
        features, _, channels = inputs.shape
        kernels = tf.reshape(self._kernels[block], (features, KERNEL_STEPS, 1, channels, self.units))
        pairs = zip(
            tf.unstack(tf.reshape(inputs, (features, 1, steps, -1, channels))), tf.unstack(kernels), strict=True
        )
        x = tf.stack([tf.nn.conv2d(one, kernel, 1, "SAME") for one, kernel in pairs])
        return tf.nn.gelu(tf.reshape(x, (features, -1, self.units)) + self._biases[block])

    def _add_way(self, name: str, features: int) -> tuple[Any, ...]:
        """Add one direction's weights on inputs and states (G, 2U, 4U) and its bias (G, 4U), in the kernel's order."""
        units, wide = self.units, 4 * self.units
        bound = math.sqrt(6 / (units + wide))
        on_inputs = keras.initializers.RandomUniform(-bound, bound, seed=self.next_seed())
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=self.next_seed())

        def both(shape: Any, dtype: Any = None) -> Any:
            orthogonal, _ = tf.linalg.qr(normal((features, wide, units)))
            return tf.concat([on_inputs((features, units, wide)), tf.transpose(orthogonal, (0, 2, 1))], axis=1)

        shapes = (features, 2 * units, wide), (features, wide)
        names = f"{name}_kernel", f"{name}_bias"
        return tuple(
            self.add_weight(name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False)
            for name, shape, initializer in zip(names, shapes, (both, forget_bias), strict=True)
        )


def forget_bias(shape: Any, dtype: Any = None) -> Any:
    """Ones for the forget gate, so that memory lasts before anything is learned (Jozefowicz et al. 2015)."""
    zeros = tf.zeros((shape[0], shape[1] // 4))
    return tf.concat([zeros, zeros, zeros + 1, zeros], axis=1)
