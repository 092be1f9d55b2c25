import numpy as np
import pytest

from deeptrade.training.calibration import (
    COVERAGE,
    LEAST_SHRINKAGE,
    _absolute,
    calibrate,
    conformal_half_width,
    shrinkage,
)


def market(rows, *, slope, seed, horizons=2):
    """Forecasts and outcomes whose slope is known, with volatility that clusters."""
    generator = np.random.default_rng(seed)
    volatility = np.exp(0.3 * generator.normal(size=(rows, 1)).cumsum(axis=0) / 10)
    forecasts = generator.normal(size=(rows, horizons))
    return forecasts, slope * forecasts + 10 * np.clip(volatility, 0.2, 5) * generator.normal(size=(rows, horizons))


def test_the_slope_is_that_of_least_squares_through_the_origin():
    forecasts, targets = market(500, slope=0.5, seed=0)
    targets[::9] = np.nan
    found = calibrate(forecasts, targets, overlap=2)
    for horizon in range(2):
        known = np.isfinite(targets[:, horizon])
        (expected,), *_ = np.linalg.lstsq(forecasts[known, horizon, None], targets[known, horizon], rcond=None)
        assert found.slope[horizon] == pytest.approx(expected, rel=1e-9)
    assert found.rows == 500


def test_the_standard_error_of_a_slope_is_its_spread_over_many_series():
    found = [calibrate(*market(1000, slope=0.2, seed=seed, horizons=1), overlap=1) for seed in range(300)]
    spread = np.std([one.slope[0] for one in found])
    assert np.sqrt(np.mean(np.square([one.slope_error[0] for one in found]))) == pytest.approx(spread, rel=0.15)


def test_forecasts_without_skill_shrink_nearly_to_zero_and_those_with_skill_hardly():
    without = [
        calibrate(*market(2000, slope=0.0, seed=seed, horizons=1), overlap=1).shrinkage[0] for seed in range(100)
    ]
    assert np.mean(np.array(without) == LEAST_SHRINKAGE) > 0.6
    assert np.mean(without) < 0.1
    strong = calibrate(*market(20_000, slope=0.9, seed=1), overlap=2).shrinkage
    np.testing.assert_allclose(strong, 0.9, atol=0.25)


def test_absolute_errors_have_their_least_at_the_weighted_median_of_the_ratios():
    forecasts, targets = market(3000, slope=0.6, seed=4, horizons=1)
    forecast, target = forecasts[:, 0], targets[:, 0] / 10
    factors = np.linspace(0, 1, 2001)
    errors = [np.abs(target - factor * forecast).mean() for factor in factors]
    gains = np.sign(target) * forecast
    sums = [part.sum() for part in np.array_split(gains - gains.mean(), 150)]
    doubt = np.sqrt(np.square(sums).sum() * 150 / 149) / gains.sum()
    expected = factors[int(np.argmin(errors))] * (1 - doubt**2)
    assert _absolute(forecast, target, 20) == pytest.approx(expected, abs=1e-3)


def test_a_size_that_a_few_large_outcomes_make_does_not_raise_the_absolute_error():
    generator = np.random.default_rng(0)
    forecasts = generator.normal(size=(4000, 1))
    targets = 0.5 * generator.standard_normal((4000, 1)) - 0.05 * np.sign(forecasts)
    largest = np.argsort(forecasts[:, 0])[-40:]
    targets[largest] += 25  # the slope of all rows is theirs
    found = calibrate(forecasts, targets, overlap=1)
    assert found.slope[0] > 0.3
    assert found.shrinkage == [LEAST_SHRINKAGE]


def test_a_shrunken_forecast_errs_no_more_than_one_of_full_size_on_new_rows():
    gains = []
    for seed in range(100):
        forecasts, targets = market(4000, slope=0.1, seed=seed, horizons=1)
        factor = calibrate(forecasts[:2000], targets[:2000], overlap=1).shrinkage[0]
        later = slice(2000, None)
        full, calibrated, none = (
            np.mean((targets[later] - size * forecasts[later]) ** 2) for size in (1.0, factor, 0.0)
        )
        gains.append((1 - calibrated / full, 1 - calibrated / none))
    full, none = np.mean(gains, axis=0)
    assert full > 0
    assert none > -0.001


@pytest.mark.parametrize(
    ("slope", "error", "factor"),
    [(0.5, 0.1, 0.48), (0.1, 0.1, 0.01), (0.05, 0.1, 0.01), (-0.5, 0.1, 0.01), (2.0, 0.1, 1.0), (np.nan, np.nan, 0.01)],
)
def test_a_slope_counts_as_far_as_it_is_sure(slope, error, factor):
    assert shrinkage(slope, error) == pytest.approx(factor)


@pytest.mark.parametrize("rows", [0, 1, 30, 99])
def test_too_few_rows_support_nothing(rows):
    forecasts, targets = market(rows, slope=1.0, seed=0)
    found = calibrate(forecasts, targets, overlap=2)
    assert found.shrinkage == [LEAST_SHRINKAGE] * 2
    assert np.isnan(found.slope_error).all()


def test_a_block_spans_as_much_time_whatever_the_number_of_markets():
    forecasts, targets = market(400, slope=0.5, seed=0)
    alone, several = (
        calibrate(forecasts, targets, overlap=2),
        calibrate(forecasts.repeat(4, 0), targets.repeat(4, 0), overlap=2, markets=4),
    )
    np.testing.assert_allclose(several.slope_error, alone.slope_error, rtol=1e-9)


def test_a_block_spans_the_time_that_targets_overlap():
    forecasts, targets = market(400, slope=0.5, seed=0)
    assert np.isfinite(calibrate(forecasts, targets, overlap=40).slope_error).all()
    assert np.isnan(calibrate(forecasts, targets, overlap=41).slope_error).all()  # fewer than five blocks


def test_intervals_cover_new_rows_as_often_as_they_say():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        errors = np.abs(generator.standard_t(3, 201))
        covered.append(errors[-1] <= conformal_half_width(errors[:-1]))
    assert 0.93 < np.mean(covered) < 0.97
    assert COVERAGE == 0.95


@pytest.mark.parametrize(("rows", "rank"), [(19, 19), (18, None), (0, None), (39, 38)])
def test_the_half_width_is_the_right_order_statistic(rows, rank):
    errors = np.arange(1.0, rows + 1)
    assert conformal_half_width(np.append(errors, np.nan)) == (np.inf if rank is None else rank)
