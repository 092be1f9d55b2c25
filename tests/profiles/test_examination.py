import numpy as np
import pandas as pd
import pytest

from deeptrade import open_dataset
from deeptrade.profiles import examination
from deeptrade.profiles.examination import HISTOGRAM_EDGES, examine, examine_targets
from tests.support.markets import make_market


def examine_all(data):
    return examine(data, data.usable, data.statistics(data.usable))


def examine_one(targets):
    """The findings on the targets of a single market."""
    return examine_targets(targets, [np.arange(len(targets))], np.arange(len(targets)))


@pytest.fixture
def examined(tmp_path):
    """Write a market after `change(market)`, examine it, and return the market and the findings."""

    def examine_changed(change=lambda market: None, **options):
        market = make_market(tmp_path / "market.csv", **options)
        change(market)
        market.write()
        with open_dataset(market.path) as data:
            return market, examine_all(data)

    return examine_changed


def last_steps(values):
    """float32 (rows, channels): the last step of windows, the whole of vectors."""
    values = values[:, 0].astype(np.float32)
    return values[:, -1] if values.ndim == 3 else values


def longest(flags):
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


def test_histograms_count_the_last_steps_in_deviations(examined):
    market, found = examined(rows=300)
    for name, values in market.features.items():
        channels = values[:, 0].astype(np.float32).reshape(-1, values.shape[-1])
        scores = (last_steps(values) - channels.mean(axis=0)) / channels.std(axis=0)
        expected = np.histogram(np.clip(scores, -5, 5), HISTOGRAM_EDGES)[0]
        assert np.abs(np.array(found[name].histogram) - expected).sum() <= 2  # a score on an edge
        assert sum(found[name].histogram) == scores.size


def replace_last(market, rows, values, name="arr_5m"):
    """Put last steps into the cells of some rows."""
    import json

    column = market.header.index(name)
    for row, value in zip(rows, values, strict=True):
        window = market.features[name][row].copy()
        window[0, -1] = value
        market.features[name][row] = window
        market.cells[row][column] = json.dumps(window.tolist())


def test_stretches_without_change_and_of_zeros_are_found_across_chunks(examined, monkeypatch):
    monkeypatch.setattr(examination, "_CHUNK_BYTES", 7 * 4 * 40)  # seven rows at a time

    def change(market):
        replace_last(market, range(10, 31), [[1.0, 2.0, 3.0]] * 21)
        replace_last(market, range(40, 52), [[0.0, row, 5.0] for row in range(12)])

    market, found = examined(change, rows=60)
    last = last_steps(market.features["arr_5m"])
    assert found["arr_5m"].longest_still_rows == 21
    assert found["arr_5m"].longest_still == [longest(np.diff(last[:, c]) == 0) + 1 for c in range(3)]
    assert found["arr_5m"].longest_zero == [12, 1, 0]
    assert found["arr_5m"].zero_share == pytest.approx([12 / 60, 1 / 60, 0])


def test_numbers_that_are_not_finite_are_counted_by_place(examined):
    def change(market):
        replace_last(market, [3, 4], [[np.nan, 1, 2], [np.nan, np.inf, 2]])

    _, found = examined(change)
    assert found["arr_5m"].nonfinite_by_step == [0] * 6 + [3]
    assert found["arr_5m"].nonfinite_by_channel == [2, 1, 0]
    assert sum(found["arr_5m"].histogram) == 60 * 3 - 3


def test_windows_that_overlap_are_measured(tmp_path):
    series = np.random.default_rng(0).normal(size=(200, 3))
    market = make_market(tmp_path / "market.csv", rows=50)
    import json

    for row in range(50):
        market.cells[row][1] = json.dumps([series[2 * row : 2 * row + 7].tolist()])
    market.write()
    with open_dataset(market.path) as data:
        found = examine_all(data)
    assert found["arr_5m"].shared_steps == 5
    assert found["arr_<b>/é"].shared_steps is None


def test_a_feature_that_knows_the_target_is_found(examined):
    def change(market):
        targets = market.targets
        replace_last(market, range(60), [[1.0, 3 * targets[row, 1], row % 7] for row in range(60)])

    _, found = examined(change)
    one = found["arr_5m"]
    assert (one.correlated_channel, one.correlated_horizon) == (1, 1)
    assert one.correlation == pytest.approx(1, abs=1e-4)
    assert abs(found["arr_ctx"].correlation) < 0.6


