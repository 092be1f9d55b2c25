import json
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from deeptrade.errors import DataError
from deeptrade.notebook.execute import notebook_path
from deeptrade.report import figures, tables
from deeptrade.report.compare_page import drawings, write_comparison
from deeptrade.report.comparison import compare_runs
from deeptrade.training.judged import Judged
from tests.support.comparisons import add_run


@pytest.fixture
def runs(tmp_path, finished_run):
    folder = tmp_path / "runs"
    good = {"validation__mae": [0.9, 0.9], "validation__zero_mae": [1.0, 1.0], "settings__batch_size": 2}
    add_run(folder, "good", finished_run, **good, memory__peak_anon_bytes=600 << 20, weights_sha256="ab" * 32)
    bad = {"validation__mae": [1.2, 0.8], "validation__zero_mae": [1.0, 1.0], "settings__batch_size": 8}
    add_run(folder, "bad <b>", finished_run, **bad, memory__peak_anon_bytes=700 << 20)
    failed = {"status": "failed", "warnings": ["no target"], "validation__mae": [], "validation__zero_mae": []}
    add_run(folder, "broken", finished_run, **failed)
    return folder


def test_runs_are_found_one_level_below_and_summed_up(runs):
    compared = compare_runs([runs])
    assert [run.name for run in compared.runs] == ["bad <b>", "broken", "good"]
    bad, broken, good = compared.runs
    assert (good.error, good.horizons_beaten, good.horizons) == (pytest.approx(0.9), 2, 2)
    assert (bad.error, bad.horizons_beaten) == (pytest.approx(1.0), 1)
    assert (broken.status, broken.error) == ("failed: no target", None)
    assert good.rows_per_second > 0
    assert compared.differing == ["batch_size"]
    assert "lowest validation error is that of good: 10.0% below the zero forecast's, with a peak of 600.0 MiB" in (
        compared.verdict
    )


def test_runs_that_were_judged_on_different_rows_are_not_ranked(runs, finished_run):
    add_run(runs, "other", finished_run, data_id="sha256-2:other")
    verdict = compare_runs([runs]).verdict
    assert verdict == "4 runs, 3 with validation results. They were judged on different rows, so they are not ranked."


def test_runs_that_were_judged_say_whether_they_can_be_told_apart(tmp_path, finished_run, monkeypatch):
    for name in ("one", "two"):
        add_run(tmp_path / "runs", name, finished_run)
    assert "Whether they can be told apart is not known" in compare_runs([tmp_path / "runs"]).verdict
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(500, 2)).astype(np.float32)
    judged = {
        name: Judged(np.arange(500), np.arange(500), np.full(500, "", object), skill * targets, targets)
        for name, skill in (("one", 0.5), ("two", 0.0))
    }
    given = iter(judged.values())
    monkeypatch.setattr("deeptrade.report.run_files.RunFiles.read_judged", lambda self: next(given))
    compared = compare_runs([tmp_path / "runs"], out=tmp_path / "out")
    assert compared.contest.alike == ["one"]
    assert "one is better than the others on the same 500 rows" in compared.verdict
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["contest"]["worse"] == ["two"]


def test_a_whole_run_and_one_of_fit_can_be_compared_by_name(runs, finished_run):
    compared = compare_runs([finished_run, runs / "good"])
    assert [run.status for run in compared.runs] == ["completed", "completed"]
    assert compared.runs[0].name == finished_run.name


def test_folders_of_the_same_name_are_told_apart(tmp_path, finished_run):
    for where in ("a", "b"):
        add_run(tmp_path / where, "one", finished_run)
    assert [run.name for run in compare_runs([tmp_path / "a", tmp_path / "b"]).runs] == ["a/one", "b/one"]


def test_a_killed_run_and_one_that_never_trained_are_reported_as_such(runs, finished_run):
    killed = runs / "killed"
    killed.mkdir()
    shutil.copy(finished_run / "train" / "memory.jsonl", killed)
    (runs / "idle").mkdir()
    (runs / "idle" / "run.json").write_text(json.dumps({"notebooks": {}}))
    status = {run.name: run.status for run in compare_runs([runs]).runs}
    assert (status["killed"], status["idle"]) == ("killed", "not trained")


