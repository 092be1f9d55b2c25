import pytest

from deeptrade.judging.evaluation import Evaluation
from deeptrade.judging.periods import PeriodScore
from deeptrade.judging.scores import Score
from deeptrade.memory import Limit, PhaseRow, Sample, phase_growth
from deeptrade.planning.memory_model import predict_peak
from deeptrade.report import tables
from deeptrade.settings import FitSettings
from deeptrade.store.ledger import LedgerEntry
from tests.support.forecasters import SEQUENCES
from tests.support.results import make_result


@pytest.mark.parametrize(
    ("mae", "words"),
    [
        ((0.01, 0.01), "is 50.0% below that of the forecast zero, averaged over horizons."),
        ((0.01, 0.04), "is 25.0% above that of the forecast zero, averaged over horizons."),
        ((0.02, 0.02), "equals that of the forecast zero to 0.1%, averaged over horizons."),
        ((0.019999, 0.02), "equals that of the forecast zero to 0.1%, averaged over horizons."),
        ((0.01, None), "is 50.0% below that of the forecast zero, averaged over horizons."),
    ],
)
def test_the_training_verdict_puts_the_error_beside_that_of_zero(mae, words):
    assert (
        tables.training_verdict(make_result(mae=mae)) == f"After 12 steps, 80 rows, the validation error (MAE) {words}"
    )


def test_the_line_on_weights_names_epoch_step_and_the_rows_that_chose():
    result = make_result() | {"weights_of": {"epoch": 2, "step": 8}, "inner_history": [{}, {}, {}]}
    assert tables.weights_line(result).startswith("The weights are the last ones")
    result["rows"]["inner"] = 15
    assert tables.weights_line(result) == (
        "The weights are those of epoch 2 of 3 (step 8), chosen by the loss on 15 inner rows."
    )


def test_the_table_of_sizes_tells_slope_shrinkage_and_interval():
    found = {"slope": [0.3, None], "slope_error": [0.1, None], "shrinkage": [0.27, 0.01]}
    found |= {"half_width": [0.02, 0.03], "coverage": [0.94, None]}
    table = tables.sizes(make_result() | {"calibration": found})
    assert table["forecasts times"].tolist() == ["0.27", "0.01"]
    assert table["slope of outcome on forecast"].tolist() == ["0.30", "-"]
    assert table["held in validation"].tolist() == ["94.0%", "-"]
    assert not len(tables.sizes(make_result()))


def test_scores_name_horizons_by_time_and_have_intervals_where_there_are_some():
    metrics = (
        "rank_ic",
        "ic",
        "r2",
        "r2_mean",
        "slope",
        "direction",
        "base_rate",
        "direction_gain",
        "mae",
        "mae_gain_zero",
    )
    scores = [Score(h, m, name, 0.05, *bounds) for name in metrics for h, m, bounds in (
        (1, None, (0.01, 0.09)), (2, None, ()), (1, "BTC", ()), (2, "BTC", ()))]  # fmt: skip
    judged = Evaluation(scores, step="30m", periods=[PeriodScore("2026-01", 1, 40, 0.1, 0.0)])
    table = tables.scores(judged)
    assert table["ahead"].tolist() == ["30min", "1h"]
    assert table["rank IC"].tolist() == [
        "0.050\N{NO-BREAK SPACE}(0.010\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.090)",
        "0.050",
    ]
    assert tables.directions(judged)["difference"][1] == "5.0%"
    assert tables.scores_by_market(judged)["market"].tolist() == ["BTC", "BTC"]
    assert tables.gains(judged)["below zero"][1] == "5.0%"
    assert tables.over_time(judged).to_dict("records") == [
        {"period": "2026-01", "rows": "40", "rank IC, 30min": "+0.100"}
    ]
    assert not len(tables.scores_by_market(Evaluation()))
    assert tables.verdict(Evaluation()).startswith("Not judged")


