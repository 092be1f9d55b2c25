import numpy as np
import pytest

from deeptrade.model import Recurrence, SequenceNormalization, VectorNormalization
from deeptrade.sources.schema import Feature
from deeptrade.sources.statistics import Moments

CHANNELS = 3


@pytest.fixture
def windows():
    generator = np.random.default_rng(0)
    return generator.normal((100, 0, -5), (5, 1, 2), (40, 7, CHANNELS)).astype(np.float32)


def statistics_of(values):
    moments = Moments(Feature("arr_a", values.shape[1:]))
    moments.add(values)
    return moments.result()


def normalized(layer, values, training_values):
    layer.build(values.shape)
    layer.set_statistics(statistics_of(training_values))
    return np.asarray(layer(values))


def test_a_sequence_is_seen_in_standard_units_and_relative_to_its_last_step(windows):
    seen = normalized(SequenceNormalization(), windows, windows)
    x = windows.astype(np.float64)
    standard = (x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))
    relative = (x - x[:, -1:]) / np.abs(x).mean(axis=1, keepdims=True)
    relative /= np.sqrt((relative**2).mean(axis=(0, 1)))
    np.testing.assert_allclose(seen, np.concatenate([standard, relative], axis=-1).clip(-10, 10), atol=2e-4)


def test_returns_under_a_high_price_level_stay_visible():
    generator = np.random.default_rng(1)
    level = np.linspace(100, 10_000, 50)[:, None, None]
    prices = (level * (1 + generator.normal(0, 1e-3, (50, 7, 1)))).astype(np.float32)
    seen = normalized(SequenceNormalization(), prices, prices)
    within_window = seen.std(axis=1).mean(axis=0)
    assert within_window[0] < 0.01
    assert within_window[1] > 0.3


def test_a_number_that_is_not_finite_becomes_the_training_mean(windows):
    broken = windows.copy()
    broken[3, 2, 0], broken[4, 5, 1], broken[5, 1, 2] = np.nan, np.inf, -np.inf
    mended = windows.copy()
    mean = statistics_of(windows).mean
    mended[3, 2, 0], mended[4, 5, 1], mended[5, 1, 2] = mean
    layer = SequenceNormalization()
    np.testing.assert_array_equal(normalized(layer, broken, windows), np.asarray(layer(mended)))


@pytest.mark.parametrize("value", [0.0, 1e-38, 3e38])
def test_extreme_windows_stay_finite_and_within_the_clip(windows, value):
    extreme = np.full((2, 7, CHANNELS), value, np.float32)
    extreme[:, ::2] *= -1
    seen = normalized(SequenceNormalization(), extreme, windows)
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() <= 10


def test_a_channel_that_never_changes_is_zero_and_not_a_division_by_zero():
    constant = np.full((5, 7, 2), 42.0, np.float32)
    assert not normalized(SequenceNormalization(), constant, constant).any()


def test_a_vector_is_seen_in_standard_units():
    vectors = np.random.default_rng(2).normal((1, 100), (3, 0.1), (200, 2)).astype(np.float32)
    expected = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    np.testing.assert_allclose(normalized(VectorNormalization(), vectors, vectors), expected, atol=1e-3)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_the_recurrence_equals_the_lstm_of_keras_forward_and_backward(go_backwards):
    import keras
    import tensorflow as tf

    x = tf.constant(np.random.default_rng(3).normal(size=(4, 11, 5)).astype(np.float32))
    ours = Recurrence(6, go_backwards=go_backwards)
    theirs = keras.layers.LSTM(6, go_backwards=go_backwards)
    ours.build(x.shape)
    theirs.build(x.shape)
    for mine, other in zip(theirs.weights, ours.weights, strict=True):
        mine.assign(other)
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            state = layer(x)
            loss = tf.reduce_sum(state**2)
        results.append([state, *tape.gradient(loss, [x, *[weight.value for weight in layer.weights]])])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-6)
