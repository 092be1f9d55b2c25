"""All weights as one vector: the same numbers, in a few large operations."""

import numpy as np
import pytest

from deeptrade.data.backend import keras, tf
from deeptrade.training import pieces as module
from deeptrade.training.adam import Adam
from deeptrade.training.pieces import Pieces
from deeptrade.training.step import AccumulatingStep

SHAPES = [(3, 4), (4,), (2, 2, 2), (1,)]


def variables(dtype="float32"):
    generator = np.random.default_rng(0)
    return [keras.Variable(generator.normal(size=shape), dtype=dtype, name=f"v{n}") for n, shape in enumerate(SHAPES)]


@pytest.fixture(params=[1 << 17, 8, 1], ids=["all small", "some large", "all large"])
def large(request, monkeypatch):
    """From how many numbers on a variable is a piece by itself."""
    monkeypatch.setattr(module, "LARGE", request.param)
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_joined_comes_apart_into_the_same_tensors(large, dtype):
    some = variables(dtype)
    pieces = Pieces(some)
    weights = pieces.weights(tf.float64)
    assert len(weights) == {1 << 17: 1, 8: 3, 1: 4}[large]
    assert sum(int(tf.size(piece)) for piece in weights) == 12 + 4 + 8 + 1
    for part, variable in zip(pieces.apart(weights), some, strict=True):
        assert part.dtype == variable.value.dtype
        np.testing.assert_array_equal(part, variable.value)
    pieces.assign([2 * piece for piece in weights])
    for now, before in zip(pieces.weights(tf.float64), weights, strict=True):
        np.testing.assert_array_equal(now, 2 * before)


@pytest.mark.parametrize("bad", range(4))
def test_a_number_that_is_not_finite_is_told_by_its_variable(large, bad):
    some = variables()
    pieces = Pieces(some)
    assert pieces.finite(pieces.weights(tf.float32)).numpy().tolist() == [True] * 4
    values = some[bad].numpy()
    values.flat[-1] = np.nan
    some[bad].assign(values)
    assert pieces.finite(pieces.weights(tf.float32)).numpy().tolist() == [number != bad for number in range(4)]


def trained(*, fused, steps=5, kind=Adam):
    """The weights and averages of a small model after some windows of two passes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(8, "gelu", name="hidden")(inputs)
    model = keras.Model({"x": inputs}, keras.layers.Dense(2, name="out")(hidden))
    optimizer = kind(0.01, name="adam")
    step = AccumulatingStep(model, optimizer, batch_size=4, target_scale=1.0, averaging=True, fused=fused)
    generator = np.random.default_rng(1)
    for _ in range(steps):
        for last in (False, True):
            x, y = generator.normal(size=(4, 6)).astype(np.float32), generator.normal(size=(4, 2)).astype(np.float32)
            step({"x": x}, y, last=last)
    weights = [variable.numpy() for variable in model.trainable_variables]
    step.swap()
    return weights, [variable.numpy() for variable in model.trainable_variables]


def test_adam_on_the_vector_gives_the_bits_of_adam_on_the_variables(large):
    for fused, apart in zip(trained(fused=True), trained(fused=False), strict=True):
        for one, other in zip(fused, apart, strict=True):
            np.testing.assert_array_equal(one, other)


def test_adam_as_one_operation_is_the_adam_of_keras_up_to_rounding():
    for ours, theirs in zip(trained(fused=True), trained(fused=True, kind=keras.optimizers.Adam), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=5e-6)
