"""Training with each encoder: what must hold for the step, whatever the network computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeptrade.planning.sizes import COMPILED
from deeptrade.settings import ENCODERS
from deeptrade.training.step import AccumulatingStep
from tests.support.forecasters import SEQUENCES, forecaster, masked_batch, scrambled
from tests.support.steps import Recorder, feed

SCALE, ROWS = np.array([0.5, 1.0, 2.0], np.float32), 12


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return request.param


def batch(seed=0):
    return masked_batch(SEQUENCES, seed, ROWS)


def make(encoder, **options):
    return forecaster(SEQUENCES, encoder, target_scale=SCALE, **options)


def make_step(model, encoder, optimizer=None, **options):
    options = {"batch_size": ROWS, "target_scale": SCALE, "jit": encoder in COMPILED} | options
    return AccumulatingStep(model, optimizer or keras.optimizers.Adam(0.01), **options)


def test_gradients_of_unequal_masked_passes_are_those_of_the_whole_batch(encoder):
    model, (x, y) = scrambled(make(encoder)), batch()
    valid = np.isfinite(y)
    with tf.GradientTape() as tape:
        errors = tf.boolean_mask((np.nan_to_num(y) - model(x)) / SCALE, valid)
        loss = tf.reduce_mean(tf.where(tf.abs(errors) < 1, errors**2 / 2, tf.abs(errors) - 0.5))
    expected = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    whole = tf.linalg.global_norm(expected)
    for sizes in ([12], [6, 6], [5, 5, 2], [2, 2, 2, 2, 1, 2, 1]):
        recorder = Recorder()
        window = feed(make_step(model, encoder, recorder, batch_size=max(sizes), clip_norm=0), x, y, sizes)
        assert window.loss == pytest.approx(float(loss), rel=1e-6)
        pairs = zip(recorder.gradients, expected, strict=True)
        assert float(tf.linalg.global_norm([one - other for one, other in pairs]) / whole) <= 1e-6


def test_equal_trainings_give_equal_bits_whatever_else_the_process_did(encoder):
    ends = []
    for _ in range(2):
        model = make(encoder, seed=3)
        step = make_step(model, encoder, batch_size=6, averaging=True, fused=True)
        for seed in range(4):
            feed(step, *batch(seed), [6, 6])
        ends.append([variable.numpy().tobytes() for variable in (*model.variables, *step.averages)])
        keras.utils.set_random_seed(5)
    assert ends[0] == ends[1]


def test_training_lowers_the_loss_and_changes_every_weight(encoder):
    model, (x, y) = scrambled(make(encoder)), batch()
    before = [variable.numpy() for variable in model.trainable_variables]
    step = make_step(model, encoder, fused=True)
    losses = [feed(step, x, y, [ROWS]).loss for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    for variable, was in zip(model.trainable_variables, before, strict=True):
        if not variable.path.endswith("attention/key/bias"):  # attention does not change when all keys move alike
            assert (variable.numpy() != was).any(), variable.path


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_to_nearly_the_same_loss(encoder, policy):
    losses = []
    for precision in ("float32", policy):
        step = make_step(
            scrambled(make(encoder, precision=precision)), encoder, scale_loss=precision == "mixed_float16", fused=True
        )
        losses.append([feed(step, *batch(), [6, 6]).loss for _ in range(6)])
        assert losses[-1][-1] < losses[-1][0]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_a_row_that_is_not_finite_is_named_and_its_window_changes_nothing(encoder):
    model, (x, y) = scrambled(make(encoder)), batch()
    step = make_step(model, encoder, batch_size=6, fused=True)
    assert feed(step, x, y, [6, 6]).applied
    before = [variable.numpy().tobytes() for variable in model.variables]
    head = next(variable for variable in model.trainable_variables if variable.path == "head/kernel")
    kept = head.numpy()
    head.assign(np.full(head.shape, np.inf))
    window = feed(step, x, y, [6, 6])
    assert (window.applied, set(window.bad)) == (False, {0, 1})
    head.assign(kept)
    assert [variable.numpy().tobytes() for variable in model.variables] == before
    assert feed(step, x, y, [6, 6]).applied
