"""Walk-forward: each fold is judged by weights that never saw it, and a kill costs nothing but time."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import pytest

from deeptrade.cli import main
from deeptrade.errors import DataError, RunConflictError, SettingsError
from deeptrade.files import locked_folder
from deeptrade.judging.evaluate import evaluate
from deeptrade.judging.evaluation import read_evaluation
from deeptrade.judging.walk import WalkError, walk
from deeptrade.judging.walk_settings import WalkSettings
from deeptrade.run_folder import WalkFolder
from deeptrade.settings import FitSettings
from deeptrade.training.fit import fit
from tests.support.holding import another_process
from tests.support.markets import make_market
from tests.support.training_runs import QUICK

ROWS = 240
FOLDS = {"folds": 2, "test_ratio": 0.4}
NOT_GIVEN = ("skip_rl", "max_steps")
SETTINGS = {name: value for name, value in QUICK.items() if name != "val_ratio"} | {"max_steps": 6}


def in_process(job):
    """Run a training here: an import of TensorFlow less."""
    with open(job.log, "w") as file, redirect_stdout(file), redirect_stderr(file):
        code = main(job.command_line)
    return code, (job.log.read_text().strip().splitlines() or [""])[-1]


def walk_over(market, out, *, start=in_process, sink=lambda line: None, fresh=False, options=None, **settings):
    settings = FitSettings(**(SETTINGS | {"csv": str(market.path), "out": str(out)} | settings))
    return walk(settings, WalkSettings(**(FOLDS | (options or {}))), start=start, sink=sink, fresh=fresh)


def bytes_of(out):
    """What two equal walks share to the last bit."""
    names = ("forecasts.parquet", "evaluation.json")
    weights = [json.loads(path.read_text())["weights_sha256"] for path in sorted(out.glob("folds/*/result.json"))]
    return [(out / name).read_bytes() for name in names], weights


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return make_market(tmp_path_factory.mktemp("walk") / "market.csv", rows=ROWS)


@pytest.fixture(scope="module")
def walked(market):
    """A walk of two folds and two seeds."""
    out = market.path.parent / "walked"
    walk_over(market, out, options={"seeds": "0,4"})
    return out


@pytest.fixture(scope="module")
def plain(market):
    """A walk of two folds and one seed, each training over all of its rows."""
    out = market.path.parent / "plain"
    walk_over(market, out, max_steps=0)
    return out


def test_every_fold_is_a_run_folder_and_every_row_after_the_first_is_forecast_once(market, walked):
    assert sorted(path.name for path in (walked / "folds").iterdir() if path.is_dir()) == [
        "01-seed_0",
        "01-seed_4",
        "02-seed_0",
        "02-seed_4",
    ]
    table = pd.read_parquet(walked / "forecasts.parquet")
    assert table.columns.tolist() == ["timestamp", "market", "row", "fold", "seed", "f_1", "f_2", "y_1", "y_2"]
    assert sorted(table["row"].tolist()) == sorted([*range(144, 240)] * 2)
    assert set(zip(table["fold"], table["seed"], strict=True)) == {(1, 0), (1, 4), (2, 0), (2, 4)}
    np.testing.assert_allclose(table["y_1"], market.targets[table["row"], 0].astype(np.float32))
    content = json.loads((walked / "walk.json").read_text())
    for fold in content["folds"]:
        result = json.loads((walked / "folds" / f"0{fold['number']}-seed_4" / "result.json").read_text())
        assert result["status"] == "completed"
        assert result["settings"]["seed"] == 4
        assert {name: result["rows"][name] for name in ("inner", "validation")} == {
            name: fold["rows"][name] for name in ("inner", "validation")
        }


def test_what_is_judged_is_the_mean_forecast_of_all_seeds(walked):
    table = pd.read_parquet(walked / "forecasts.parquet")
    mean = table.groupby("row")[["f_1", "f_2", "y_1", "y_2"]].mean()
    judged = read_evaluation(walked / "evaluation.json")
    for horizon in (1, 2):
        errors = (mean[f"y_{horizon}"] - mean[f"f_{horizon}"]).abs()
        assert judged.of("mae")[horizon - 1].value == pytest.approx(errors.mean(), rel=1e-6)
    assert {one.period for one in judged.seeds} == {"seed 0", "seed 4"}
    assert {one.period for one in judged.folds} == {"fold 1", "fold 2"}
    for seed in (0, 4):
        some = table[table["seed"] == seed]
        expected = some["f_1"].corr(some["y_1"], method="spearman")
        (found,) = (one for one in judged.seeds if one.period == f"seed {seed}" and one.horizon == 1)
        assert found.rank_ic == pytest.approx(expected, abs=1e-9)
    assert judged.verdict.trials == 1
    assert judged.costs.of("long").turnover == pytest.approx(2)


def test_a_finished_walk_is_not_done_again(market, walked):
    before, lines = bytes_of(walked), []
    walk_over(market, walked, sink=lines.append, start=lambda job: pytest.fail("trained"), options={"seeds": "0,4"})
    assert lines == [f"{walked} is done, nothing was changed; --fresh starts over"]
    assert bytes_of(walked) == before


def test_other_settings_and_data_are_refused_with_the_difference(market, walked, tmp_path):
    with pytest.raises(RunConflictError, match=r"holds a walk with seeds='0,4', given '0'; give another --out"):
        walk_over(market, walked)
    with pytest.raises(RunConflictError, match=r"holds a walk with learning_rate=0\.001, given 0\.1"):
        walk_over(market, walked, learning_rate=0.1, options={"seeds": "0,4"})
    with pytest.raises(RunConflictError, match="holds a walk with effective_batch=4, given 16"):
        walk_over(market, walked, batch_size=8, options={"seeds": "0,4"})
    before = (walked / "walk.json").read_bytes()
    with pytest.raises(RunConflictError, match="holds a walk with max_steps=6, given 5; it may only grow; give"):
        walk_over(market, walked, max_steps=5, options={"seeds": "0,4"})
    with pytest.raises(RunConflictError, match="holds a walk with early_stop_patience=0, given 2"):
        walk_over(market, walked, early_stop_patience=2, options={"seeds": "0,4"})
    assert (walked / "walk.json").read_bytes() == before
    other = make_market(tmp_path / "other.csv", rows=ROWS, seed=1)
    with pytest.raises(RunConflictError, match="holds a walk over other data"):
        walk_over(other, walked, options={"seeds": "0,4"})


def test_a_walk_that_fails_part_of_the_way_goes_on_to_the_same_bytes(market, walked, tmp_path):
    def failing(job):
        return (-9, "") if "01-seed_4" in str(job.log) else in_process(job)

    out = tmp_path / "again"
    with pytest.raises(DataError, match=r"fold 1, seed 4 was ended by signal 9; see .*01-seed_4.log; run the same"):
        walk_over(market, out, start=failing, options={"seeds": "0,4"})
    assert not (out / "evaluation.json").exists()
    with pytest.raises(DataError, match="not completed"):
        evaluate(out)
    lines = []
    walk_over(market, out, sink=lines.append, options={"seeds": "0,4"})
    assert lines[0].startswith("4 trainings, 1 of them done")
    assert bytes_of(out) == bytes_of(walked)


def test_a_walk_starts_over_with_fresh_and_leaves_what_is_not_its_own(market, walked, tmp_path):
    shutil.copytree(walked, tmp_path / "w")
    (tmp_path / "w" / "mine.txt").write_text("kept")
    with pytest.raises(SettingsError, match="folds=200 are too many"):  # then nothing is removed
        walk_over(market, tmp_path / "w", fresh=True, options={"folds": 200})
    assert bytes_of(tmp_path / "w") == bytes_of(walked)
    walk_over(market, tmp_path / "w", fresh=True)
    assert sorted(path.name for path in (tmp_path / "w" / "folds").iterdir()) == ["01", "01.log", "02", "02.log"]
    assert (tmp_path / "w" / "mine.txt").exists()


def test_more_epochs_go_on_where_the_walk_ended(market, plain, tmp_path):
    shutil.copytree(plain, tmp_path / "a")
    walk_over(market, tmp_path / "a", max_steps=0, epochs=2)
    walk_over(market, tmp_path / "b", max_steps=0, epochs=2)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_an_evaluation_of_other_weights_is_not_taken_for_that_of_the_walk(market, plain, tmp_path):
    out = tmp_path / "w"
    shutil.copytree(plain, out)
    content = json.loads((out / "evaluation.json").read_text())
    (out / "evaluation.json").write_text(json.dumps(content | {"weights_sha256": "of before", "verdict": "wrong"}))
    lines = []
    walk_over(market, out, max_steps=0, sink=lines.append)
    assert lines == ["judging the forecasts"]
    assert bytes_of(out) == bytes_of(plain)


def test_a_walk_whose_training_has_been_stopped_is_not_judged_half_way(market, plain, tmp_path):
    out = tmp_path / "w"
    shutil.copytree(plain, out)
    content = json.loads((out / "walk.json").read_text())
    content["settings"]["epochs"] = 2  # as a walk that is killed while it goes on leaves it
    (out / "walk.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not completed; run it again"):
        evaluate(out)
    with locked_folder(out, taken=lambda: None), pytest.raises(RunConflictError, match="another process walks in"):
        evaluate(out)


def test_a_folder_that_holds_a_run_is_not_walked_in_nor_one_with_a_walk_trained_into(market, plain, tmp_path):
    shutil.copytree(plain / "folds" / "01", tmp_path / "run")
    with pytest.raises(RunConflictError, match="run holds a run, which a walk would mix with its own"):
        walk_over(market, tmp_path / "run")
    with pytest.raises(RunConflictError, match="plain holds a walk; give another --out"):
        fit(FitSettings(csv=str(market.path), out=str(plain)))


def test_a_training_that_lost_its_forecasts_is_done_again(market, plain, tmp_path):
    out = tmp_path / "w"
    shutil.copytree(plain, out)
    (out / "folds" / "02" / "inner_forecasts.parquet").unlink()
    walk_over(market, out, max_steps=0, fresh=False)
    assert bytes_of(out) == bytes_of(plain)


def test_folds_that_begin_with_earlier_weights_do_not_grow(market, plain, tmp_path):
    out = tmp_path / "w"
    shutil.copytree(plain, out)
    content = json.loads((out / "walk.json").read_text())
    content["walk"]["warm_start"] = True
    (out / "walk.json").write_text(json.dumps(content))
    with pytest.raises(RunConflictError, match="holds a walk with epochs=1, given 2; give another"):
        walk_over(market, out, max_steps=0, epochs=2, options={"warm_start": True})


def alter(market, path, first):
    """A copy of the file in which every row from `first` on has other features and targets."""
    other = make_market(path, rows=ROWS)
    generator = np.random.default_rng(9)
    for cells in other.cells[first:]:
        cells[-2:] = [str(value) for value in generator.normal(0, 0.5, 2)]
        cells[-3] = json.dumps(generator.normal(0, 50, (1, 4)).tolist())
    other.write()
    return other


@pytest.mark.parametrize("options", [{}, {"train": "sliding"}, {"warm_start": True}])
def test_rows_from_a_folds_start_on_change_neither_its_weights_nor_earlier_forecasts(market, plain, tmp_path, options):
    first = plain
    if options:
        first = tmp_path / "a"
        walk_over(market, first, options=options, max_steps=0)
        weights, others = bytes_of(first)[1], bytes_of(plain)[1]
        assert [one == other for one, other in zip(weights, others, strict=True)] == [True, False]
    start = 192  # of the second fold
    second = tmp_path / "b"
    walk_over(alter(market, tmp_path / "altered.csv", start), second, options=options, max_steps=0)
    assert bytes_of(first)[1] == bytes_of(second)[1]
    before, after = (pd.read_parquet(out / "forecasts.parquet") for out in (first, second))
    earlier = before["row"] < start
    assert earlier.sum() == 48
    pd.testing.assert_frame_equal(before[earlier], after[earlier], check_exact=True)
    assert not before.equals(after)


def test_altered_training_rows_do_change_the_weights(market, plain, tmp_path):
    walk_over(alter(market, tmp_path / "altered.csv", 100), tmp_path / "b", max_steps=0)
    assert bytes_of(plain)[1][0] != bytes_of(tmp_path / "b")[1][0]


def test_combinatorial_folds_forecast_every_row_several_times_and_are_judged_along_paths(market, tmp_path):
    options = {"train": "combinatorial", "folds": 4, "test_folds": 2}
    judged = walk_over(market, tmp_path / "w", options=options)
    table = pd.read_parquet(tmp_path / "w" / "forecasts.parquet")
    assert (table.groupby("row").size() == 3).all()
    assert sorted(table["row"].unique()) == list(range(ROWS))
    assert {one.period for one in judged.paths} == {"path 1", "path 2", "path 3"}
    assert all(one.rows == ROWS for one in judged.paths)
    assert judged.costs.scores == []


def test_a_bad_option_of_a_training_is_told_in_one_line(market, tmp_path, capsys):
    command = ["walk", str(market.path), "--out", str(tmp_path / "w"), "--features", "arr_none"]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_training_that_fails_for_a_reason_of_ours_is_not_put_down_to_the_user(market, tmp_path):
    with pytest.raises(WalkError, match="fold 1, seed 0 failed with exit code 1; see"):
        walk_over(market, tmp_path / "w", start=lambda job: (1, "KeyError"))


def test_a_folder_in_which_another_process_walks_is_refused(market, walked):
    with another_process(walked), pytest.raises(RunConflictError, match="another process walks in"):
        walk_over(market, walked, options={"seeds": "0,4"})


def command_line(market, out):
    """The walk `plain` as a command."""
    given = [part for name, value in SETTINGS.items() for part in _option(name, value) if name not in NOT_GIVEN]
    return ["walk", str(market.path), "--out", str(out), *given, "--folds", "2", "--test_ratio", "0.4"]


def test_the_command_walks_in_child_processes_and_prints_the_verdict(market, plain, tmp_path, capsys):
    out = tmp_path / "w"
    assert main(command_line(market, out)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("2 trainings; ") for line in printed)
    assert any(line.startswith("training 2 of 2: fold 2, seed 0") for line in printed)
    assert printed[-2:] == [str(WalkFolder(out).evaluation), f"report: {WalkFolder(out).page}"]
    assert bytes_of(out) == bytes_of(plain)
    assert main(["evaluate", str(out)]) == 0
    assert bytes_of(out) == bytes_of(plain)


def _option(name, value):
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


@pytest.mark.slow
def test_a_walk_that_is_killed_at_random_ends_with_the_same_bytes(market, plain, tmp_path):
    out = tmp_path / "w"
    command = [sys.executable, "-m", "deeptrade", *command_line(market, out)]
    generator = np.random.default_rng(3)
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(1, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert bytes_of(out) == bytes_of(plain)