@pytest.mark.parametrize(
    ("metric", "values", "shown"),
    [
        ("r2", (-0.0001, -0.02, 0.001), "-0.01% (-2.00% to 0.10%)"),
        ("r2", (-0.00001, None, None), "0.00%"),
        ("slope", (268.97, None, None), "269"),
    ],
)
def test_small_shares_have_digits_that_large_slopes_do_not_need_and_zero_has_no_sign(metric, values, shown):
    others = [Score(1, None, name, 0.1) for name in ("rank_ic", "ic", "r2", "r2_mean", "slope") if name != metric]
    table = tables.scores(Evaluation([*others, Score(1, None, metric, *values)], step="1h"))
    column = {"r2": "R2 against zero", "slope": "slope"}[metric]
    assert table[column][0].replace("\N{NO-BREAK SPACE}", " ") == shown


def test_forecasts_without_a_known_target_are_not_judged():
    verdict = tables.training_verdict(make_result(mae=(None, None), zero=(None, None)))
    assert verdict == "After 12 steps, 80 rows, the forecasts cannot be judged: no validation row has a known target."


def test_forecasts_that_are_not_finite_are_reported_as_such():
    verdict = tables.training_verdict(make_result(mae=(None, None)))
    assert verdict == (
        "After 12 steps, 80 rows, the forecasts are not finite: training has diverged; lower learning_rate."
    )


def test_a_profile_of_the_first_rows_does_not_speak_for_the_file():
    profile = make_profile() | {"max_rows": 100}
    assert tables.data_verdict(profile).startswith("The beginning of market holds 100 rows")


def test_the_validation_table_puts_the_ratio_beside_both_errors():
    table = tables.validation(make_result())
    assert table["ratio"].tolist() == ["0.5000", "1.5000"]
    assert table["MAE %"].tolist() == ["1.0000", "3.0000"]
    assert table["correct direction"].tolist() == ["50.0%", "-"]


@pytest.mark.parametrize(
    ("peak", "words"),
    [
        (50, "Peak memory 50.0 MiB, within the limit of 100.0 MiB (cgroup v2): 50% left, in phase 'train'."),
        (95, "tight within the limit of 100.0 MiB (cgroup v2): 5% left"),
        (110, "over the limit of 100.0 MiB (cgroup v2): 10% over"),
    ],
)
def test_the_memory_verdict_has_peak_limit_headroom_and_phase(peak, words):
    assert words in tables.memory_verdict(peak << 20, 100 << 20, "cgroup v2", "train")


def make_profile(**changes):
    feature = {"name": "arr_a", "shape": [2, 3], "bytes_per_row": 24, "nonfinite": 0}
    feature |= {"mean": [1.0, 2.0, 3.0], "std": [1.0] * 3, "min": [0.0] * 3, "max": [9.0] * 3}
    profile = {
        "name": "market",
        "rows": {"read": 100, "usable": 98, "rejected": 2},
        "file_bytes": 5 << 20,
        "features": [examined_feature() | feature],
        "targets": [{"name": "y_1"}],
        "span": {"start": "2023-01-01T00:00:00+00:00", "end": "2023-02-01T00:00:00+00:00"},
        "gap_count": 0,
        "warnings": [],
    }
    return profile | changes


def test_the_data_verdict_counts_rows_features_and_time():
    expected = (
        "market holds 100 rows (2 rejected) with 1 feature and 1 horizon, 2023-01-01 to 2023-02-01, 5.0 MiB as "
        "CSV; 1 warning."
    )
    assert tables.data_verdict(make_profile()) == expected


