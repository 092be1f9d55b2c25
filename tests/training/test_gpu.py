"""What must hold on a GPU: growth of its memory, XLA on and off, and mixed precision, against float32 without XLA."""

import numpy as np
import pytest
import tensorflow as tf

from deeptrade.settings import ENCODERS
from deeptrade.training.adam import Adam
from deeptrade.training.runtime import choose_precision, set_up_tensorflow
from tests.support.forecasters import SEQUENCES, forecaster, masked_batch

GPUS = tf.config.list_physical_devices("GPU")
pytestmark = pytest.mark.skipif(not GPUS, reason="this machine has no GPU that TensorFlow can use")


def trained(encoder, *, jit, precision):
    """The weights after ten steps of two passes, and the losses."""
    from deeptrade.training.step import AccumulatingStep

    model = forecaster(SEQUENCES, encoder, precision=precision, seed=1)
    options = {"batch_size": 6, "target_scale": np.ones(3, np.float32), "averaging": True, "fused": True, "jit": jit}
    step = AccumulatingStep(model, Adam(1e-3), scale_loss=precision == "mixed_float16", **options)
    losses = []
    for seed in range(10):
        x, y = masked_batch(SEQUENCES, seed)
        step({name: values[:6] for name, values in x.items()}, y[:6], last=False)
        losses.append(step({name: values[6:] for name, values in x.items()}, y[6:], last=True).loss)
    return np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables]), losses


def test_memory_grows_as_it_is_needed():
    found = set_up_tensorflow(allow_growth=True, give_back=False, sink=lambda line: None)
    assert found["gpus"] == len(GPUS)
    assert all(tf.config.experimental.get_memory_growth(gpu) for gpu in GPUS)
    assert choose_precision("auto", len(GPUS)) == "mixed_float16"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_step_runs_on_the_gpu_and_xla_changes_rounding_alone(encoder):
    weights, losses = trained(encoder, jit=False, precision="float32")
    assert tf.config.experimental.get_memory_info("GPU:0")["peak"] > 0
    assert losses[-1] < losses[0]
    if encoder == "multiscale":
        compiled, _ = trained(encoder, jit=True, precision="float32")
        assert np.linalg.norm(compiled - weights) <= 1e-4 * np.linalg.norm(weights)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_ends_near_float32(encoder, precision):
    _, losses = trained(encoder, jit=encoder == "multiscale", precision="float32")
    _, mixed = trained(encoder, jit=encoder == "multiscale", precision=precision)
    np.testing.assert_allclose(mixed, losses, rtol=0.1)
