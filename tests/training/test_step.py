import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeptrade.training.step import AccumulatingStep
from tests.support.steps import Recorder, feed

HORIZONS, ROWS = 3, 12
SCALE = np.array([0.5, 1.0, 2.0], np.float32)


def small_model(seed=0, policy="float32"):
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
    x = keras.layers.Concatenate(dtype=policy)(list(inputs.values()))
    for number, units in enumerate((8, HORIZONS)):
        initializer = keras.initializers.GlorotUniform(seed + number)
        x = keras.layers.Dense(units, "tanh" if units == 8 else None, kernel_initializer=initializer, dtype=policy)(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))


def batch(seed=0, rows=ROWS):
    """Each horizon is masked differently; rows 4 and 5 have no target at all."""
    generator = np.random.default_rng(seed)
    x = {name: generator.normal(size=(rows, width)).astype(np.float32) for name, width in (("a", 4), ("b", 2))}
    y = generator.normal(0, 2, (rows, HORIZONS)).astype(np.float32)
    y[generator.random(y.shape) < 0.3] = np.nan
    y[4:6] = np.nan
    return x, y


def full_batch_gradients(model, x, y):
    """The naive version: one pass over all rows, the mean Huber loss over the known targets."""
    valid = np.isfinite(y)
    with tf.GradientTape() as tape:
        errors = tf.boolean_mask((np.nan_to_num(y) - model(x)) / SCALE, valid)
        losses = tf.where(tf.abs(errors) < 1, errors**2 / 2, tf.abs(errors) - 0.5)
        loss = tf.reduce_mean(losses)
    return float(loss), tape.gradient(loss, [v.value for v in model.trainable_variables])


def relative_error(found, expected):
    pairs = list(zip(found, expected, strict=True))
    return max(float(tf.norm(a - b) / tf.norm(b)) for a, b in pairs)


@pytest.mark.parametrize("sizes", [[12], [6, 6], [5, 5, 2], [4, 2, 2, 2, 2], [2, 2, 2, 2, 1, 2, 1]])
def test_unequal_passes_and_masked_targets_give_the_full_batch_gradient(sizes):
    model, (x, y), recorder = small_model(), batch(), Recorder()
    step = AccumulatingStep(model, recorder, batch_size=max(sizes), target_scale=SCALE, clip_norm=0)
    window = feed(step, x, y, sizes)
    loss, gradients = full_batch_gradients(model, x, y)
    assert window.loss == pytest.approx(loss, rel=1e-6)
    assert window.valid_targets == np.isfinite(y).sum()
    assert relative_error(recorder.gradients, gradients) <= 1e-6


def test_the_mean_of_means_would_differ():
    model, (x, y) = small_model(), batch()
    _, expected = full_batch_gradients(model, x, y)
    parts = [slice(0, 4), slice(6, 11), slice(11, 12)]
    means = [full_batch_gradients(model, {n: v[p] for n, v in x.items()}, y[p])[1] for p in parts]
    assert relative_error([sum(gradients) / len(parts) for gradients in zip(*means, strict=True)], expected) > 1e-3


def test_clipping_bounds_the_norm_of_the_averaged_gradient():
    model, (x, y), recorder = small_model(), batch(), Recorder()
    step = AccumulatingStep(model, recorder, batch_size=6, target_scale=SCALE, clip_norm=0.01)
    window = feed(step, x, y, [6, 6])
    _, gradients = full_batch_gradients(model, x, y)
    clipped, _ = tf.clip_by_global_norm(gradients, 0.01)
    assert window.gradient_norm == pytest.approx(float(tf.linalg.global_norm(gradients)), rel=1e-5)
    assert relative_error(recorder.gradients, clipped) <= 1e-5


def state_of(model, optimizer):
    return [variable.numpy().tobytes() for variable in (*model.variables, *optimizer.variables)]


def trained_step(model, **options):
    optimizer = keras.optimizers.Adam(0.01)
    step = AccumulatingStep(model, optimizer, batch_size=6, target_scale=SCALE, **options)
    feed(step, *batch(1), [6, 6])
    return step, optimizer


def test_a_window_without_a_target_changes_no_bit():
    model = small_model()
    step, optimizer = trained_step(model)
    before = state_of(model, optimizer)
    x, y = batch()
    window = feed(step, x, np.full_like(y, np.nan), [6, 6])
    assert (window.applied, window.valid_targets) == (False, 0)
    assert state_of(model, optimizer) == before


@pytest.mark.parametrize("row", [0, 8], ids=["first pass", "last pass"])
def test_a_window_that_is_not_finite_is_skipped_whole_and_the_next_one_is_clean(row):
    model, other = small_model(), small_model()
    step, optimizer = trained_step(model)
    before = state_of(model, optimizer)
    x, y = batch()
    x["a"][row], y[row] = np.inf, 1.0
    assert not feed(step, x, y, [6, 6]).applied
    assert state_of(model, optimizer) == before
    other_step, other_optimizer = trained_step(other)
    for each in (step, other_step):
        assert feed(each, *batch(2), [6, 6]).applied
    assert state_of(model, optimizer) == state_of(other, other_optimizer)


