import numpy as np

from deeptrade import open_dataset
from deeptrade.judging.baselines import READ_BYTES, last_values, ridge_forecasts
from tests.support.markets import make_market


def test_the_last_value_is_the_target_that_was_known_by_then(market):
    market.cells[30][1] = ""  # rejected
    market.cells[40][0] = str(int(market.cells[40][0]) + 60)  # comes late
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        found = last_values(data, np.array([0, 1, 20, 31, 32, 40, 41]))
    targets = market.targets.astype(np.float32)
    expected = np.full((7, 2), np.nan, np.float32)
    for at, row in enumerate([0, 1, 20, 31, 32, 40, 41]):
        for horizon in (1, 2):
            earlier = row - horizon
            if earlier >= 0 and earlier != 30 and row != 40 and earlier != 40:
                expected[at, horizon - 1] = targets[earlier, horizon - 1]
    np.testing.assert_array_equal(found, expected)


def test_ridge_finds_what_is_linear_and_stays_near_the_mean_where_nothing_is(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=400)
    linear = market.features["arr_ctx"][:, 0] @ np.array([0.001, 0, -0.002, 0])
    for row in range(400):
        market.cells[row][-2] = repr(float(linear[row]))
    market.write()
    with open_dataset(market.path) as data:
        split = data.split(0.25)
        forecasts = ridge_forecasts(data, split.train, split.validation)
        rows = split.validation.numbers()
    assert np.corrcoef(forecasts[:, 0], linear[rows])[0, 1] > 0.98
    assert forecasts[:, 1].std() < 0.5 * market.targets[:, 1].std()


def test_wide_rows_are_read_few_at_once_and_give_the_same_forecasts(market, monkeypatch):
    with open_dataset(market.path) as dataset:
        split, read, most = dataset.split(0.2), dataset.read, []
        expected = ridge_forecasts(dataset, split.train, split.validation)

        def measured(rows, features=None):
            values = read(rows, features)
            most.append(sum(array.nbytes for array in values.values()))
            return values

        monkeypatch.setattr(dataset, "read", measured)
        monkeypatch.setattr("deeptrade.judging.baselines.READ_BYTES", 3 * dataset.schema.row_bytes + 1)
        np.testing.assert_array_equal(ridge_forecasts(dataset, split.train, split.validation), expected)
        assert max(most) <= 3 * dataset.schema.row_bytes
        assert len(most) == -(-len(split.train) // 3) - (-len(split.validation) // 3)
    assert READ_BYTES <= 16 << 20
