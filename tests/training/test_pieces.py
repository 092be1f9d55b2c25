"""All weights as one vector: the same numbers, in a few large operations."""

import json
import zipfile

import numpy as np
import pytest

from deeptrade.data.backend import keras, tf
from deeptrade.settings import FitSettings
from deeptrade.training import pieces as module
from deeptrade.training.fit import fit
from deeptrade.training.pieces import Pieces
from deeptrade.training.step import AccumulatingStep
from tests.support.training_runs import QUICK

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


def trained(*, fused, steps=5):
    """The weights and averages of a small model after some windows of two passes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(8, "gelu", name="hidden")(inputs)
    model = keras.Model({"x": inputs}, keras.layers.Dense(2, name="out")(hidden))
    optimizer = keras.optimizers.Adam(0.01, name="adam")
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


def in_the_form_of_before(path, model_variables):
    """Rewrite a checkpoint with a slot of Adam and an average per variable, as earlier versions wrote it."""
    parts = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                parts[name.removesuffix(".npy")] = np.lib.format.read_array(file)
    names = {"average_of_0": "average_{n}", "adam/weights_momentum": "adam/{p}_momentum"}
    names["adam/weights_velocity"] = "adam/{p}_velocity"
    for vector, form in names.items():
        whole, start = parts.pop(vector), 0
        for number, (variable, shape) in enumerate(model_variables):
            size = int(np.prod(shape))
            name = form.format(n=number, p=variable.replace("/", "_"))
            parts[name] = whole[start : start + size].reshape(shape)
            start += size
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in parts.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, array)


def test_a_run_begun_with_slots_per_variable_goes_on_to_the_same_weights(market, tmp_path):
    def train(out, steps):
        settings = FitSettings(**(QUICK | {"csv": str(market.path), "out": str(out), "max_steps": steps, "epochs": 9}))
        return fit(settings, progress="silent")

    expected = train(tmp_path / "whole", 8)
    train(tmp_path / "run", 4)
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    shapes = [(variable.path, tuple(variable.shape)) for variable in model.trainable_variables]
    for path in (tmp_path / "run" / "checkpoints").glob("s*.npz"):
        in_the_form_of_before(path, shapes)
    assert train(tmp_path / "run", 8)["weights_sha256"] == expected["weights_sha256"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 8