def test_the_correlation_is_that_of_pandas(examined):
    market, found = examined(rows=90)
    for name, values in market.features.items():
        last, targets = pd.DataFrame(last_steps(values)), pd.DataFrame(market.targets)
        table = np.array([[last[c].corr(targets[h]) for h in targets] for c in last])
        assert found[name].correlation == pytest.approx(table.ravel()[np.abs(table).argmax()], rel=1e-4)


def test_drift_is_the_last_tenth_against_the_first(examined):
    def change(market):
        replace_last(market, range(54, 60), [[150.0, 100, 100]] * 6)

    market, found = examined(change)
    values = market.features["arr_5m"][:, 0].astype(np.float32).astype(float)
    expected = (values[54:].mean(axis=(0, 1)) - values[:6].mean(axis=(0, 1))) / values.std(axis=(0, 1))
    np.testing.assert_allclose(found["arr_5m"].drift, expected, rtol=1e-4)


def test_overlapping_returns_are_worth_fewer_rows():
    steps = np.random.default_rng(1).normal(size=20_000)
    targets = np.stack([np.convolve(steps, np.ones(h), "valid")[:19_000] for h in (1, 2, 3)], axis=1).astype(np.float32)
    found = examine_one(targets)
    assert found[0].independent_rows == pytest.approx(19_000, rel=0.01)
    for horizon, one in zip((1, 2, 3), found, strict=True):
        assert one.independent_rows == pytest.approx(19_000 / horizon, rel=0.1)
        expected = [max(0, 1 - lag / horizon) for lag in one.lags]
        np.testing.assert_allclose(one.autocorrelation, expected, atol=0.03)


def test_missing_targets_are_left_out_of_autocorrelation():
    targets = np.arange(50, dtype=np.float32)[:, None].copy()
    targets[::7] = np.nan
    found = examine_one(targets)[0]
    series = pd.Series(targets[:, 0])
    assert found.autocorrelation[0] == pytest.approx(series.autocorr(1), abs=0.1)
    assert found.independent_rows <= series.count()


def test_rows_of_two_equal_markets_are_worth_those_of_one():
    steps = np.random.default_rng(2).normal(size=5_000)
    targets = np.stack([np.convolve(steps, np.ones(h), "valid")[:4_990] for h in (1, 3)], axis=1).astype(np.float32)
    rows = np.arange(len(targets))
    twice, times = np.repeat(targets, 2, axis=0), np.repeat(rows, 2)
    for one, both in zip(examine_one(targets), examine_targets(twice, [2 * rows, 2 * rows + 1], times), strict=True):
        assert both.independent_rows == pytest.approx(one.independent_rows, rel=1e-6)
        np.testing.assert_allclose(both.autocorrelation, one.autocorrelation, rtol=1e-6, atol=1e-9)


def test_rows_of_two_unrelated_markets_add_up():
    made = np.random.default_rng(3).normal(size=(5_000, 2)).astype(np.float32)
    rows = np.arange(5_000)
    (both,) = examine_targets(made.reshape(-1, 1), [2 * rows, 2 * rows + 1], np.repeat(rows, 2))
    assert both.independent_rows == pytest.approx(10_000, rel=0.03)
    assert abs(both.autocorrelation[0]) < 0.05


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_are_examined(examined, rows):
    _, found = examined(rows=rows)
    assert sum(found["arr_ctx"].histogram) == 4 * rows


def test_only_some_rows_are_kept_for_correlations(examined, monkeypatch):
    monkeypatch.setattr(examination, "SAMPLE_ROWS", 20)
    monkeypatch.setattr(examination, "_CHUNK_BYTES", 7 * 4 * 40)
    market, found = examined(rows=60)
    last, targets = last_steps(market.features["arr_ctx"])[::3], market.targets[::3]
    table = np.corrcoef(last.T, targets.T)[:4, 4:]
    assert found["arr_ctx"].correlation == pytest.approx(table.ravel()[np.abs(table).argmax()], rel=1e-4)
