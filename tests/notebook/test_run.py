import json
import logging
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from deeptrade import errors, run
from deeptrade.errors import DataError, RunConflictError, SettingsError
from deeptrade.notebook.execute import NotebookError, NotebookRefusedError, execute_notebook
from deeptrade.notebook.run import _open_state
from deeptrade.run_folder import AGENT_NOTEBOOK, NOTEBOOKS
from tests.support.holding import another_process
from tests.support.markets import make_market
from tests.support.notebooks import StandIn
from tests.support.shadows import write_shadows

QUICK = (("model_size", "tiny"), ("quick", "true"), ("max_steps", "120"), ("epochs", "99"), ("skip_rl", "true"))
PARAMETERS = {"model_size": "tiny", "batch_size": "4", "max_steps": 3, "quick": True, "skip_rl": "yes"}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_leaves_notebooks_pages_and_results(finished_run):
    for name, folder in NOTEBOOKS.items():
        for ending in (".ipynb", ".html", ".full.html"):
            assert (finished_run / f"{name}{ending}").stat().st_size > 1000
        assert any((finished_run / folder).iterdir())
    assert (finished_run / "index.html").exists()
    state = json.loads((finished_run / "run.json").read_text())
    assert {item["status"] for item in state["notebooks"].values()} == {"completed"}
    assert [path.parent.name for path in finished_run.rglob("result.json")] == ["train"]


def test_what_the_plan_chose_is_used_unless_a_parameter_says_otherwise(finished_run):
    plan = json.loads((finished_run / "optimize" / "plan.json").read_text())
    result = json.loads((finished_run / "train" / "result.json").read_text())
    assert (result["batch_size"], result["accum_steps"]) == (4, 1)
    assert plan["batch_size"] != 4
    assert result["settings"]["chunk_size"] == plan["chunk_size"]
    assert result["settings"]["skip_rl"] is True


def test_the_same_run_again_says_it_is_done_and_changes_nothing(finished_run):
    before, lines = times(finished_run), []
    index = run(finished_run.parent / "market.csv", out=finished_run, parameters=PARAMETERS, sink=lines.append)
    assert index == finished_run / "index.html"
    assert "is done, nothing was changed" in lines[0]
    assert times(finished_run) == before


@pytest.mark.parametrize(
    ("change", "words"), [({"max_steps": 4}, "max_steps '3', now '4'"), ({"seed": 1}, "seed not set, now '1'")]
)
def test_another_run_into_the_same_folder_is_refused(finished_run, change, words):
    before = times(finished_run)
    with pytest.raises(RunConflictError, match=words):
        run(finished_run.parent / "market.csv", out=finished_run, parameters=PARAMETERS | change)
    assert times(finished_run) == before


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"epoch": 3}, SettingsError, "did you mean 'epochs'"),
        ({"epochs": "many"}, SettingsError, "epochs='many' is not of type int"),
        ({"epochs": 0}, SettingsError, "epochs=0 is not accepted"),
    ],
)
def test_wrong_parameters_stop_before_a_kernel_starts(market, tmp_path, parameters, error, words):
    kernels = StandIn()
    with pytest.raises(error, match=words):
        run(market.path, out=tmp_path / "out", parameters=parameters, execute=kernels)
    assert kernels.done == []
    assert not (tmp_path / "out").exists()


