import json
import statistics

import numpy as np
import pytest
from scipy.stats import spearmanr

from deeptrade.report import tables
from deeptrade.report.candidates import Ranking, candidates, rank
from deeptrade.report.compare_page import drawings, write_comparison
from deeptrade.report.comparison import compare_runs
from deeptrade.report.findings.comparison import RunSummary, most_accurate, settings_of
from deeptrade.report.run_files import RunFiles
from tests.support.comparisons import add_judged, add_run, make_judged

TINY, SMALL = {"settings__model_size": "tiny"}, {"settings__model_size": "small"}


def of_seed(seed, size=TINY):
    return size | {"settings__seed": seed}


@pytest.fixture
def seeds(tmp_path, finished_run):
    """Three seeds of a setting without skill, and one run of another setting."""
    folder = tmp_path / "runs"
    for seed in range(3):
        add_judged(folder, f"tiny {seed}", finished_run, make_judged(seed), **of_seed(seed))
    add_judged(folder, "small 0", finished_run, make_judged(9), **of_seed(0, SMALL))
    return folder


def summary(name, *, error=1.0, rank_ic=None, judged_on="a", **settings):
    return RunSummary(name, "completed", settings, error=error, rank_ic=rank_ic, judged_on=judged_on)


def test_runs_that_differ_in_their_seed_alone_are_one_line_with_mean_and_spread():
    runs = [
        summary("a", error=0.9, rank_ic=0.01, seed=0, epochs=1),
        summary("alone", error=0.95, seed=0, epochs=2),
        summary("b", error=1.0, rank_ic=0.03, seed=1, epochs=1),
        summary("c", error=1.3, rank_ic=0.08, seed=7, epochs=1),
        RunSummary("failed", "failed", {"seed": 8, "epochs": 1}),
    ]
    together, alone = settings_of(runs, ["seed", "epochs"])
    assert (together.name, together.runs, together.seeds) == ("epochs=1 (mean of 3 seeds)", ["a", "b", "c"], [0, 1, 7])
    assert together.error.mean == pytest.approx(statistics.fmean([0.9, 1.0, 1.3]))
    assert together.error.deviation == pytest.approx(statistics.stdev([0.9, 1.0, 1.3]))
    assert together.rank_ic.mean == pytest.approx(0.04)
    assert (alone.name, alone.runs, alone.error.mean, alone.error.deviation) == ("alone", ["alone"], 0.95, None)
    assert alone.rank_ic is None
    assert most_accurate([together, alone]) is alone


def test_other_rows_or_another_setting_keep_seeds_apart():
    runs = [summary("a", seed=0), summary("b", seed=1, judged_on="b"), summary("c", seed=2, epochs=3)]
    assert [one.name for one in settings_of(runs, ["seed", "epochs"])] == ["a", "b", "c"]


def test_the_same_seed_twice_is_the_same_run_once_more():
    again = [summary("a", seed=0), summary("b", seed=0)]
    assert [one.runs for one in settings_of(again, [])] == [["a"], ["b"]]
    (together,) = settings_of([*again, summary("c", seed=1)], ["seed"])
    assert (together.name, together.runs) == ("mean of 2 seeds", ["a", "c"])


def test_lines_of_equal_settings_on_other_rows_have_names_of_their_own():
    runs = [summary(f"{where}{seed}", seed=seed, judged_on=where) for where in "ab" for seed in range(2)]
    assert [one.name for one in settings_of(runs, ["seed"])] == ["mean of 2 seeds", "mean of 2 seeds, as b0"]


def test_a_rank_ic_that_one_seed_lacks_has_no_mean():
    (one,) = settings_of([summary("a", seed=0, rank_ic=0.1), summary("b", seed=1)], ["seed"])
    assert one.rank_ic is None


def test_the_mean_forecast_of_seeds_competes_with_single_runs(seeds):
    compared = compare_runs([seeds])
    runs = {run.name: RunFiles(seeds / run.name) for run in compared.runs}
    found = candidates(compared.settings, runs)
    assert list(found) == ["small 0", "model_size=tiny (mean of 3 seeds)"]
    expected = np.mean([make_judged(seed).forecasts for seed in range(3)], axis=0)
    np.testing.assert_allclose(found["model_size=tiny (mean of 3 seeds)"].forecasts, expected, rtol=1e-6, atol=1e-7)
    assert set(compared.contest.alike + compared.contest.worse) == set(found)
    tiny = compared.settings[1]
    ranks = [
        np.mean([spearmanr(one.forecasts[:, h], one.targets[:, h]).statistic for h in range(2)])
        for one in map(make_judged, range(3))
    ]
    assert tiny.rank_ic.mean == pytest.approx(np.mean(ranks))
    assert tiny.rank_ic.deviation == pytest.approx(np.std(ranks, ddof=1))


def test_the_verdict_says_who_can_be_told_apart_and_then_whether_the_best_has_skill(seeds, tmp_path):
    compared = compare_runs([seeds], out=tmp_path)
    assert compared.best.name == compared.contest.pairs[0].name == "model_size=tiny (mean of 3 seeds)"
    assert compared.best.error == pytest.approx(compared.contest.pairs[0].error)
    assert compared.best.verdict.trials == 2
    text = compared.verdict
    assert text.startswith("4 runs, 4 with validation results, 2 settings apart from the seed. ")
    assert f"is that of {compared.best.name}: " in text
    assert text.index(compared.contest.verdict) < text.index("The lowest validation error")
    assert text.endswith(f"(joint p = {compared.best.verdict.joint_p:.2g}), as the best of 2 candidates of 4 runs.")
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [one["name"] for one in content["contest"]["pairs"]] == [one.name for one in compared.contest.pairs]
    assert content["best"]["verdict"]["trials"] == 2
    assert content["settings"][1]["seeds"] == [0, 1, 2]