def test_many_windows_are_traced_once():
    step, _ = trained_step(small_model())
    x, y = batch()
    for sizes in ([6, 6], [6, 5, 1], [3], [1, 1]):
        rows = sum(sizes)
        feed(step, {name: values[:rows] for name, values in x.items()}, y[:rows], sizes)
    assert step.tracing_count == 1


def test_small_passes_end_where_large_ones_do_after_many_windows():
    weights = []
    for sizes in ([12], [3, 3, 3, 3]):
        model = small_model()
        step = AccumulatingStep(model, keras.optimizers.Adam(0.01), batch_size=sizes[0], target_scale=SCALE)
        for seed in range(40):
            feed(step, *batch(seed), sizes)
        weights.append([v.numpy() for v in model.trainable_variables])
    assert relative_error(weights[1], weights[0]) <= 1e-5


def test_the_loss_scale_of_float16_halves_on_overflow_and_stays_within_its_bounds():
    model = small_model(policy="mixed_float16")
    step = AccumulatingStep(model, keras.optimizers.Adam(0.0), batch_size=6, target_scale=SCALE, scale_loss=True)
    step.loss_scale.assign(2.0**24)
    x, y = batch()
    window = feed(step, x, np.nan_to_num(y, nan=5) * 1e3, [6, 6])
    assert window.overflowed
    assert float(step.loss_scale) == 2.0**23
    x["a"][0] = np.nan
    for _ in range(40):
        window = feed(step, x, np.nan_to_num(y), [6, 6])
    assert not window.overflowed
    assert float(step.loss_scale) == 2.0**-4


@pytest.mark.parametrize("power", [3, 6, 9])
def test_without_overflow_the_gradients_in_float16_do_not_depend_on_the_loss_scale(power):
    gradients = []
    for scale in (1.0, 2.0**power):
        model, (x, y), recorder = small_model(policy="mixed_float16"), batch(), Recorder()
        step = AccumulatingStep(model, recorder, batch_size=6, target_scale=SCALE, clip_norm=0, scale_loss=True)
        step.loss_scale.assign(scale)
        assert feed(step, x, y, [6, 6]).applied
        assert float(step.loss_scale) == scale  # constant inside a window
        gradients.append([g.numpy().tobytes() for g in recorder.gradients])
    assert gradients[0] == gradients[1]


def test_five_hundred_windows_of_nan_leave_the_scale_at_its_floor_and_the_weights_alone():
    model = small_model(policy="mixed_float16")
    step, optimizer = trained_step(model, scale_loss=True)
    step.loss_scale.assign(2.0**10)
    before, (x, y) = state_of(model, optimizer), batch()
    x["a"][:] = np.nan
    scales = []
    for _ in range(500):
        assert not feed(step, x, np.nan_to_num(y), [6, 6]).applied
        scales.append(float(step.loss_scale))
    assert state_of(model, optimizer) == before
    assert scales[:2] == [2.0**9, 2.0**8]
    assert set(scales[-400:]) == {2.0**-4}
    assert all(scale == 2.0 ** round(np.log2(scale)) for scale in scales)


def test_the_scale_doubles_after_two_thousand_windows_and_never_exceeds_its_ceiling():
    model = small_model()  # float32, in which nothing overflows
    step, (x, y) = (
        AccumulatingStep(model, keras.optimizers.Adam(0.0), batch_size=12, target_scale=SCALE, scale_loss=True),
        batch(),
    )
    for start, then in ((2.0**8, 2.0**9), (2.0**24, 2.0**24)):
        step.loss_scale.assign(start)
        step.clean_windows.assign(1999)
        feed(step, x, y, [12])
        assert float(step.loss_scale) == then
        assert int(step.clean_windows) == 0


def test_a_deleted_step_leaves_no_graph():
    def graphs():
        gc.collect()
        return sum(type(item).__name__ == "FuncGraph" for item in gc.get_objects())

    def train():
        step = AccumulatingStep(small_model(), keras.optimizers.Adam(), batch_size=ROWS, target_scale=SCALE)
        assert step(*batch(), last=True).applied

    train()
    before = graphs()
    train()
    assert graphs() == before


@pytest.mark.parametrize(("factor", "weight"), [(1e20, 1.0), (1.0, 1e-24)], ids=["huge gradients", "tiny weights"])
def test_one_pass_and_two_do_the_same_where_squares_leave_float32(factor, weight):
    x, y = batch()
    x = {name: (factor * values).astype(np.float32) for name, values in x.items()}
    found = []
    for sizes in ([12], [6, 6]):
        inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
        joined = keras.layers.Concatenate()(list(inputs.values()))
        dense = keras.layers.Dense(HORIZONS, kernel_initializer=keras.initializers.GlorotUniform(0))
        model, recorder = keras.Model(inputs, dense(joined)), Recorder()
        step = AccumulatingStep(model, recorder, batch_size=sizes[0], target_scale=SCALE)
        window = feed(step, x, y, sizes, row_weights=np.full(sizes[0], weight, np.float32))
        found.append((window.applied, window.gradient_norm, recorder.gradients))
    (applied, norm, gradients), (other_applied, other_norm, others) = found
    assert (applied, other_applied) == (True, True)
    assert norm == pytest.approx(other_norm, rel=1e-5)
    assert 0 < norm < np.inf
    assert relative_error(gradients, others) <= 1e-5
