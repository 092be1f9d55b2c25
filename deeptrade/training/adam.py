"""Adam whose update of a variable is one operation."""

from __future__ import annotations

from typing import Any

from ..data.backend import keras, tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam (Kingma and Ba 2015) with TensorFlow's kernel: one pass over the numbers instead of ten.

    Same slots, names and settings, and the same numbers up to rounding; without AMSGrad, which a run does not use.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable and its two slots."""
        at = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        rates = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon, "lr": learning_rate}
        constants = {name: tf.cast(value, variable.dtype) for name, value in rates.items()}
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[at].value.handle,
            v=self._velocities[at].value.handle,
            beta1_power=tf.pow(constants["beta1"], step),
            beta2_power=tf.pow(constants["beta2"], step),
            grad=gradient,
            **constants,
        )
