import numpy as np

from deeptrade.judging.evaluation import Evaluation
from deeptrade.judging.periods import PeriodScore
from deeptrade.judging.scores import Score
from deeptrade.report import figures
from deeptrade.report.findings.training import first_middle_last, stretches, strongest_first
from deeptrade.times import SECOND
from deeptrade.training.judged import Judged


def make_judged(forecasts, outcomes):
    rows = len(forecasts)
    times = 1_700_000_000 * SECOND + np.arange(rows) * 1200 * SECOND
    columns = [np.array([values], np.float32).T for values in (forecasts, outcomes)]
    return Judged(np.arange(rows), times, np.full(rows, "", object), *columns)


def test_stretches_hold_equally_many_rows_and_their_means():
    found = stretches(make_judged(np.arange(20) / 1000, np.ones(20) / 100))
    assert [one.rows for one in found] == [5, 5, 5, 5]
    np.testing.assert_allclose([one.forecast for one in found], [0.002, 0.007, 0.012, 0.017])
    np.testing.assert_allclose([one.outcome for one in found], 0.01)
    assert found[0].middle == "2023-11-14T22:53:20+00:00"


def test_rows_without_forecast_or_outcome_are_left_out_and_too_few_give_nothing():
    found = stretches(make_judged([np.nan, *np.ones(10)], [*np.ones(10), np.nan]))
    assert sum(one.rows for one in found) == 9
    assert stretches(make_judged([1.0] * 4, [1.0] * 4)) == []


def test_forecasts_and_outcomes_have_an_axis_each_and_the_title_counts_equal_signs():
    figure = figures.forecasts_over_time(make_judged([0.001] * 10, [*[0.01] * 5, *[-0.01] * 5]), "20min")
    outcome, forecast = figure.axes
    title = "Mean forecast and outcome 20min ahead have the same sign in 1 of 2 stretches of time"
    assert outcome.get_title(loc="left") == title
    np.testing.assert_allclose(outcome.lines[0].get_ydata(), [0.01, -0.01])
    np.testing.assert_allclose(forecast.lines[0].get_ydata(), [0.001, 0.001])
    nothing = figures.forecasts_over_time(make_judged([], []), "20min")
    assert nothing.axes[0].get_title(loc="left") == "Too few forecasts to show over time"
    assert "<svg" in figures.as_html(nothing, alt="nothing")


def test_periods_are_shown_at_the_first_middle_and_last_horizon():
    gains = {"2026-01": 0.01, "calm": -0.02}
    periods = [PeriodScore(name, h, 50, None, gain * h) for h in (1, 2, 3, 4) for name, gain in gains.items()]
    axes = figures.by_period(Evaluation(periods=periods, step="1h"), metric="mae_gain").axes[0]
    assert axes.get_title(loc="left") == "The error is below that of zero in 1 of 2 periods, 1h ahead"
    assert [line.get_label() for line in axes.lines[:3]] == ["1h ahead", "3h ahead", "4h ahead"]
    assert list(axes.lines[0].get_ydata()) == [0.01, -0.02]
    few = figures.by_period(Evaluation(periods=periods), metric="rank_ic").axes[0]
    assert few.get_title(loc="left") == "Too few rows to tell how it holds over time"


def test_the_first_middle_and_last_of_few_are_each_there_once():
    assert first_middle_last([3, 1, 2, 1]) == [1, 2, 3]
    assert first_middle_last([7]) == [7]
    assert first_middle_last([]) == []


def gains(name, *values):
    return [
        Score(horizon, None, f"mae_gain_{name}", value, value - 0.1, value + 0.1)
        for horizon, value in enumerate(values, 1)
    ]


def test_the_strongest_baseline_comes_first_and_is_the_one_that_is_told():
    judged = Evaluation(gains("zero", 0.3, 0.2) + gains("ridge", 0.05, 0.2) + gains("trees", 0.2, 0.2))
    assert [one.baseline for one in strongest_first(judged)] == ["ridge", "trees", "zero"]
    figure = figures.gains(judged)
    told = "The error beside ridge's, the lowest of 3 simple forecasts, is lower at 1 of 2 horizons"
    assert figure.get_suptitle().startswith(told)
    assert figure.axes[0].get_title(loc="left") == "than ridge"
