"""The trainable variables of a model as one vector: what is done to all of them is done in a few large operations.

A model has a hundred small variables. Adding gradients, checking them, Adam's update and the average of the weights are
each the same operation on every number: done variable by variable they are a thousand small ones a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.backend import keras, tf


class FlatVector:
    """Where each variable's numbers lie in one vector of `size` numbers, in the order of the variables."""

    def __init__(self, variables: Sequence[keras.Variable]):
        self._variables = list(variables)
        self._sizes = [int(np.prod(variable.shape)) for variable in variables]
        self.size = sum(self._sizes)

    def join(self, tensors: Sequence[tf.Tensor], dtype: Any) -> tf.Tensor:
        """Return tensors in the shapes of the variables as one vector (size,)."""
        return tf.concat([tf.cast(tf.reshape(tensor, [-1]), dtype) for tensor in tensors], axis=0)

    def split(self, vector: tf.Tensor) -> list[tf.Tensor]:
        """Return a vector (size,) as tensors in the shapes and dtypes of the variables."""
        parts = tf.split(vector, self._sizes)
        return [
            tf.cast(tf.reshape(part, variable.shape), variable.dtype)
            for part, variable in zip(parts, self._variables, strict=True)
        ]

    def weights(self, dtype: Any) -> tf.Tensor:
        """Return the variables' present values as one vector (size,)."""
        return self.join([variable.value for variable in self._variables], dtype)

    def assign(self, vector: tf.Tensor) -> None:
        """Give the variables the values of a vector (size,)."""
        for variable, values in zip(self._variables, self.split(vector), strict=True):
            variable.assign(values)

    def finite(self, flags: tf.Tensor) -> tf.Tensor:
        """Return for each variable whether all of its flags, bool (size,), are set; they are told apart only if not."""

        def apart() -> tf.Tensor:
            return tf.stack([tf.reduce_all(part) for part in tf.split(flags, self._sizes)])

        return tf.cond(tf.reduce_all(flags), lambda: tf.ones(len(self._sizes), tf.bool), apart)


def vector_variable(vector: tf.Tensor, name: str) -> keras.Variable:
    """Return a variable that holds a vector and does not train."""
    return keras.Variable(vector, trainable=False, dtype=vector.dtype.name, name=name)