def test_missing_data_stops_before_anything_is_made(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "none.csv", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_error_the_user_can_fix_ends_the_run_and_its_pages_say_so(market, tmp_path):
    kernels = StandIn("02_auto_optimize", NotebookRefusedError("needs 3 GiB"))
    with pytest.raises(NotebookRefusedError, match=r"^needs 3 GiB$"):
        run(market.path, out=tmp_path / "out", execute=kernels)
    assert "02_auto_optimize: needs 3 GiB" in (tmp_path / "out" / "index.html").read_text()


def test_a_failed_run_leaves_pages_and_goes_on_from_there(market, tmp_path):
    kernels = StandIn("03_train", NotebookError("03_train", "ZeroDivisionError: division by zero"))
    with pytest.raises(NotebookError, match="03_train failed: ZeroDivisionError: division by zero"):
        run(market.path, out=tmp_path / "out", execute=kernels)
    index = (tmp_path / "out" / "index.html").read_text()
    assert "03_train: ZeroDivisionError: division by zero" in index
    assert (tmp_path / "out" / "03_train.html").exists()
    again = StandIn()
    run(market.path, out=tmp_path / "out", execute=again)
    assert again.done == ["03_train", "04_memory_report", AGENT_NOTEBOOK]
    assert "failed:" not in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("name", ["01_profile_dataset", "02_auto_optimize", "03_train"])
def test_a_run_that_failed_before_it_trained_does_not_block_its_folder(market, tmp_path, name):
    with pytest.raises(NotebookRefusedError):
        run(market.path, out=tmp_path / "out", execute=StandIn(name, NotebookRefusedError("needs 3 GiB")))
    again, lines = StandIn(), []
    run(market.path, out=tmp_path / "out", parameters={"model_size": "tiny"}, execute=again, sink=lines.append)
    assert again.done == [*NOTEBOOKS, AGENT_NOTEBOOK]
    said = "holds a run with model_size not set, now 'tiny', which failed before it trained: starting over"
    assert any(said in line for line in lines)


def test_a_run_that_failed_after_it_trained_keeps_its_folder(market, tmp_path):
    failing = StandIn("03_train", NotebookError("03_train", "ZeroDivisionError: division by zero"))
    with pytest.raises(NotebookError):
        run(market.path, out=tmp_path / "out", execute=failing)
    (tmp_path / "out" / "train").mkdir(exist_ok=True)
    (tmp_path / "out" / "train" / "history.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(RunConflictError, match="with model_size not set, now 'tiny'; give another --out"):
        run(market.path, out=tmp_path / "out", parameters={"model_size": "tiny"}, execute=StandIn())


def test_fresh_starts_over_and_keeps_what_is_not_ours(market, tmp_path):
    run(market.path, out=tmp_path / "out", execute=StandIn())
    (tmp_path / "out" / "notes.txt").write_text("mine")
    again = StandIn()
    run(market.path, out=tmp_path / "out", parameters={"seed": 5}, fresh=True, execute=again)
    assert again.done == [*NOTEBOOKS, AGENT_NOTEBOOK]
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_other_data_is_refused(market, tmp_path):
    run(market.path, out=tmp_path / "out", execute=StandIn())
    market.cells[3][-1] = "0.5"
    market.write()
    with pytest.raises(RunConflictError, match="other data"):
        run(market.path, out=tmp_path / "out", execute=StandIn())


@pytest.mark.parametrize(
    ("cell", "error", "words"),
    [
        (
            "from deeptrade.errors import DataError\nraise DataError('no such file')",
            NotebookRefusedError,
            "^no such file$",
        ),
        (
            "from deeptrade.store.summary import TooManyBadRowsError\nraise TooManyBadRowsError('9 of 9 rows', [])",
            NotebookRefusedError,
            "^9 of 9 rows$",
        ),
        (
            "class DataError(Exception): pass\nraise DataError('a name of ours')",
            NotebookError,
            "DataError: a name of ours",
        ),
        ("1 / 0", NotebookError, "cell failed: ZeroDivisionError: division by zero"),
    ],
)
def test_the_end_of_a_kernel_is_known_by_the_type_of_its_error(tmp_path, cell, error, words):
    notebook = tmp_path / "cell.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), notebook)
    with pytest.raises(error, match=words):
        execute_notebook(notebook, tmp_path / "out.ipynb", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.ipynb", "out.ipynb"]


def test_the_kernel_is_this_interpreter_whatever_the_path_and_quiet(market, tmp_path):
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "from pathlib import Path\nimport nbformat\nfrom deeptrade.notebook.execute import execute_notebook\n"
        "cell = 'import logging, sys; print(sys.executable, logging.getLogger(\"tornado.general\").level)'\n"
        "nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])\n"
        f"nbformat.write(nb, {str(tmp_path / 'in.ipynb')!r})\n"
        f"execute_notebook(Path({str(tmp_path / 'in.ipynb')!r}), Path({str(tmp_path / 'out.ipynb')!r}), {{}})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    output = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text.strip()
    assert output.split() == [sys.executable, str(logging.CRITICAL)]


@pytest.mark.slow
def test_a_run_that_is_stopped_by_a_signal_saves_says_so_and_goes_on(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=400)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "deeptrade", "run", str(market.path), "--out", str(out)]
    for name, value in (("model_size", "tiny"), ("quick", "true"), ("epochs", "300"), ("batch_size", "4")):
        command += ["-r", name, value]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    history = out / "train" / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") > 5):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    result = json.loads((out / "train" / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert result["steps"] >= 5
    state = json.loads((out / "run.json").read_text())["notebooks"]
    assert [item["status"] for item in state.values()] == [
        "completed",
        "completed",
        "interrupted",
        "pending",
        "pending",
    ]
    assert "stopped by a signal" in (out / "index.html").read_text()
    assert (out / "03_train.html").exists()


def test_a_folder_in_which_another_process_runs_is_refused(market, tmp_path):
    out = tmp_path / "out"
    with another_process(out), pytest.raises(RunConflictError, match="another process runs notebooks into"):
        run(market.path, out=out, execute=StandIn())


def test_a_path_among_the_parameters_is_the_same_however_it_is_spelled(market, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(market.path, out="out", parameters={"store": "x.dtstore"}, execute=StandIn())
    again, lines = StandIn(), []
    spelled = {"store": str(tmp_path / "x.dtstore")}
    run(market.path, out="out", parameters=spelled, execute=again, sink=lines.append)
    assert again.done == []
    with pytest.raises(RunConflictError, match=r"with store 'x\.dtstore', now 'y\.dtstore'"):
        run(market.path, out="out", parameters={"store": "y.dtstore"}, execute=StandIn())


def kernel_of(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if "ipykernel_launcher" in child.cmdline())


def test_a_run_whose_kernel_is_killed_leaves_its_evidence_and_is_completed_by_the_same_command(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=400)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "deeptrade", "run", str(market.path), "--out", str(out)]
    for name, value in QUICK:
        command += ["-r", name, value]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    history = out / "train" / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") > 5):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kernel_of(process).kill()
    process.communicate(timeout=120)
    assert process.returncode not in (0, 2)
    index = (out / "index.html").read_text()
    assert "failed: " in index
    assert "of the unfinished run" in index
    for name in ("03_train.ipynb", "03_train.html", "04_memory_report.html"):
        assert (out / name).exists()
    assert "The run has not completed" in (out / "04_memory_report.html").read_text()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    state = json.loads((out / "run.json").read_text())["notebooks"]
    assert {item["status"] for item in state.values()} == {"completed"}
    assert json.loads((out / "train" / "result.json").read_text())["steps"] == 120
    assert "The run has not completed" not in (out / "04_memory_report.html").read_text()


@pytest.mark.parametrize(("name", "value"), [("csv", "other.csv"), ("out", "x"), ("run", "y"), ("plan", "z")])
def test_parameters_that_run_sets_itself_are_refused(tmp_path, market, name, value):
    with pytest.raises(SettingsError, match=f"parameter '{name}' is set by run itself"):
        run(market.path, out=tmp_path / "out", parameters={name: value})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("effective_batch", -3), ("features", "arr_5mm")])
