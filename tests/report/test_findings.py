import numpy as np
import pytest

from deeptrade.judging.evaluation import Evaluation
from deeptrade.judging.scores import Score
from deeptrade.memory import PhaseRow, Sample
from deeptrade.report import figures, tables
from deeptrade.report.findings import data, memory, plan, training
from tests.support.results import make_result


def test_horizons_are_better_where_their_error_is_below_the_zero_forecasts():
    found = training.validation_errors(make_result())
    assert [(one.ratio, one.is_better) for one in found.horizons] == [(0.5, True), (1.5, False)]
    assert (found.better, found.known, found.mean_ratio, found.has_diverged) == (1, 2, 1.0, False)


def test_horizons_without_a_known_error_do_not_count():
    found = training.validation_errors(make_result(mae=(0.01, None)))
    assert [one.is_better for one in found.horizons] == [True, None]
    assert (found.better, found.known, found.mean_ratio) == (1, 1, 0.5)
    assert training.validation_errors(make_result(mae=(None, None))).has_diverged


def test_a_zero_forecast_without_error_has_no_ratio_and_is_not_beaten():
    found = training.validation_errors(make_result(mae=(0.01, 0.01), zero=(0.0, 0.02)))
    assert [(one.ratio, one.is_better) for one in found.horizons] == [(None, False), (0.5, True)]
    table = tables.validation(make_result(mae=(0.01, 0.01), zero=(0.0, 0.02)))
    assert table["ratio"].tolist() == ["-", "0.5000"]


def scored(metric, *values):
    """An evaluation with one metric: (value, low, high) by horizon."""
    return Evaluation([Score(horizon, None, metric, *value) for horizon, value in enumerate(values, start=1)])


def test_sentence_and_figure_count_the_same_horizons():
    judged = scored("mae_gain_zero", (0.1, 0.05, 0.15), (-0.1, -0.2, -0.05), (0.1, -0.1, 0.2), (None,))
    (zero,) = training.compare_with_baselines(judged)
    assert (zero.known, zero.better, zero.worse) == (3, 1, 1)
    line = tables.baselines_line(judged)
    assert "the model's MAE is below that of zero at 1 (above at 1)." in line
    assert line.endswith("On average over horizons it is 3.33% below zero's.")
    assert "below zero's at 1 of 3 horizons" in figures.gains(judged).get_suptitle()
    assert tables.baselines_line(Evaluation()) == "No error is known."


def test_the_slope_over_groups_is_that_of_a_least_squares_line():
    groups = [(-1.0, -2.5), (0.0, 0.5), (2.0, 4.0)]
    assert training.slope_of_groups(groups) == pytest.approx(np.polyfit(*np.array(groups).T, 1)[0])
    assert training.slope_of_groups([(1.0, 2.0), (1.0, 3.0)]) == 0.0


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ([], "none"),
        ([1.0] * 14, "few"),
        ([1.0] * 15, "flat"),
        ([2.0] * 5 + [1.0] * 10, "fell"),
        ([1.0] * 10 + [2.0] * 5, "rose"),
    ],
)
def test_the_loss_has_a_trend_where_its_thirds_are_two_standard_errors_apart(loss, kind):
    assert training.loss_trend(np.array(loss)).kind == kind


def test_shares_of_the_time_add_up_to_the_whole():
    parts = training.time_parts(make_result())
    assert sum(part.seconds for part in parts) == 20.0
    assert sum(part.share for part in parts) == pytest.approx(1.0)


def test_the_peak_sample_is_the_first_with_most_anonymous_memory():
    samples = [Sample(float(at), "train", size, 10**9, 0) for at, size in enumerate((5, 9, 7, 9))]
    assert memory.peak_sample(samples).seconds == 1


