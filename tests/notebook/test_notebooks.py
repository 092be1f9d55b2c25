import ast
import json
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise

import nbformat
import pytest

from deeptrade.notebook.execute import notebook_path
from deeptrade.notebook.parameters import declared
from deeptrade.run_folder import AGENT_NOTEBOOK, NOTEBOOKS
from deeptrade.settings import FitSettings
from tests.support.notebooks import figures_of

ALL = ["00_explore", *NOTEBOOKS, "05_compare_runs", "06_walk_forward", AGENT_NOTEBOOK]


def read(name):
    return nbformat.read(notebook_path(name), as_version=4)


def parameters_cell(notebook):
    return next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


@pytest.mark.parametrize("name", ALL)
def test_papermill_reads_every_parameter_with_type_default_and_help(name):
    found = declared(notebook_path(name))
    statements = ast.parse(parameters_cell(read(name)).source).body
    assert list(found) == [statement.target.id for statement in statements]
    for statement in statements:
        parameter = found[statement.target.id]
        assert ast.literal_eval(parameter["default"]) == ast.literal_eval(statement.value)
        assert parameter["inferred_type_name"] == statement.annotation.id
        assert parameter["help"].strip()


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_is_committed_clean(name):
    notebook = read(name)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("name", ALL)
def test_each_code_cell_is_short_and_follows_a_text_cell(name):
    cells = read(name).cells
    assert cells[0].cell_type == "markdown"
    assert "parameters" in cells[1].metadata["tags"]
    for before, cell in pairwise(cells[1:]):
        if cell.cell_type == "code" and "parameters" not in before.metadata.get("tags", []):
            assert before.cell_type == "markdown"
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 12
            assert not any(
                isinstance(node, (ast.ClassDef, ast.FunctionDef)) for node in ast.walk(ast.parse(cell.source))
            )


def test_the_training_notebook_has_the_options_of_fit():
    found = declared(notebook_path("03_train"))
    assert list(found) == [item.name for item in fields(FitSettings)]
    for item in fields(FitSettings):
        assert ast.literal_eval(found[item.name]["default"]) == item.default
        assert found[item.name]["help"].strip() == item.metadata["help"]


def test_papermill_prints_the_help_of_a_notebook():
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(notebook_path("03_train"))]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "model_size: str (default" in text.replace("\n", " ").replace("  ", " ")


def run_papermill(name, executed, cwd, **parameters):
    given = [part for key, value in parameters.items() for part in ("-r", key, str(value))]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook_path(name)), str(executed), *given]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_explore_runs_in_batch_without_widgets(market, tmp_path):
    done = run_papermill("00_explore", tmp_path / "o.ipynb", tmp_path, csv=market.path, interactive="")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "widget-view" not in (tmp_path / "o.ipynb").read_text()


def test_a_text_given_by_papermill_s_p_is_refused_with_the_option_that_takes_it(market, tmp_path):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook_path("00_explore"))]
    given = ["-p", "csv", str(market.path), "-p", "feature", "NAN", "-p", "interactive", "False"]
    done = subprocess.run([*command, str(tmp_path / "o.ipynb"), *given], capture_output=True, text=True)
    assert done.returncode != 0
    assert "-r feature does not" in done.stderr


def test_a_parameter_that_the_notebook_does_not_have_is_refused_though_papermill_lets_it_pass(market, tmp_path):
    done = run_papermill("03_train", tmp_path / "o.ipynb", tmp_path, csv=market.path, out=tmp_path / "fit", epoch=3)
    assert done.returncode != 0
    assert "this notebook has no parameter 'epoch'; did you mean 'epochs'?" in done.stderr
    assert not (tmp_path / "fit").exists()


@pytest.mark.slow
def test_training_by_papermill_gives_the_same_result_from_any_folder(market, tmp_path):
    results = []
    for place in (notebook_path("03_train").parents[1], notebook_path("03_train").parent, tmp_path):
        options = {"csv": market.path, "out": tmp_path / f"fit{len(results)}", "model_size": "tiny", "max_steps": 2}
        done = run_papermill("03_train", tmp_path / "o.ipynb", place, **options)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(figures_of(json.loads((options["out"] / "result.json").read_text())))
    assert results[0] == results[1] == results[2]


def test_papermill_the_run_command_and_fit_give_the_same_result(finished_run, tmp_path):
    """The notebook alone and the command with the settings of a whole run: the same rows, losses and weights."""
    whole = json.loads((finished_run / "train" / "result.json").read_text())
    names = ("model_size", "batch_size", "grad_accum", "accum_steps", "max_steps", "chunk_size", "prefetch")
    settings = {name: whole["settings"][name] for name in names}
    csv = finished_run.parent / "market.csv"
    done = run_papermill("03_train", tmp_path / "o.ipynb", tmp_path, csv=csv, out=tmp_path / "notebook", **settings)
    assert done.returncode == 0, done.stderr[-2000:]
    given = [f"--{name}={value}" for name, value in settings.items() if name != "grad_accum"]
    given += ["--grad_accum"] * settings["grad_accum"]
    command = [sys.executable, "-m", "deeptrade", "fit", f"--csv={csv}", f"--out={tmp_path / 'command'}"]
    subprocess.run([*command, *given], check=True, capture_output=True)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("notebook", "command")]
    assert [figures_of(result) for result in results] == [figures_of(whole)] * 2