def test_what_holds_no_run_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(DataError, match="is not a folder; give the --out folder of a run"):
        compare_runs([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="holds no run, nor does any folder in it"):
        compare_runs([tmp_path])


def test_the_tables_have_a_line_per_run_and_the_settings_that_differ(runs):
    compared = compare_runs([runs])
    table = tables.comparison(compared).set_index("run")
    assert table.loc["good", "error / zero"] == "0.9000"
    assert table.loc["good", "weights"] == "abababab"
    assert table.loc["broken", "error / zero"] == "-"
    settings = tables.differing_settings(compared)
    assert list(settings) == ["run", "batch_size"]
    assert settings.set_index("run").loc["good", "batch_size"] == "2"


def test_figures_say_who_is_best_and_who_is_fastest(runs):
    compared = compare_runs([runs])
    errors, rates, losses, timelines = (figure for _, figure in drawings(compared))
    assert timelines.axes[0].get_title(loc="left").endswith("MiB")
    assert len(timelines.axes[0].lines) == len(losses.axes[0].lines) == 3
    assert "has the lowest training loss over its last third: " in losses.axes[0].get_title(loc="left")
    assert (
        errors.axes[0].get_title(loc="left") == "good has the lowest validation error: 10.00% below the zero forecast"
    )
    assert "fastest" in rates.axes[0].get_title(loc="left")
    assert len(rates.axes[0].texts) == 3
    assert figures.as_html(errors, alt="errors").count("<svg") >= 2


def change_losses(folder, by):
    history = pd.read_csv(folder / "history.csv")
    history["loss"] += by
    history.to_csv(folder / "history.csv", index=False)


def test_runs_that_should_take_the_same_steps_are_reported_with_their_largest_difference(tmp_path, finished_run):
    pieces = {"settings__batch_size": 2, "settings__grad_accum": True, "settings__accum_steps": 2}
    for name, changes in {
        "whole": {},
        "pieces": pieces,
        "seed": {"settings__seed": 5},
        "other": {"data_id": "x"},
    }.items():
        add_run(tmp_path, name, finished_run, **changes)
    change_losses(tmp_path / "whole", [0.0, 3e-7, -1e-7])
    compared = compare_runs([tmp_path])
    assert [(pair.first, pair.second, pair.steps) for pair in compared.same_steps] == [("pieces", "whole", 3)]
    assert compared.same_steps[0].largest_difference == pytest.approx(3e-7, rel=0.01)
    assert (
        "over 3 steps, their losses differ by at most 3.0e-07" in write_comparison([tmp_path], out=tmp_path).read_text()
    )


def test_the_page_escapes_names_and_names_failures_first(runs, tmp_path):
    page = write_comparison([runs], out=runs).read_text()
    assert "bad &lt;b&gt;" in page
    assert "bad <b>" not in page
    assert page.index("broken: failed: no target") < page.index('<h2 id="results">')
    assert not re.search(r"https?://", page)
    content = json.loads((runs / "comparison.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["bad <b>", "broken", "good"]


def test_the_page_links_to_reports_below_it(runs, finished_run):
    shutil.copytree(finished_run, runs / "whole")
    page = write_comparison([runs], out=runs).read_text()
    assert 'href="whole/index.html"' in page


def test_the_command_compares(runs):
    done = subprocess.run(
        [sys.executable, "-m", "deeptrade", "compare", str(runs)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"comparison: {runs / 'compare.html'}\n"


def test_the_notebook_compares(runs, tmp_path):
    import papermill

    out = tmp_path / "05.ipynb"
    papermill.execute_notebook(
        str(notebook_path("05_compare_runs")),
        str(out),
        parameters={"runs": str(runs), "out": str(tmp_path / "compare")},
        kernel_name="python3",
        progress_bar=False,
    )
    text = json.dumps(nbformat.read(out, as_version=4))
    assert "The lowest validation error is that of good" in text
    assert text.count("<figcaption>") >= 4
    assert (tmp_path / "compare" / "comparison.json").exists()