def test_trials_are_counted_in_the_evidence_of_the_best(tmp_path, finished_run):
    weak = make_judged(3, skill=0.025)
    for number in range(8):
        judged = weak if number == 0 else make_judged(20 + number, noise=0.5)
        add_judged(tmp_path, f"run {number}", finished_run, judged, settings__epochs=number + 1)
    alone, many = compare_runs([tmp_path / "run 0"]).best, compare_runs([tmp_path]).best
    assert alone.name == many.name == "run 0"
    assert (alone.verdict.trials, many.verdict.trials) == (1, 8)
    assert alone.verdict.kind == "evidence"
    assert many.verdict.kind != "evidence"


def test_a_single_run_has_the_verdict_of_its_own_evaluation(tmp_path, finished_run):
    folder = add_judged(tmp_path, "one", finished_run, make_judged(1, skill=0.2), settings__seed=1)
    compared = compare_runs([tmp_path])
    assert compared.contest is None
    assert compared.best.verdict == RunFiles(folder).judged.verdict
    assert compared.verdict.endswith(", as one candidate of 1 run.")
    assert "Evidence of skill at 1h, 2h" in compared.verdict


def test_one_setting_alone_is_judged_by_its_mean_forecast(tmp_path, finished_run):
    for seed in range(2):
        add_judged(tmp_path, f"seed {seed}", finished_run, make_judged(seed), settings__seed=seed)
    compared = compare_runs([tmp_path])
    assert (compared.contest, compared.best.name) == (None, "mean of 2 seeds")
    assert "told apart" not in compared.verdict
    assert tables.beside_best(compared).empty


def test_a_run_that_was_not_judged_leaves_the_others_without_contest(seeds, finished_run):
    add_run(seeds, "later", finished_run, settings__seed=5)
    compared = compare_runs([seeds])
    assert (compared.contest, compared.best) == (None, None)
    assert "Whether they can be told apart is not known" in compared.verdict


def test_seeds_that_were_judged_on_other_rows_than_they_say_do_not_compete(tmp_path, finished_run):
    for seed, rows in ((0, 800), (1, 700)):
        add_judged(tmp_path, f"seed {seed}", finished_run, make_judged(seed, rows=rows), settings__seed=seed)
    compared = compare_runs([tmp_path])
    runs = {run.name: RunFiles(tmp_path / run.name) for run in compared.runs}
    assert rank(compared.settings, runs) == Ranking()


def test_the_tables_show_seeds_together_and_every_candidate_beside_the_best(seeds):
    compared = compare_runs([seeds])
    by_setting = tables.compared_settings(compared).set_index("setting")
    assert by_setting.loc["model_size=tiny (mean of 3 seeds)", "seeds"] == "0, 1, 2"
    assert by_setting.loc["small 0", "sd of error"] == "-"
    table = tables.beside_best(compared)
    assert table["candidate"].tolist() == [one.name for one in compared.contest.pairs]
    second = compared.contest.pairs[1]
    assert table.loc[1, "above the best, % of zero's"] == f"{100 * second.difference:.3f}"
    assert table.loc[1, "95% interval"] == f"{100 * second.low:.3f} to {100 * second.high:.3f}"
    assert table.loc[0, "95% interval"] == "-"


def title(folder):
    return next(figure for _, figure in drawings(compare_runs([folder]))).axes[0].get_title(loc="left")


def test_the_figure_names_a_winner_only_where_there_is_one(tmp_path, finished_run):
    for name, skill in (("a", 0.0), ("b", 0.0)):
        add_judged(
            tmp_path / "alike", name, finished_run, make_judged(ord(name), skill=skill), settings__epochs=ord(name)
        )
    assert title(tmp_path / "alike") == "The 2 candidates cannot be told apart: the order may be chance"
    for name, skill in (("a", 0.0), ("b", 0.3)):
        add_judged(
            tmp_path / "won", name, finished_run, make_judged(ord(name), skill=skill), settings__epochs=ord(name)
        )
    assert title(tmp_path / "won") == "b is better than the others, with 95% confidence"
    for name, skill in (("a", 0.0), ("b", 0.3), ("c", 0.3)):
        add_judged(
            tmp_path / "two", name, finished_run, make_judged(ord(name), skill=skill), settings__epochs=ord(name)
        )
    assert title(tmp_path / "two") == "2 of 3 candidates cannot be told apart, the others are worse"
    for name, data in (("a", "x"), ("b", "y")):
        add_judged(tmp_path / "other", name, finished_run, make_judged(1), data_id=data)
    assert compare_runs([tmp_path / "other"]).contest is None
    assert title(tmp_path / "other") == "The runs were judged on different rows, so they are not ranked"


def test_the_figure_draws_each_seed_as_a_point(seeds):
    axes = next(figure for _, figure in drawings(compare_runs([seeds]))).axes[0]
    assert len(axes.patches) == 2
    assert [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"] == [3]


def test_the_page_shows_settings_and_candidates(seeds):
    page = write_comparison([seeds], out=seeds).read_text()
    assert ">Seeds of one setting together</h2>" in page
    assert ">Is any better than another?</h2>" in page
    assert "model_size=tiny (mean of 3 seeds)" in page
