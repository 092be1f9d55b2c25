import json
import re
import sys
from threading import Barrier

import pytest

from deeptrade.errors import DataError, SettingsError
from deeptrade.notebook.grid import GridError, combinations, folder_name, read_grid, run_grid
from deeptrade.planning.children import run_logged
from tests.support.comparisons import add_run


def test_a_grid_is_read_and_every_combination_is_made():
    grid = read_grid(["model_size=tiny,small", "batch_size=2, 8"])
    assert grid == {"model_size": ["tiny", "small"], "batch_size": ["2", "8"]}
    assert len(combinations(grid)) == 4
    assert combinations(grid)[1] == {"model_size": "tiny", "batch_size": "8"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("[arr_5m,arr_15m],arr_5m", ["arr_5m,arr_15m", "arr_5m"]),
        ("arr_5m, [ arr_5m,arr_15m ]", ["arr_5m", "arr_5m,arr_15m"]),
        ("[arr_5m],arr_5m", ["arr_5m"]),
        ("[],arr_5m", ["", "arr_5m"]),
        ("[arr[0],arr[1]],arr[2],x]", ["arr[0],arr[1]", "arr[2]", "x]"]),
    ],
)
def test_a_value_in_brackets_keeps_its_commas(values, expected):
    assert read_grid([f"features={values}"]) == {"features": expected}


@pytest.mark.parametrize("text", ["features=[arr_5m,arr_15m", "features=a,[b", "features=[a]b", "features=[[a]"])
def test_a_bracket_without_its_partner_is_one_line(text):
    with pytest.raises(SettingsError, match="in brackets") as caught:
        read_grid([text])
    assert "\n" not in str(caught.value)


def test_every_combination_has_a_folder_of_its_own_that_any_file_system_takes():
    values = ["a", "a/b", "a_b", "a,b", "a+b", "a b", "a:b", "a\\b", "..", "é" * 300, "é" * 301, "a.log", "", "a,y=b"]
    names = [folder_name({"x": value}) for value in values]
    names += [folder_name({"x": "a", "y": "b"}), folder_name({"x": "a/b", "y": "b"})]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[\w.,=+-]+", name)
        assert len(name.encode()) < 200
        assert not name.endswith(".log")
    assert folder_name({"x": "a", "y": "b"}) == "x=a,y=b"


@pytest.mark.parametrize("text", ["model_size", "=tiny", "model_size=", "model_size=tiny,"])
def test_a_grid_of_another_form_is_refused(text):
    with pytest.raises(SettingsError, match="NAME=VALUE,VALUE"):
        read_grid([text])
    with pytest.raises(SettingsError, match="'seed' twice"):
        read_grid(["seed=1", "seed=2"])


@pytest.fixture
def fake_runs(tmp_path, finished_run):
    """A start of jobs in place of `deeptrade run`: leaves a result, or ends with the code that its seed says."""
    source = add_run(tmp_path / "source", "train", finished_run)
    script = tmp_path / "fake.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "given = {sys.argv[n + 1]: sys.argv[n + 2] for n, one in enumerate(sys.argv) if one == '-r'}\n"
        "code = {'7': 2, '8': 1}.get(given['seed'], 0)\n"
        "if not code:\n"
        f"    shutil.copytree({str(source)!r}, out, dirs_exist_ok=True)\n"
        "print('last words of seed', given['seed'], given.get('epochs'))\n"
        "sys.exit(code)\n"
    )
    return lambda job: run_logged([sys.executable, str(script), *job.command_line], job.log)


def test_every_combination_runs_in_its_own_folder_and_they_are_compared(market, tmp_path, fake_runs):
    lines = []
    options = {"grid": {"seed": ["1", "2"]}, "parameters": {"epochs": "3"}, "sink": lines.append}
    page = run_grid(market.path, out=tmp_path / "out", start=fake_runs, **options)
    assert page == tmp_path / "out" / "compare.html"
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["seed=1", "seed=2"]
    assert lines[1] == "run 1 of 2: done; last words of seed 1 3"
    assert (tmp_path / "out" / "seed=2.log").read_text() == "last words of seed 2 3\n"


def test_a_run_that_fails_does_not_stop_the_rest_and_is_told(market, tmp_path, fake_runs):
    with pytest.raises(GridError, match="2 of 3 runs failed: seed=8, seed=7; see their logs"):
        run_grid(market.path, out=tmp_path / "out", grid={"seed": ["8", "7", "1"]}, start=fake_runs)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["seed=1"]
    with pytest.raises(DataError, match="1 of 1 runs failed"):
        run_grid(market.path, out=tmp_path / "other", grid={"seed": ["7"]}, start=fake_runs)


def test_bad_values_are_refused_before_anything_runs(market, tmp_path, fake_runs):
    for grid, words in (({"model_size": ["tiny", "huge"]}, "huge"), ({"model_sise": ["tiny"]}, "model_size")):
        with pytest.raises(SettingsError, match=words):
            run_grid(market.path, out=tmp_path / "out", grid=grid, start=fake_runs)
    with pytest.raises(SettingsError, match="by -r and by --grid"):
        run_grid(market.path, out=tmp_path / "out", grid={"seed": ["1"]}, parameters={"seed": "2"}, start=fake_runs)
    assert not (tmp_path / "out").exists()


def test_missing_data_is_told_before_anything_runs(tmp_path, fake_runs):
    with pytest.raises(DataError, match="does not exist"):
        run_grid(tmp_path / "none.csv", out=tmp_path / "out", grid={"seed": ["1"]}, start=fake_runs)
    assert not (tmp_path / "out").exists()


def test_several_runs_at_once_are_told_and_compared_as_they_end(market, tmp_path, fake_runs):
    together, lines = Barrier(2, timeout=20), []

    def start(job):
        together.wait()
        return fake_runs(job)

    run_grid(market.path, out=tmp_path / "out", grid={"seed": ["1", "2"]}, start=start, at_once=2, sink=lines.append)
    assert lines[:2] == ["run 1 of 2: seed=1", "run 2 of 2: seed=2"]
    assert sorted(lines[2:]) == [f"run {seed} of 2: done; last words of seed {seed} None" for seed in (1, 2)]
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["seed=1", "seed=2"]


def test_a_grid_that_starts_over_removes_its_runs_and_no_more(market, tmp_path, fake_runs):
    out = tmp_path / "out"
    train = out / "seed=1" / "train"
    train.mkdir(parents=True)
    for name in ("history.csv", "mine.txt"):
        (train / name).write_text("step,loss\n")
    left = []

    def start(job):
        left.extend(path.name for path in train.iterdir())
        assert "--fresh" not in job.command_line, "run again after a loss, it would start over"
        return fake_runs(job)

    run_grid(market.path, out=out, grid={"seed": ["1"]}, start=start, fresh=True)
    assert left == ["mine.txt"]


def test_paths_among_the_parameters_are_known_as_paths(market, tmp_path, fake_runs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = []

    def start(job):
        jobs.append(job.absolute())
        return fake_runs(job)

    options = {"parameters": {"store": "x.dtstore"}, "grid": {"seed": ["1"]}}
    run_grid("market.csv", out="out", start=start, **options)
    (job,) = jobs
    assert job.command_line[:4] == ["run", str(market.path), "--out", str(tmp_path / "out" / "seed=1")]
    assert job.command_line[4:] == ["-r", "store", str(tmp_path / "x.dtstore"), "-r", "seed", "1"]
