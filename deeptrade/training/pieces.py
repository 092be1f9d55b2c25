"""The trainable variables of a model in a few pieces: what is done to all of them is done in a few large operations.

A model has a hundred small variables. Adding gradients, checking them, Adam's update and the average of the weights are
each the same operation on every number: done variable by variable they are a thousand small ones a step. The small
variables are joined into one vector; a large one is a piece by itself, for a copy of it would cost more than it saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..data.backend import keras, tf

LARGE = 1 << 17
"""Numbers from which on a variable is a piece by itself: half a megabyte. Few variables do below `massive`."""


class Pieces:
    """The variables in pieces: first the vector of all small ones, (numbers,), then every large one in its own shape.

    All lists of pieces are in this order. `small` is the number of numbers in the vector, 0 where there is none.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        self._variables = list(variables)
        self._sizes = [int(np.prod(variable.shape)) for variable in variables]
        self._joined = [at for at, size in enumerate(self._sizes) if size < LARGE]
        self._alone = [at for at, size in enumerate(self._sizes) if size >= LARGE]
        self.small = sum(self._sizes[at] for at in self._joined)

    @property
    def large(self) -> list[keras.Variable]:
        """The variables that are pieces by themselves."""
        return [self._variables[at] for at in self._alone]

    def of(self, tensors: Sequence[tf.Tensor], dtype: Any) -> list[tf.Tensor]:
        """Return tensors in the shapes of the variables as pieces."""
        vector = [tf.reshape(tf.cast(tensors[at], dtype), [-1]) for at in self._joined]
        return [*([tf.concat(vector, axis=0)] if vector else []), *(tf.cast(tensors[at], dtype) for at in self._alone)]

    def weights(self, dtype: Any) -> list[tf.Tensor]:
        """Return the present values of the variables as pieces."""
        return self.of([tf.convert_to_tensor(variable.value) for variable in self._variables], dtype)

    def zeros(self, dtype: Any) -> list[tf.Variable]:
        """Return pieces of zeros that do not train."""
        shapes = [*([(self.small,)] if self.small else []), *(variable.shape for variable in self.large)]
        return [tf.Variable(tf.zeros(shape, dtype), trainable=False) for shape in shapes]

    def apart(self, pieces: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return pieces as tensors in the shapes and dtypes of the variables."""
        found = dict(self._small_of(pieces[0])) if self.small else {}
        for at, piece in self._large_of(pieces):
            found[at] = tf.cast(piece, self._variables[at].dtype)
        return [found[at] for at in range(len(self._variables))]

    def assign(self, pieces: Sequence[tf.Tensor]) -> None:
        """Give the variables the values of pieces."""
        for variable, values in zip(self._variables, self.apart(pieces), strict=True):
            variable.assign(values)

    def assign_small(self, vector: tf.Tensor) -> None:
        """Give the small variables the values of their vector."""
        for at, values in self._small_of(vector):
            self._variables[at].assign(values)

    def finite(self, pieces: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return for each variable whether all of its numbers are finite, bool (variables,).

        The small ones are told apart only where one of them is not.
        """
        flags = {at: tf.reduce_all(tf.math.is_finite(piece)) for at, piece in self._large_of(pieces)}
        if self.small:
            known, sizes = tf.math.is_finite(pieces[0]), [self._sizes[at] for at in self._joined]
            every = tf.cond(
                tf.reduce_all(known),
                lambda: tf.ones(len(sizes), tf.bool),
                lambda: tf.stack([tf.reduce_all(part) for part in tf.split(known, sizes)]),
            )
            flags |= zip(self._joined, tf.unstack(every, len(sizes)), strict=True)
        return tf.stack([flags[at] for at in range(len(self._variables))])

    def _small_of(self, vector: tf.Tensor) -> Iterator[tuple[int, tf.Tensor]]:
        """Yield the number of each small variable, and its part of the vector in its shape and dtype."""
        parts = tf.split(vector, [self._sizes[at] for at in self._joined])
        for at, part in zip(self._joined, parts, strict=True):
            variable = self._variables[at]
            yield at, tf.cast(tf.reshape(part, variable.shape), variable.dtype)

    def _large_of(self, pieces: Sequence[tf.Tensor]) -> Iterator[tuple[int, tf.Tensor]]:
        return zip(self._alone, pieces[bool(self.small) :], strict=True)