def test_alerts_name_what_passes_its_threshold():
    profile = make_profile(gap_count=5, warnings=["a line"])
    profile["features"][0] |= {"nonfinite": 98 * 6 // 2, "std": [0.0, 1.0, 1.0]}
    found = tables.alerts(profile)["finding"].tolist()
    assert found == [
        "2 rows rejected",
        "5 gaps in time",
        "50.0% of arr_a is NaN or infinite",
        "1 of 3 channels of arr_a never changes",
        "a line",
    ]
    assert tables.alerts(make_profile(rows={"read": 1, "usable": 1, "rejected": 0})).empty


def test_features_show_shape_and_range_without_exponents():
    profile = make_profile()
    profile["features"][0] |= {"mean": [0.123456, 95_760.4, 3.0], "max": [1.5e6, 0.0, 0.0]}
    row = tables.features(profile).iloc[0]
    assert row["shape"] == "2×3"
    assert row["mean"] == "0.1235 to 95,760"
    assert (row["sd"], row["minimum"], row["maximum"]) == ("1", "0", "1,500,000")


def test_targets_are_in_percent_with_named_quantiles():
    target = {"name": "y_1", "missing": 1200, "mean": 0.001, "std": None, "quantiles": {"0": -0.1, "0.5": 0, "0.99": 1}}
    table = tables.targets({"targets": [target]})
    assert table.columns.tolist() == ["target", "missing", "mean %", "sd %", "minimum", "median", "99% quantile"]
    assert table.iloc[0].tolist() == ["y_1", "1,200", "0.1000", "-", "-10.0000", "0.0000", "100.0000"]


def test_limits_begin_with_the_smallest():
    found = [Limit("machine", 8 << 30, 5 << 30), Limit("cgroup v2", 2 << 30, 1 << 30)]
    assert tables.limits(found).to_numpy().tolist() == [
        ["cgroup v2", "2.0 GiB", "1.0 GiB"],
        ["machine", "8.0 GiB", "5.0 GiB"],
    ]


def test_phases_show_what_stays_and_what_was_needed_for_a_moment():
    row = PhaseRow(phase="train", before=100 << 20, after=120 << 20, peak=150 << 20, seconds=2.04, visits=3)
    expected = ["train", 3, "100.0 MiB", "120.0 MiB", "20.0 MiB", "50.0 MiB", "2.0"]
    assert tables.phases([row]).iloc[0].tolist() == expected


def test_predicted_and_measured_memory_are_in_one_table():
    terms = {"baseline": 60 << 20, "weights": 40 << 20}
    memory = {"predicted_terms": terms, "predicted_peak_bytes": 100 << 20, "measured_peak_bytes": 90 << 20}
    table = tables.predicted(memory | {"baseline_anon_bytes": 66 << 20})
    assert table["what it is"].str.len().min() > 10
    assert table.drop(columns="what it is").to_numpy().tolist() == [
        ["baseline", "60.0 MiB", "66.0 MiB", "1.10"],
        ["weights", "40.0 MiB", "-", "-"],
        ["all above the baseline", "40.0 MiB", "24.0 MiB", "0.60"],
        ["peak", "100.0 MiB", "90.0 MiB", "0.90"],
    ]
    plan = tables.predicted(memory | {"measured_peak_bytes": None})
    assert plan["term"].tolist() == ["baseline", "weights", "peak"]
    assert set(plan["measured"]) == {"-"}


def test_every_term_of_a_prediction_is_explained():
    terms = predict_peak(SEQUENCES, FitSettings())
    table = tables.predicted({"predicted_terms": terms, "predicted_peak_bytes": 1, "measured_peak_bytes": None})
    assert "-" not in set(table["what it is"])


def test_time_is_split_into_waiting_and_the_rest():
    table = tables.time_split(make_result()).set_index("activity")
    assert table["seconds"].tolist() == ["1.0", "4.0", "6.0", "0.5", "2.0", "1.5", "5.0", "20.0", "0.250"]
    assert table.loc["compute: other steps", "share"] == "30.0%"


def test_settings_are_shown_without_their_folders():
    table = tables.settings_table(
        {"csv": "/home/someone/data/market.csv", "out": "runs/x/", "features": "a/b,c/d", "inner": {}}
    )
    assert table["value"].tolist() == ["market.csv", "x", "a/b,c/d"]


def test_next_steps_are_options_with_the_saving_that_is_predicted():
    result = make_result()
    result["memory"]["alternatives"] = [
        {"change": {"batch_size": 2, "grad_accum": True, "accum_steps": 4}, "saved_bytes": 100 << 20},
        {"change": {"no_lazy_loading": False}, "saved_bytes": 5 << 20},
    ]
    first, second = tables.next_steps(result)
    assert first.startswith("`--batch_size 2` `--grad_accum` `--accum_steps 4` would save 100.0 MiB: ")
    assert second == "no `--no_lazy_loading` would save 5.0 MiB: rows are read when they are needed."
    assert "No other settings would lower the peak" in tables.next_steps(make_result())[0]


def test_skipped_rows_are_counted_by_reason_with_the_first_of_each():
    entries = [
        LedgerEntry(7, 9, 100, "arr_a", "shape", "expected (2,)"),
        LedgerEntry(8, 10, 200, "arr_b", "shape", "expected (3,)"),
        LedgerEntry(90, 92, 300, "", "purged", "too near"),
    ]
    table = tables.skipped(entries)
    assert table.iloc[0].tolist() == ["shape", "2", "7", "9", "arr_a", "expected (2,)"]
    assert table.iloc[1].tolist() == ["purged", "1", "90", "92", "-", "too near"]


def test_a_run_says_how_often_it_was_started_and_what_was_repeated():
    start = {"time": "2026-01-02T03:04:05+00:00", "step": 0, "before": "", "repeated_steps": 0}
    result = {"starts": [start]}
    assert tables.starts_verdict(result) == "Started once, without interruption."
    result["starts"] += [start | {"step": 50, "before": "killed", "repeated_steps": 7}]
    result["starts"] += [start | {"step": 60, "before": "interrupted"}]
    verdict = tables.starts_verdict(result)
    assert verdict.startswith("Started 3 times (earlier starts: 1 killed, 1 interrupted); 7 steps repeated")
    assert tables.starts(result).iloc[1].tolist() == ["2026-01-02 03:04:05", "50", "killed", "7"]


def test_text_from_data_is_escaped_in_tables():
    html = tables.as_html(tables.settings_table({"csv": "<script>alert(1)"})).data
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_growth_is_reported_as_a_slope_a_leak_or_unknown():
    slope = {"bytes_per_step": 3000.0, "low": -2900.0, "high": 3100.0}
    assert tables.growth_verdict({"slope": slope}) == (
        "No leak: memory changed by 2.9 KiB per step (95% interval -2.8 KiB to 3.0 KiB) after the first 50 steps."
    )
    leak = {"bytes_per_step": 1 << 20, "step": 140, "detail": "it is held outside of Python"}
    spike = {"rise_bytes": 32 << 20, "step": 7, "batch": 2, "phase": "forward"}
    told = tables.growth_verdict({"slope": slope, "leaks": [leak], "spikes": [spike]})
    assert told.startswith("**Leak**: memory grew by 1.0 MiB per step (detected at step 140); it is held outside")
    assert told.endswith("Memory jumped by 32.0 MiB at step 7, pass 3, in phase 'forward'.")
    assert tables.growth_verdict({}) == "Too few steps to tell whether memory grows."


def test_an_interval_above_zero_never_stands_beside_no_leak_without_a_word_on_why():
    told = tables.growth_verdict({"slope": {"bytes_per_step": 3000.0, "low": 2900.0, "high": 3100.0}})
    assert told.startswith("Memory rose by 2.9 KiB per step (95% interval 2.8 KiB to 3.0 KiB)")
    assert "No leak" not in told
    assert "not counted as a leak: a leak rises by more than 4.9 KiB a step" in told


def test_phases_of_a_step_are_a_row_each_and_none_without_samples():
    row = {
        "phase": "forward",
        "visits": 1200,
        "first_bytes": 1 << 20,
        "mean_bytes": 512.0,
        "largest_bytes": 0,
        "peak_bytes": 1 << 30,
    }
    table = tables.step_phases({"step_phases": [row]})
    assert table.iloc[0].tolist() == ["forward", "1,200", "1.0 MiB", "512 B", "0 B", "1.0 GiB"]
    assert not len(tables.step_phases({}))


NO_GROWTH = "No clear growth: 10 visits of 'fill' changed memory by 0 B each (95% interval 0 B to 0 B)."


def test_a_phase_that_leaves_more_memory_each_time_is_reported_as_growth():
    def samples(rise):
        for visit in range(10):
            yield Sample(visit, "fill", (5 + rise * visit) << 20, 1, 1)
            yield Sample(visit + 0.5, "", 1, 1, 1)

    growing, flat = ([*samples(rise)] for rise in (4, 0))
    assert "each visit of 'fill' leaves 4.0 MiB more (95% interval 4.0 MiB to 4.0 MiB, 10 visits)" in (
        tables.phase_growth_verdict(phase_growth(growing))
    )
    assert tables.phase_growth_verdict(phase_growth(flat)) == NO_GROWTH
    assert tables.phase_growth_verdict(phase_growth(flat[:6])) == "No phase ran 6 times, the minimum to detect growth."


def examined_feature(**changes):
    feature = {
        "name": "arr_x", "shape": [24, 5], "bytes_per_row": 480, "nonfinite": 0, "mean": [0.0], "std": [1.0] * 5,
        "min": [0.0], "max": [1.0], "histogram": [0] * 40, "outlier_share": 0.0, "nonfinite_by_step": [0] * 24,
        "nonfinite_by_channel": [0] * 5, "longest_still": [1] * 5, "longest_still_rows": 1, "zero_share": [0.0] * 5,
        "longest_zero": [0] * 5, "drift": [0.0] * 5, "shared_steps": 23, "correlation": 0.1, "correlated_channel": 0,
        "correlated_horizon": 0,
    }  # fmt: skip
    return feature | changes


def profile_of(**changes):
    rows = {"read": 1000, "usable": 1000, "rejected": 0}
    return {"rows": rows, "gap_count": 0, "warnings": [], "features": [examined_feature(**changes)]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"correlation": -0.8, "correlated_channel": 3}, "channel 3 of arr_x has correlation -0.80 with y_1"),
        ({"outlier_share": 0.01}, "1.0% of arr_x is more than 8 standard deviations from its mean"),
        ({"longest_still_rows": 9}, "no channel of arr_x changes over 9 consecutive rows"),
        ({"longest_zero": [0, 0, 7, 0, 0]}, "a channel of arr_x that is rarely 0 is 0 in 7 consecutive rows"),
        (
            {"drift": [0.0, -2.0, 1.5, 0, 0]},
            "the means of 2 of 5 channels of arr_x moved by up to 2.0 standard deviations",
        ),
    ],
)
def test_what_the_pass_over_the_rows_found_raises_an_alert_with_threshold_and_next_step(changes, words):
    found = tables.alerts(profile_of(**changes))
    assert len(found) == 1
    assert words in found["finding"][0]
    assert found["threshold"][0]
    assert found["next step"][0]
    assert len(tables.alerts(profile_of())) == 0


