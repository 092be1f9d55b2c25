import numpy as np

from deeptrade import open_dataset
from deeptrade.judging.baselines import READ_BYTES, last_values, ridge_forecasts
from deeptrade.store.row_range import RowRange
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


def test_the_last_value_of_targets_further_apart_than_rows_sees_no_future(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=400)  # rows 20 minutes apart, targets 1 and 2 hours ahead
    price = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, 420).cumsum())
    for row, cells in enumerate(market.cells):
        cells[-2:] = [str(price[row + ahead] / price[row] - 1) for ahead in (3, 6)]
    market.write()
    rows = np.arange(6, 400)
    with open_dataset(market.path) as data:
        found = last_values(data, rows, target_step=3600 * 10**9)
    for column, ahead in enumerate((3, 6)):
        np.testing.assert_allclose(found[:, column], price[rows] / price[rows - ahead] - 1, rtol=1e-5)


def test_ridge_never_fits_on_the_rows_that_choose_its_penalty(tmp_path, monkeypatch):
    fitted = []

    def solve(inputs, targets, penalty):
        fitted.append(len(inputs))
        return np.zeros((inputs.shape[1], targets.shape[1]))

    monkeypatch.setattr("deeptrade.judging.baselines._solve", solve)
    market = make_market(tmp_path / "m.csv", rows=40)
    with open_dataset(market.path) as data:
        ridge_forecasts(data, RowRange(0, 11), RowRange(30, 40), overlap=12)
        assert fitted == [0] * 5 + [11]
        fitted.clear()
        ridge_forecasts(data, RowRange(0, 30), RowRange(30, 40), overlap=6)
        assert fitted == [21] * 5 + [30]


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