def test_values_that_cannot_work_stop_before_a_kernel_starts(tmp_path, market, name, value):
    with pytest.raises(SettingsError, match=r"arr_5m|effective_batch=-3"):
        run(market.path, out=tmp_path / "out", parameters={name: value})
    assert not (tmp_path / "out").exists()


def test_the_same_value_spelled_otherwise_is_the_same_run(finished_run):
    lines = []
    spelled = PARAMETERS | {"quick": "TRUE", "batch_size": 4, "max_steps": "03"}
    run(finished_run.parent / "market.csv", out=finished_run, parameters=spelled, sink=lines.append)
    assert "is done, nothing was changed" in lines[0]


def test_a_run_without_samples_comes_to_its_end_and_says_so(tmp_path, market):
    parameters = {"model_size": "tiny", "max_steps": 1, "quick": True, "no_memory_monitor": True, "skip_rl": True}
    index = run(market.path, out=tmp_path / "out", parameters=parameters | {"val_ratio": 0.3})
    assert "No samples were taken; resident memory" in index.read_text()


def test_a_run_whose_data_an_earlier_version_named_otherwise_goes_on(tmp_path):
    named = {"content_hash": "", "parameters": {}}
    state = _open_state(tmp_path, {"data_id": "sha256:a", **named}, NOTEBOOKS)
    assert _open_state(tmp_path, {"data_id": "sha256-2:b", **named}, NOTEBOOKS, former_data_ids=("sha256:a",)) == state
    with pytest.raises(RunConflictError, match="other data"):
        _open_state(tmp_path, {"data_id": "sha256-2:b", **named}, NOTEBOOKS)


def test_the_limit_of_a_run_bounds_its_compile_too(market, tmp_path):
    with pytest.raises(errors.DoesNotFitError, match=r"reading a block of market needs .*, \d.* may be used"):
        run(market.path, out=tmp_path / "out", parameters={"memory_limit": "1KiB"})
    assert not (tmp_path / "market.dtstore").exists()
    assert not (tmp_path / "out").exists()


def test_a_kernel_imports_nothing_from_the_working_folder_and_runs_no_startup_file(tmp_path, monkeypatch):
    monkeypatch.chdir(write_shadows(tmp_path))
    (tmp_path / "startup.py").write_text("print('at startup'); raise SystemExit('startup')\n")
    for name in ("ipython_config", "ipython_kernel_config", "jupyter_config", "jupyter_client_config"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('config')\n")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("MPLBACKEND", "Qt5Agg")
    before = dict(os.environ)
    code = "import csv, queue, random, types, numpy, pandas\nprint(random.Random, csv.reader, numpy.float32)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {})
    (output,) = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
    assert "random.Random" in output.text
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_in_a_folder_with_modules_of_pythons_names_gives_the_weights_it_gives_elsewhere(tmp_path):
    hashes = []
    for folder in (tmp_path / "plain", tmp_path / "shadowed"):
        folder.mkdir()
        make_market(folder / "market.csv", rows=120)
        if folder.name == "shadowed":
            write_shadows(folder)
        given = [part for name, value in PARAMETERS.items() for part in ("-r", name, str(value))]
        command = [sys.executable, "-m", "deeptrade", "run", "market.csv", "--out", "run", *given]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        hashes.append(json.loads((folder / "run" / "train" / "result.json").read_text())["weights_sha256"])
    assert hashes[0] == hashes[1]
