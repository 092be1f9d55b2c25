"""The encoder of vectors: two dense layers."""

from __future__ import annotations

from typing import Any

from ...data.backend import keras, tf
from .stacked import Dense, Stacked


@keras.saving.register_keras_serializable("deeptrade")
class Vector(Stacked):
    """(features, rows, elements) to tokens (rows, features, 2 * units)."""

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        features, _, elements = input_shape
        self._hidden = Dense(self, "hidden", features, elements, 2 * self.units)
        self._token = Dense(self, "token", features, 2 * self.units, 2 * self.units)

    def call(self, inputs: Any) -> Any:
        """Return the tokens."""
        return tf.transpose(self._token(tf.nn.gelu(self._hidden(inputs))), (1, 0, 2))
