import keras
import numpy as np
import pytest

from deeptrade.data.batch_cache import Batch
from deeptrade.training.metrics import Forward, score

ROWS, HORIZONS = 11, 3
SCALE = np.array([0.5, 1.0, 2.0], np.float32)


@pytest.fixture
def model():
    inputs = {"a": keras.Input((2,), name="a")}
    return keras.Model(
        inputs, keras.layers.Dense(HORIZONS, kernel_initializer=keras.initializers.GlorotUniform(3))(inputs["a"])
    )


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 2)).astype(np.float32)
    y = generator.normal(size=(ROWS, HORIZONS)).astype(np.float32)
    y[generator.random(y.shape) < 0.2] = np.nan
    y[:2, 1] = 0
    x[5] = 0  # its forecast is exactly 0, so it has no direction
    return x, y


def batches(x, y, size):
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        yield Batch({"a": x[rows]}, y[rows], np.arange(len(y))[rows])


@pytest.mark.parametrize("size", [4, 11, 16])
def test_forecasts_are_the_model_s_whatever_the_batch_size(model, data, size):
    x, y = data
    found = Forward(model, batch_size=size).over(batches(x, y, size), horizons=HORIZONS)
    np.testing.assert_allclose(found.forecasts, np.asarray(model({"a": x})), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found.targets, y)
    np.testing.assert_array_equal(found.row_ids, np.arange(ROWS))


def test_forecasts_of_no_row_have_no_row(model):
    found = Forward(model, batch_size=4).over([], horizons=HORIZONS)
    assert (found.forecasts.shape, found.targets.shape, found.row_ids.shape) == ((0, HORIZONS), (0, HORIZONS), (0,))


def test_changed_weights_change_the_forecasts_without_tracing_again(model, data):
    x, y = data
    forward = Forward(model, batch_size=4)
    forward.over(batches(x, y, 4), horizons=HORIZONS)
    for variable in model.variables:
        variable.assign(2 * variable)
    found = forward.over(batches(x, y, 4), horizons=HORIZONS)
    np.testing.assert_allclose(found.forecasts, np.asarray(model({"a": x})), rtol=1e-5, atol=1e-7)
    assert forward._traced.experimental_get_tracing_count() == 1


def test_scores_equal_plain_numpy(model, data):
    x, y = data
    forecasts = np.asarray(model({"a": x}))
    found = score(forecasts, y, target_scale=SCALE)
    errors = (y - forecasts) / SCALE
    huber = np.where(np.abs(errors) < 1, errors**2 / 2, np.abs(errors) - 0.5)
    assert found["loss"] == pytest.approx(np.nanmean(huber), rel=1e-6)
    np.testing.assert_allclose(found["mae"], np.nanmean(np.abs(y - forecasts), axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["zero_mae"], np.nanmean(np.abs(y), axis=0), rtol=1e-6)
    for horizon in range(HORIZONS):
        known = np.isfinite(y[:, horizon]) & (y[:, horizon] != 0) & (forecasts[:, horizon] != 0)
        agree = np.sign(y[known, horizon]) == np.sign(forecasts[known, horizon])
        assert found["directional_accuracy"][horizon] == pytest.approx(agree.mean())


def test_a_horizon_without_targets_is_nan_and_leaves_the_others_alone(data):
    _, y = data
    y[:, 2] = np.nan
    found = score(np.full_like(y, 0.1), y, target_scale=SCALE)
    assert np.isnan([found["mae"][2], found["zero_mae"][2], found["directional_accuracy"][2]]).all()
    assert np.isfinite([found["loss"], *found["mae"][:2]]).all()


def test_a_forecast_that_is_not_finite_shows(data):
    _, y = data
    forecasts = np.zeros_like(y)
    forecasts[0, 0] = np.nan
    found = score(forecasts, np.nan_to_num(y), target_scale=SCALE)
    assert np.isnan([found["loss"], found["mae"][0]]).all()
    assert np.isfinite(found["mae"][1:]).all()


def test_the_zero_forecast_has_the_error_it_is_compared_with(data):
    _, y = data
    found = score(np.zeros_like(y), y, target_scale=SCALE)
    assert found["mae"] == found["zero_mae"]
    assert np.isnan(found["directional_accuracy"]).all()
