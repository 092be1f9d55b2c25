import numpy as np
import pytest

from deeptrade import open_dataset
from deeptrade.judging import baselines
from deeptrade.judging.baselines import LAGS, READ_BYTES, simple_forecasts, stationary
from tests.support.markets import make_market


def market_with(tmp_path, first, rows=600):
    """A market whose y_1 is `first`(vectors), and whose y_2 is noise."""
    market = make_market(tmp_path / "market.csv", rows=rows)
    known = first(market.features["arr_ctx"][:, 0])
    for row in range(rows):
        market.cells[row][-2] = repr(float(known[row]))
    market.write()
    return market, known


def split_of(data, inner_ratio=0.2):
    return data.split(0.25, inner_ratio=inner_ratio)


@pytest.mark.parametrize("inner_ratio", [0.0, 0.2])
def test_ridge_finds_what_is_linear_and_stays_near_the_mean_where_nothing_is(tmp_path, inner_ratio):
    market, linear = market_with(tmp_path, lambda x: x @ np.array([0.001, 0, -0.002, 0]))
    with open_dataset(market.path) as data:
        split = split_of(data, inner_ratio)
        found = simple_forecasts(data, split, overlap=2)["ridge"]
    rows = split.validation.numbers()
    assert np.corrcoef(found[:, 0], linear[rows])[0, 1] > 0.98
    assert found[:, 1].std() < 0.5 * market.targets[:, 1].std()


def test_trees_find_what_is_not_linear(tmp_path):
    pytest.importorskip("lightgbm")
    market, bent = market_with(tmp_path, lambda x: 0.01 * (np.abs(x[:, 0] - 100) > 3.4), rows=2000)
    with open_dataset(market.path) as data:
        split = split_of(data)
        found = simple_forecasts(data, split, overlap=2)
    rows = split.validation.numbers()
    of_trees, of_ridge = (np.corrcoef(found[name][:, 0], bent[rows])[0, 1] for name in ("trees", "ridge"))
    assert of_trees > 0.5 > abs(of_ridge)
    assert found["trees"][:, 1].std() < 0.5 * market.targets[:, 1].std()


def test_zero_is_zero_and_the_mean_is_that_of_the_training_targets(market):
    with open_dataset(market.path) as data:
        split = split_of(data)
        found = simple_forecasts(data, split, overlap=2)
        trained = market.targets[split.train.numbers()].astype(np.float32).astype(float)
    assert not found["zero"].any()
    np.testing.assert_allclose(found["mean"], np.broadcast_to(trained.mean(axis=0), found["mean"].shape))


@pytest.mark.parametrize("overlap", [2, 30])
def test_without_inner_rows_nothing_that_reaches_into_the_tuning_rows_is_fitted(tmp_path, monkeypatch, overlap):
    seen = []
    monkeypatch.setattr(baselines, "_ridge", lambda x, y, x_tuning, y_tuning: seen.append((len(x), len(x_tuning))))
    monkeypatch.setattr(baselines, "_trees", lambda: None)
    market, _ = market_with(tmp_path, lambda x: x[:, 0])
    with open_dataset(market.path) as data:
        split = split_of(data, 0.0)
        simple_forecasts(data, split, overlap=overlap)
    rows = len(split.train)
    assert seen == [(int(0.9 * rows) - overlap, rows - int(0.9 * rows))] * 2


def test_few_known_targets_are_no_ground_for_a_regression(market):
    with open_dataset(market.path) as data:
        assert np.isnan(simple_forecasts(data, split_of(data), overlap=2)["ridge"]).all()


def test_other_validation_rows_change_no_forecast_of_the_others(tmp_path):
    market, _ = market_with(tmp_path, lambda x: x @ np.array([0.001, 0, -0.002, 0]))
    with open_dataset(market.path) as data:
        split = split_of(data)
        before = simple_forecasts(data, split, overlap=2)
    last = split.validation.numbers()[-1]
    market.cells[last][-2:] = ["0.5", "0.5"]
    market.cells[last][-3] = "[[1.0, 2.0, 3.0, 4.0]]"
    market.write()
    with open_dataset(market.path) as data:
        after = simple_forecasts(data, split_of(data), overlap=2)
    for name, values in before.items():
        np.testing.assert_array_equal(values[:-1], after[name][:-1])


def test_changes_of_a_window_equal_a_plain_loop(market):
    with open_dataset(market.path) as data:
        rows = np.array([0, 7, 59])
        found = stationary(data, rows, ["arr_5m", "arr_ctx"])
    windows, vectors = (market.features[name][rows, 0].astype(np.float32) for name in ("arr_5m", "arr_ctx"))
    lags = [lag for lag in LAGS if lag < 7]
    for at in range(3):
        size = np.abs(windows[at]).mean(axis=0)
        changes = [(windows[at, -1] - windows[at, -1 - lag]) / size for lag in lags]
        np.testing.assert_allclose(found[at], np.concatenate([*changes, vectors[at]]), rtol=1e-5, atol=1e-6)


def test_numbers_that_are_not_finite_count_as_the_mean(tmp_path):
    market, _ = market_with(tmp_path, lambda x: x @ np.array([0.001, 0, -0.002, 0]))
    for row in range(0, 600, 3):
        market.cells[row][-3] = "[[NaN, 100.0, Infinity, 100.0]]"
    market.write()
    with open_dataset(market.path) as data:
        found = simple_forecasts(data, split_of(data), overlap=2)
    assert all(np.isfinite(values).all() for values in found.values())


def test_wide_rows_are_read_few_at_once_and_give_the_same_numbers(market, monkeypatch):
    with open_dataset(market.path) as dataset:
        rows, read, most = np.arange(40), dataset.read, []
        expected = stationary(dataset, rows)

        def measured(rows, features=None):
            values = read(rows, features)
            most.append(sum(array.nbytes for array in values.values()))
            return values

        monkeypatch.setattr(dataset, "read", measured)
        monkeypatch.setattr(baselines, "READ_BYTES", 3 * dataset.schema.row_bytes + 1)
        np.testing.assert_array_equal(stationary(dataset, rows), expected)
        assert max(most) <= 3 * dataset.schema.row_bytes
        assert len(most) == 14
    assert READ_BYTES <= 16 << 20
