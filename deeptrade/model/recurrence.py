"""A long short-term memory layer that runs a whole sequence in one operation."""

from __future__ import annotations

from typing import Any

from ..data.backend import keras, tf


@keras.saving.register_keras_serializable("deeptrade")
class Recurrence(keras.layers.Layer):
    """The last state of an LSTM, as models saved by earlier versions have it; the recurrent encoder calls its kernel.

    Over float32 (rows, steps, channels): (rows, units).

    Same mathematics and weight layout as `keras.layers.LSTM` (gates input, forget, cell, output; forget bias 1), in
    one kernel for all steps, forward and backward, instead of a loop of about ten operations per step: two to four
    times faster at 4 rows of 241 steps on two cores (benchmarks/recurrence.py). It draws nothing at random, so it keeps
    no random state. Computes in float32 whatever the precision of the rest: the kernel has no bfloat16.

    The kernel is BlockLSTM, not BlockLSTMV2: TensorFlow 2.21 has one gradient for both, and it reads the gates in the
    order of the former, so the latter's gradients are wrong.
    """

    def __init__(
        self, units: int, *, go_backwards: bool = False, kernel_seed: int = 0, recurrent_seed: int = 1, **options: Any
    ):
        super().__init__(**{**options, "dtype": "float32"})
        self.units, self.go_backwards = units, go_backwards
        self.kernel_seed, self.recurrent_seed = kernel_seed, recurrent_seed

    def build(self, input_shape: Any) -> None:
        """Make kernel (channels, 4 * units), recurrent kernel (units, 4 * units) and bias (4 * units)."""
        wide = 4 * self.units
        glorot = keras.initializers.GlorotUniform(self.kernel_seed)
        orthogonal = keras.initializers.Orthogonal(seed=self.recurrent_seed)
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], wide), initializer=glorot)
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, wide), initializer=orthogonal
        )
        self.bias = self.add_weight(name="bias", shape=(wide,), initializer=self._forget_bias)

    def _forget_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Ones for the forget gate, so that memory lasts before anything is learned (Jozefowicz et al. 2015)."""
        units = self.units
        return tf.concat([tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], axis=0)

    def call(self, inputs: Any) -> Any:
        """Return the state after the last step (after the first, where it goes backwards)."""
        x = tf.transpose(inputs, (1, 0, 2))  # (T, B, C)
        if self.go_backwards:
            x = tf.reverse(x, axis=[0])
        weights = _in_kernel_order(tf.concat([self.kernel, self.recurrent_kernel], axis=0))
        return last_state(x, weights, _in_kernel_order(tf.convert_to_tensor(self.bias)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return (rows, units)."""
        return (input_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the layer."""
        own = ("units", "go_backwards", "kernel_seed", "recurrent_seed")
        return super().get_config() | {name: getattr(self, name) for name in own}


def last_state(x: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return the state (rows, units) after the last step of x (steps, rows, channels), all float32.

    weights (channels + units, 4 * units) and bias (4 * units) have the gates in the kernel's order: input, cell,
    forget, output.
    """
    steps, rows, units = x.shape[0], tf.shape(x)[1], bias.shape[0] // 4
    start, unused = tf.zeros((rows, units)), tf.zeros(units)
    states = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.constant(steps, tf.int64),
        x=x,
        cs_prev=start,
        h_prev=start,
        w=weights,
        wci=unused,
        wcf=unused,
        wco=unused,
        b=bias,
        forget_bias=0.0,  # it is part of the bias
        cell_clip=0.0,
        use_peephole=False,
    )
    return tf.squeeze(tf.slice(states.h, (steps - 1, 0, 0), (1, -1, -1)), axis=0)


def _in_kernel_order(gates: tf.Tensor) -> tf.Tensor:
    """Return the last axis (input, forget, cell, output) as the kernel wants it: input, cell, forget, output."""
    of_input, of_forget, of_cell, of_output = tf.split(gates, 4, axis=-1)
    return tf.concat([of_input, of_cell, of_forget, of_output], axis=-1)
