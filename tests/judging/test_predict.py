import gzip
import json

import keras
import numpy as np
import pandas as pd
import pytest

from deeptrade import compile_store, open_dataset, predict
from deeptrade.cli import main
from deeptrade.errors import DataError, SettingsError
from deeptrade.model import build_forecaster, half_width_of, with_calibration
from tests.support.forecasters import scrambled
from tests.support.markets import make_market


@pytest.fixture
def forecaster(market):
    with open_dataset(market.path) as data:
        scale = np.full(data.schema.horizons, 0.01, np.float32)
        statistics = data.statistics(data.usable)
        return scrambled(
            build_forecaster(
                data.schema, model_size="tiny", encoder="multiscale", statistics=statistics, target_scale=scale
            )
        )


@pytest.mark.parametrize("batch_size", [7, 60, 64])
def test_every_usable_row_is_forecast_in_file_order(market, forecaster, tmp_path, batch_size):
    forecaster.save(tmp_path / "model.keras")
    market.cells[10][1] = "[[[1]]]"
    market.write()
    store = compile_store(market.path, max_bad_rows=0.1)
    found = predict(tmp_path / "model.keras", store, batch_size=batch_size, max_bad_rows=0.1)
    assert found.index.get_level_values("row").tolist() == [row for row in range(60) if row != 10]
    assert found.index.names == ["row", "timestamp"]
    assert list(found.columns) == ["y_1", "y_2"]
    assert set(found.dtypes) == {np.dtype(np.float32)}
    with open_dataset(store, max_bad_rows=0.1) as data:
        assert found.index.get_level_values("timestamp").as_unit("ns").asi8.tolist() == data.timestamps.tolist()
        expected = np.asarray(forecaster(data.read(data.usable.numbers())))
        np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-4, atol=1e-6)
        part = predict(forecaster, data, split="validation", val_ratio=0.2, batch_size=batch_size)
    assert part.index.get_level_values("row").tolist() == list(range(50, 60))
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


def dense(inputs, units=3):
    return keras.layers.Dense(units)(inputs)


def two_outputs():
    inputs = {"arr_ctx": keras.Input((4,), name="a")}
    return keras.Model(inputs, [dense(inputs["arr_ctx"]), dense(inputs["arr_ctx"])])


def no_dict():
    inputs = keras.Input((4,))
    return keras.Model(inputs, dense(inputs))


