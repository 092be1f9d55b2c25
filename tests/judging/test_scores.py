"""Scores against scipy, scikit-learn and plain loops; their intervals against what they should cover."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from deeptrade.judging.resampling import Blocks, block_length
from deeptrade.judging.scores import groups_by_size, score

ROWS = 500


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    targets = generator.standard_t(4, (ROWS, 3)) * 0.01
    forecasts = 0.2 * targets + generator.normal(0, 0.005, (ROWS, 3))
    targets[generator.random(targets.shape) < 0.1] = np.nan
    targets[:5, 1] = 0
    return forecasts, targets


def scores_of(forecasts, targets, others=None, *, length=10, mean=0.001, **options):
    blocks = Blocks(np.arange(len(targets)), length=length)
    training_mean = np.full(targets.shape[1], mean)
    found, resampled = score(forecasts, targets, others or {}, training_mean=training_mean, blocks=blocks, **options)
    return {(one.metric, one.horizon): one for one in found}, resampled


def test_every_score_equals_another_spelling(rows):
    forecasts, targets = rows
    other = np.full_like(targets, 0.002)
    other[::7] = np.nan
    found, _ = scores_of(forecasts, targets, {"constant": other})
    for horizon in range(3):
        known = np.isfinite(targets[:, horizon])
        f, y = forecasts[known, horizon], targets[known, horizon]
        signed = (f != 0) & (y != 0)
        right, up = np.mean(np.sign(f[signed]) == np.sign(y[signed])), np.mean(y[signed] > 0)
        both = np.isfinite(other[known, horizon])
        expected = {
            "mae": mean_absolute_error(y, f),
            "zero_mae": mean_absolute_error(y, 0 * y),
            "r2": 1 - np.mean((y - f) ** 2) / np.mean(y**2),
            "r2_mean": 1 - np.mean((y - f) ** 2) / np.mean((y - 0.001) ** 2),
            "ic": stats.pearsonr(f, y).statistic,
            "rank_ic": stats.spearmanr(f, y).statistic,
            "slope": stats.linregress(f, y).slope,
            "direction": right,
            "base_rate": max(up, 1 - up),
            "direction_gain": right - max(up, 1 - up),
            "mae_gain_constant": 1
            - mean_absolute_error(y[both], f[both]) / mean_absolute_error(y[both], 0 * y[both] + 0.002),
        }
        for metric, value in expected.items():
            assert found[metric, horizon + 1].value == pytest.approx(value, rel=1e-9, abs=1e-12), metric
    assert r2_score(y, f) == pytest.approx(1 - np.mean((y - f) ** 2) / np.var(y))


def test_ranks_are_taken_within_each_market(rows):
    forecasts, targets = (np.nan_to_num(values) for values in rows)
    markets = np.array(["A", "B"], object)[np.arange(ROWS) % 2]
    scale = np.where(markets == "A", 1.0, 1000.0)[:, None]
    apart, _ = scores_of(forecasts * scale, targets * scale, markets=markets)
    alike, _ = scores_of(forecasts, targets, markets=markets)
    assert apart["rank_ic", 1].value == pytest.approx(alike["rank_ic", 1].value, rel=1e-9)


def test_a_constant_forecast_has_no_correlation_and_no_slope(rows):
    _, targets = rows
    found, _ = scores_of(np.full_like(targets, 0.003), targets)
    assert [found[metric, 1].value for metric in ("ic", "rank_ic", "slope")] == [None] * 3
    assert found["mae", 1].value > 0


def test_nothing_known_gives_no_score():
    found, _ = scores_of(np.zeros((30, 1)), np.full((30, 1), np.nan))
    assert all(one.value is None for one in found.values() if one.metric not in ("r2", "r2_mean"))


def test_an_interval_equals_that_of_resampling_rows_block_by_block(rows):
    forecasts, targets = rows
    blocks = Blocks(np.arange(ROWS), length=10, seed=3)
    given = {"training_mean": np.zeros(3), "blocks": blocks}
    found, resampled = score(forecasts, targets, {}, **given)
    known = np.isfinite(targets[:, 0])
    for number in (0, 500, 999):
        drawn = (np.concatenate(list(blocks.starts()))[number][:, None] + np.arange(10)).ravel() % ROWS
        drawn = drawn[known[drawn]]
        f, y = forecasts[drawn, 0], targets[drawn, 0]
        assert resampled["ic"][number + 1, 0] == pytest.approx(np.corrcoef(f, y)[0, 1], rel=1e-9)
        assert resampled["mae"][number + 1, 0] == pytest.approx(np.abs(y - f).mean(), rel=1e-9)
    low, high = np.quantile(resampled["ic"][1:, 0], (0.025, 0.975))
    one = next(one for one in found if (one.metric, one.horizon) == ("ic", 1))
    assert (one.low, one.high) == (pytest.approx(low), pytest.approx(high))


def test_rows_of_one_time_stay_together():
    times = np.repeat(np.arange(100), 3)
    values = np.random.default_rng(0).normal(size=(300, 1))
    blocks = Blocks(times, length=5)
    sums = blocks.sums(values)
    by_step = values.reshape(100, 3).sum(axis=1)
    drawn = (np.concatenate(list(blocks.starts()))[7][:, None] + np.arange(5)).ravel() % 100
    assert sums[8, 0] == pytest.approx(by_step[drawn].sum())
    assert sums[0, 0] == pytest.approx(values.sum())


def test_too_few_blocks_give_values_without_intervals(rows):
    forecasts, targets = rows
    found, resampled = scores_of(forecasts, targets, length=80)
    assert found["mae", 1].value > 0
    assert found["mae", 1].low is None
    assert len(resampled["mae"]) == 1


@pytest.mark.parametrize("metric", ["rank_ic", "ic", "mae_gain_zero", "direction", "r2"])
def test_intervals_cover_the_truth_of_overlapping_returns(metric):
    """Sums over ten steps, taken at every step, of noise whose volatility clusters; the truth is over all series."""
    generator, found = np.random.default_rng(1), []
    for seed in range(150):
        volatility = np.exp(np.convolve(generator.normal(size=1300), np.exp(-np.arange(100) / 30), "valid") / 8)[:1010]
        steps = volatility * generator.normal(size=1010)
        targets = np.convolve(steps, np.ones(10), "valid")[:1000, None]
        forecasts = np.convolve(generator.normal(size=1100), np.ones(20) / 40, "valid")[:1000, None]
        length = block_length([forecasts[:, 0] * targets[:, 0]], np.arange(1000), overlap=10)
        blocks = Blocks(np.arange(1000), length=length, seed=seed)
        zero = {"zero": np.zeros_like(targets)}
        scores, _ = score(forecasts, targets, zero, training_mean=np.zeros(1), blocks=blocks)
        found.append(next(one for one in scores if one.metric == metric))
    truth = np.mean([one.value for one in found])
    assert 0.88 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_blocks_are_longer_where_rows_depend_longer_and_never_shorter_than_the_overlap():
    generator, times = np.random.default_rng(0), np.arange(5000)
    noise = generator.normal(size=5000)
    smooth = np.convolve(generator.normal(size=5200), np.exp(-np.arange(201) / 50), "valid")[:5000]
    short, long = (block_length([values], times, overlap=3) for values in (noise, smooth))
    assert short < 20 < long
    assert block_length([noise], times, overlap=40) >= 80
    assert block_length([noise[:5]], times[:5], overlap=2) == 4


def test_groups_by_size_hold_the_means_of_equal_numbers_of_rows():
    forecasts = np.arange(100.0)
    targets = 2 * forecasts
    targets[3] = np.nan
    groups = groups_by_size(forecasts, targets)
    assert len(groups) == 5
    assert all(target == pytest.approx(2 * forecast) for forecast, target in groups)
    assert groups == sorted(groups)
    assert groups_by_size(forecasts[:4], targets[:4]) == []