def test_of_many_alerts_of_one_kind_the_first_are_listed_and_the_rest_counted():
    profile = profile_of()
    profile["features"] = [examined_feature(name=f"arr_{n}", drift=[2.0] * 5) for n in range(9)]
    profile["features"].append(examined_feature(name="arr_odd", outlier_share=0.01))
    found = tables.alerts(profile)
    assert found["level"].tolist() == ["warning", *["note"] * 5]
    assert "arr_odd" in found["finding"][0]
    assert [f"channels of arr_{n} moved" in found["finding"][n + 1] for n in range(4)] == [True] * 4
    assert found["finding"][5] == "5 more like this: see the tables below"


def test_a_mean_that_moves_no_further_than_chance_raises_no_alert():
    profile = profile_of(drift=[2.0] * 5)
    profile["rows"] = {"read": 50, "usable": 50, "rejected": 0}
    assert len(tables.alerts(profile)) == 0


def test_a_constant_vector_and_a_channel_that_is_mostly_zero_raise_no_alert():
    assert len(tables.alerts(profile_of(zero_share=[0.0, 0.9], longest_zero=[0, 50], longest_still_rows=9))) == 0


def test_missing_numbers_are_placed_by_step_and_channel():
    steps = [0] * 20 + [1, 0, 2, 3]
    table = tables.nonfinite_places(profile_of(nonfinite_by_step=steps, nonfinite_by_channel=[0, 1, 5, 0, 0]))
    assert table.iloc[0].tolist() == ["arr_x", "6", "20 to 23 of 24", "3", "2 (5), 1 (1)"]
    assert len(tables.nonfinite_places(profile_of())) == 0


def test_the_table_of_the_pass_says_what_is_new_in_a_row():
    row = tables.examined(profile_of(drift=[0.5, -0.75])).iloc[0].tolist()
    assert row == ["arr_x", "23 of 24 steps", "0.000%", "1", "0", "-0.75", "0.10 (y_1)"]