@pytest.mark.parametrize(("peak", "state"), [(89, "within"), (91, "tight"), (100, "tight"), (101, "over")])
def test_memory_is_tight_where_less_than_a_tenth_of_the_limit_is_left(peak, state):
    use = memory.limit_use(peak, 100)
    assert (use.state, use.used_share) == (state, peak / 100)
    assert use.used_share + use.left_share == 1


def test_only_samples_of_the_last_start_are_compared_with_the_kernels_peak():
    samples = [Sample(0.0, "", 1, 900, 0, run=0), Sample(0.0, "", 1, 100, 0, run=1)]
    found = memory.kernel_peak(samples, 106)
    assert (found.sampled_bytes, found.samples_missed_it) == (100, True)
    assert not memory.kernel_peak(samples, 104).samples_missed_it
    assert memory.kernel_peak(samples, 0).excess_share is None


def test_a_phase_changes_from_its_first_entry_to_its_last_exit_and_its_peak():
    (change,) = memory.phase_changes([PhaseRow("train", before=10, after=30, peak=70, seconds=1.0, visits=2)])
    assert (change.change_bytes, change.rise_bytes) == (20, 60)


def trial(batch_size, rate, peak=300):
    return {
        "batch_size": batch_size, "prefetch": 2, "predicted_peak_bytes": 200, "measured_peak_bytes": rate and peak,
        "rows_per_second": rate, "wait_share": None, "exit_code": 0 if rate else 1, "message": "it failed",
    }  # fmt: skip


def test_the_chosen_trial_is_set_against_the_fastest_that_finished():
    found = plan.frontier(
        {"batch_size": 8, "prefetch": 2, "trials": [trial(32, None), trial(16, 100.0), trial(8, 90.0)]}
    )
    assert [one.batch_size for one in found.trials] == [16, 8]
    assert (found.chosen.batch_size, found.share_of_fastest) == (8, 0.9)
    assert (found.highest_rate, found.highest_peak_bytes, found.chosen.peak.ratio) == (100.0, 300, 1.5)
    nothing = plan.frontier({"batch_size": 8, "prefetch": 2, "trials": [trial(32, None)]})
    assert (nothing.chosen, nothing.share_of_fastest, nothing.highest_rate) == (None, None, None)


def test_terms_below_a_fiftieth_of_the_peak_are_added_up():
    terms = {"baseline": 970, "weights": 20, "cache": 7, "noise": 3}
    shown = plan.terms_to_show(
        {
            "predicted_terms": terms,
            "predicted_peak_bytes": 1000,
            "measured_peak_bytes": 1100,
            "baseline_anon_bytes": 980,
        }
    )
    assert [(one.name, one.predicted_bytes, one.measured_bytes) for one in shown] == [
        ("baseline", 970, 980), ("weights", 20, None), ("all others", 10, None),
        ("all above the baseline", 30, 120), ("peak", 1000, 1100),
    ]  # fmt: skip


def test_an_alert_holds_what_was_compared_and_its_threshold():
    feature = {
        "name": "arr_x", "bytes_per_row": 40, "nonfinite": 50, "std": [0.0, 1.0], "correlation": -0.7,
        "correlated_channel": 1, "correlated_horizon": 2, "outlier_share": 0.0, "longest_still_rows": 1,
        "zero_share": [0.0, 0.9], "longest_zero": [1, 50], "drift": [1.5, -3.0],
    }  # fmt: skip
    profile = {"rows": {"usable": 1000, "rejected": 3}, "gap_count": 11, "warnings": ["a line"], "features": [feature]}
    found = {alert.kind: alert for alert in data.alerts(profile)}
    assert list(found) == ["rejected", "gaps", "nonfinite", "leak", "constant", "drift", "data"]
    assert (found["nonfinite"].value, found["nonfinite"].threshold) == (0.005, data.NONFINITE_SHARE)
    assert (found["leak"].value, found["leak"].channel, found["leak"].horizon) == (-0.7, 1, 3)
    assert (found["drift"].value, found["drift"].channels, found["drift"].all_channels) == (3.0, 2, 2)