def of_shape(*shape, name="arr_ctx"):
    inputs = {name: keras.Input(shape, name="x")}
    return keras.Model(inputs, dense(keras.layers.Flatten()(inputs[name])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_outputs, "the model has 2 outputs; give one with a single output"),
        (no_dict, "the model does not take a dict of features; give one whose inputs are named after them"),
        (lambda: of_shape(5), r"feature 'arr_ctx' has shape \(4,\) in m, but \(5,\) in the model"),
        (lambda: of_shape(2, 2), r"feature 'arr_ctx' has shape \(4,\) in m, but \(2, 2\) in the model"),
        (lambda: of_shape(4, name="other"), "m has no feature 'other', which the model reads; it has arr_ctx"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_in_one_line(tmp_path, make, message):
    market = make_market(tmp_path / "m.csv", shapes={"arr_ctx": (1, 4)})
    with pytest.raises(DataError, match=message):
        predict(make(), market.path)


def drop_targets(market):
    market.header = market.header[:-2]
    market.cells = [cells[:-2] for cells in market.cells]


def empty_targets(market):
    market.cells = [[*cells[:-2], "", ""] for cells in market.cells]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("change", [drop_targets, empty_targets])
def test_rows_without_targets_are_forecast_as_those_with_targets(market, forecaster, tmp_path, ending, change):
    expected = predict(forecaster, market.path)
    live = make_market(tmp_path / "live.csv")
    change(live)
    live.write()
    path = tmp_path / f"live{ending}"
    if ending == ".csv.gz":
        path.write_bytes(gzip.compress(live.path.read_bytes()))
    if ending == ".parquet":
        columns = {"timestamp": [int(cells[0]) for cells in live.cells]}
        columns |= {name: values.tolist() for name, values in live.features.items()}
        columns |= {name: [None] * 60 for name in live.header if name.startswith("y_")}
        pd.DataFrame(columns).astype({n: float for n in columns if n.startswith("y_")}).to_parquet(path)
    found = predict(forecaster, path)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    assert found.index.get_level_values("timestamp")[-1] == pd.Timestamp(1_700_000_000 + 59 * 1200, unit="s", tz="UTC")


@pytest.mark.parametrize("folder", ["run", "run/train"])
def test_the_folder_of_a_run_or_a_training_is_a_model_too(market, forecaster, tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    forecaster.save(tmp_path / folder / "model.keras")
    pd.testing.assert_frame_equal(predict(tmp_path / "run", market.path), predict(forecaster, market.path), rtol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_the_command_writes_the_newest_row(market, forecaster, tmp_path, ending, capsys):
    forecaster.save(tmp_path / "model.keras")
    drop_targets(market)
    market.write()
    out = tmp_path / f"forecasts{ending}"
    assert main(["predict", str(tmp_path / "model.keras"), str(market.path), "--out", str(out)]) == 0
    table = pd.read_csv(out, parse_dates=["timestamp"]) if ending == ".csv" else pd.read_parquet(out)
    assert list(table.columns) == ["timestamp", "row", "y_1", "y_2"]
    assert table["timestamp"].iloc[-1] == pd.Timestamp(1_700_000_000 + 59 * 1200, unit="s", tz="UTC")
    assert "60 forecasts, the newest of 2023-11-15T17:53:20+00:00" in capsys.readouterr().out
    np.testing.assert_allclose(table[["y_1", "y_2"]], predict(forecaster, market.path), rtol=1e-6)


def test_another_ending_is_refused_before_the_model_is_loaded(market, tmp_path, capsys):
    assert main(["predict", "no.keras", str(market.path), "--out", str(tmp_path / "f.xlsx")]) == 2
    assert "out='f.xlsx' has no ending that is known; give a .csv or a .parquet file" in capsys.readouterr().err


def test_training_refuses_data_without_targets(market, tmp_path, capfd):
    drop_targets(market)
    market.write()
    assert main(["fit", "--csv", str(market.path), "--out", str(tmp_path / "run")]) == 2
    assert "no targets among" in capfd.readouterr().err


@pytest.fixture
def calibrated(forecaster):
    return with_calibration(forecaster, shrinkage=[0.5, 0.1], half_width=[0.02, np.inf])


def test_intervals_lie_as_far_to_both_sides_as_the_model_holds(market, calibrated, tmp_path):
    calibrated.save(tmp_path / "model.keras")
    found = predict(tmp_path / "model.keras", market.path, intervals=True)
    assert list(found.columns) == ["y_1", "y_2", "low_1", "low_2", "high_1", "high_2"]
    assert set(found.dtypes) == {np.dtype(np.float32)}
    pd.testing.assert_frame_equal(found[["y_1", "y_2"]], predict(calibrated, market.path), rtol=1e-5)
    np.testing.assert_allclose(found["high_1"] - found["y_1"], 0.02, rtol=1e-4)
    np.testing.assert_allclose(found["y_1"] - found["low_1"], 0.02, rtol=1e-4)
    assert found["low_2"].eq(-np.inf).all()  # nothing is promised where inner rows were too few
    assert found["high_2"].eq(np.inf).all()


def test_half_a_width_is_that_of_the_calibration_and_unknown_without(forecaster, calibrated):
    assert half_width_of(calibrated).tolist() == [np.float32(0.02), np.inf]
    assert half_width_of(forecaster) is None
    assert half_width_of(of_shape(4)) is None


def test_intervals_of_a_model_without_calibration_are_refused(market, forecaster, tmp_path, capsys):
    message = "the model has no intervals, for it was not calibrated on inner rows; give one that fit trained with an "
    with pytest.raises(SettingsError, match=message):
        predict(forecaster, market.path, intervals=True)
    forecaster.save(tmp_path / "model.keras")
    out = tmp_path / "f.csv"
    assert main(["predict", str(tmp_path / "model.keras"), str(market.path), "--out", str(out), "--intervals"]) == 2
    assert "inner_ratio above 0, or leave out intervals" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("coverage", "line"),
    [
        ([0.941, 0.9634], "95% intervals; in validation they held 94.1% to 96.3% of outcomes"),
        ([0.95, None], "95% intervals; in validation they held 95.0% of outcomes"),
        (None, "95% intervals; how often they hold on later rows is not known"),
    ],
)
def test_the_command_writes_intervals_and_says_how_they_held(market, calibrated, tmp_path, capsys, coverage, line):
    (tmp_path / "run").mkdir()
    calibrated.save(tmp_path / "run" / "model.keras")
    if coverage:
        (tmp_path / "run" / "result.json").write_text(json.dumps({"calibration": {"coverage": coverage}}))
    out = tmp_path / "forecasts.csv"
    assert main(["predict", str(tmp_path / "run"), str(market.path), "--out", str(out), "--intervals"]) == 0
    table = pd.read_csv(out)
    assert list(table.columns) == ["timestamp", "row", "y_1", "y_2", "low_1", "low_2", "high_1", "high_2"]
    np.testing.assert_allclose(table["high_1"] - table["low_1"], 0.04, rtol=1e-4)
    assert line in capsys.readouterr().out


def test_the_intervals_of_a_trained_model_hold_as_often_as_its_run_says(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=240)
    given = ["--csv", str(market.path), "--out", str(tmp_path / "run"), "--model_size", "tiny", "--max_steps", "3"]
    assert main(["fit", *given, "--skip_rl", "--val_ratio", "0.2"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    found = predict(tmp_path / "run", market.path, split="validation", val_ratio=0.2, intervals=True)
    outcomes = market.targets[found.index.get_level_values("row")]
    held = [
        np.mean((found[f"low_{h}"] <= outcomes[:, h - 1]) & (outcomes[:, h - 1] <= found[f"high_{h}"])) for h in (1, 2)
    ]
    np.testing.assert_allclose(held, result["calibration"]["coverage"], rtol=1e-6)
    assert np.isfinite(found.to_numpy()).all()
