import keras
import numpy as np
import pytest

from deeptrade import compile_store, open_dataset, predict
from deeptrade.errors import DataError
from deeptrade.model import build_forecaster
from tests.support.forecasters import scrambled
from tests.support.markets import make_market


@pytest.fixture
def forecaster(market):
    with open_dataset(market.path) as data:
        scale = np.full(data.schema.horizons, 0.01, np.float32)
        statistics = data.statistics(data.usable)
        return scrambled(build_forecaster(data.schema, model_size="tiny", statistics=statistics, target_scale=scale))


@pytest.mark.parametrize("batch_size", [7, 60, 64])
def test_every_usable_row_is_forecast_in_file_order(market, forecaster, tmp_path, batch_size):
    forecaster.save(tmp_path / "model.keras")
    market.cells[10][1] = "[[[1]]]"
    market.write()
    store = compile_store(market.path, max_bad_rows=0.1)
    found = predict(tmp_path / "model.keras", store, batch_size=batch_size, max_bad_rows=0.1)
    assert found.index.tolist() == [row for row in range(60) if row != 10]
    assert found.index.name == "row"
    assert list(found.columns) == ["y_1", "y_2"]
    assert set(found.dtypes) == {np.dtype(np.float32)}
    with open_dataset(store, max_bad_rows=0.1) as data:
        expected = np.asarray(forecaster(data.read(data.usable.numbers())))
        np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-4, atol=1e-6)
        part = predict(forecaster, data, split="validation", val_ratio=0.2, batch_size=batch_size)
    assert part.index.tolist() == list(range(50, 60))
    np.testing.assert_allclose(part.to_numpy(), found.loc[50:].to_numpy(), rtol=1e-4, atol=1e-6)


def test_data_without_a_feature_of_the_model_is_refused(forecaster, tmp_path):
    without = make_market(tmp_path / "w.csv", shapes={"arr_5m": (1, 7, 3), "arr_ctx": (1, 4)})
    with pytest.raises(DataError, match=r"w has no feature 'arr_<b>/é', which the model reads; it has arr_5m, arr_ctx"):
        predict(forecaster, without.path)
    other = make_market(tmp_path / "o.csv", shapes={"arr_5m": (1, 8, 3), "arr_<b>/é": (1, 5, 2), "arr_ctx": (1, 4)})
    with pytest.raises(DataError, match=r"feature 'arr_5m' has shape \(8, 3\) in o, but \(7, 3\) in the model"):
        predict(forecaster, other.path)


def test_a_file_that_is_not_a_model_is_an_error_of_one_line(market, tmp_path):
    with pytest.raises(DataError, match=r"model .* does not exist; give the model\.keras of a run"):
        predict(tmp_path / "none.keras", market.path)
    (tmp_path / "bad.keras").write_text("no model")
    with pytest.raises(DataError, match=r"bad\.keras cannot be read as a Keras model"):
        predict(tmp_path / "bad.keras", market.path)


def test_any_keras_model_of_a_dict_of_features_forecasts(tmp_path):
    market = make_market(tmp_path / "m.csv", shapes={"arr_ctx": (1, 4)})
    inputs = {"arr_ctx": keras.Input((4,), name="arr_ctx")}
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs["arr_ctx"]))
    found = predict(model, market.path)
    assert list(found.columns) == ["y_1", "y_2", "y_3"]
    expected = np.asarray(model({"arr_ctx": market.features["arr_ctx"][:, 0].astype(np.float32)}))
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-4, atol=1e-5)
