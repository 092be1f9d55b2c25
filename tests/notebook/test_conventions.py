"""What executed notebooks must keep to, so that they can be opened, shared and run side by side."""

import getpass
import hashlib
import json
import re
import socket
import subprocess
import sys

import nbformat
import pytest

from deeptrade import run
from deeptrade.notebook.execute import notebook_path
from deeptrade.run_folder import NOTEBOOKS
from tests.support.markets import make_market
from tests.support.notebooks import StandIn, figures_of

MOST_STREAM_LINES = 200


@pytest.fixture(scope="session")
def executed(finished_run):
    return {name: nbformat.read(finished_run / f"{name}.ipynb", as_version=4) for name in NOTEBOOKS}


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_an_executed_notebook_keeps_to_its_output_budget(executed):
    for notebook in executed.values():
        streams = [output.text for output in outputs_of(notebook) if output.output_type == "stream"]
        assert sum(text.count("\n") for text in streams) <= MOST_STREAM_LINES
        assert not any(sign in text for text in streams for sign in "\r\b")


def test_an_executed_notebook_holds_no_widget(executed):
    for notebook in executed.values():
        assert "widgets" not in notebook.metadata
        assert not any("widget-view" in kind for output in outputs_of(notebook) for kind in output.get("data", {}))


def test_the_progress_of_training_is_one_output_that_holds_its_last_state(executed):
    bars = [
        output
        for output in outputs_of(executed["03_train"])
        if "<progress" in output.get("data", {}).get("text/html", "")
    ]
    assert len(bars) == 1
    assert "step 3 of 3" in bars[0].data["text/html"]


def test_every_image_says_what_is_drawn_and_what_it_shows(executed):
    for notebook in executed.values():
        for output in outputs_of(notebook):
            assert not any(kind.startswith("image/") for kind in output.get("data", {}))
            for alt in re.findall('role="img" aria-label="([^"]*)"', output.get("data", {}).get("text/html", "")):
                drawn, _, finding = alt.partition(". ")
                assert len(drawn.split()) >= 3
                assert finding or any(sign.isdigit() for sign in drawn), alt


def test_nothing_private_is_in_any_file_that_is_shared(finished_run):
    home = finished_run.parent
    words = {getpass.getuser(), socket.gethostname()} - {"root", "localhost"}
    shared = [path for pattern in ("*.ipynb", "*.html", "*.json", "*/*.json") for path in finished_run.glob(pattern)]
    assert len(shared) > 15
    for path in shared:
        text = path.read_text(encoding="utf-8")
        assert str(home) not in text, path.name
        assert not [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)], path.name


def test_paths_below_the_home_folder_begin_with_a_tilde(finished_run):
    settings = json.loads((finished_run / "train" / "result.json").read_text())["settings"]
    assert (settings["csv"], settings["out"]) == ("~/market.csv", "~/out/train")


def test_the_folder_of_a_run_is_made_with_all_above_it(market, tmp_path):
    index = run(market.path, out=tmp_path / "a" / "new" / "folder", execute=StandIn())
    assert index == tmp_path / "a" / "new" / "folder" / "index.html"
    assert index.exists()


def hashes():
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in notebook_path("03_train").parent.iterdir()
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    """They begin without a store, so that both want to make it, and share notebooks, caches and kernels' ports."""
    market, before = make_market(tmp_path / "market.csv", rows=120), hashes()
    command = [sys.executable, "-m", "deeptrade", "run", str(market.path)]
    for name, value in (("model_size", "tiny"), ("quick", "true"), ("max_steps", "3"), ("skip_rl", "true")):
        command += ["-r", name, value]
    both = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in ("one", "two")
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    results = [json.loads((tmp_path / name / "train" / "result.json").read_text()) for name in ("one", "two")]
    assert figures_of(results[0]) == figures_of(results[1])
    assert [result["settings"]["out"].split("/")[-2] for result in results] == ["one", "two"]
    assert hashes() == before
    assert not list(tmp_path.glob(".*.partial"))


RESULT = {
    "schema_version": int,
    "status": str,
    "rows": dict.fromkeys(("read", "trained", "validation", "purged", "rejected", "unused"), int),
    "steps": int,
    "epochs": int,
    "batch_size": int,
    "accum_steps": int,
    "effective_batch": int,
    "train": {"loss": float},
    "validation": {"loss": float, "mae": list, "directional_accuracy": list, "zero_mae": list},
    "memory": {
        "baseline_anon_bytes": int,
        "peak_anon_bytes": int,
        "peak_rss_bytes": int,
        "limit_bytes": int,
        "limit_source": str,
    },
    "time": {"wall_seconds": float, "data_wait_seconds": float, "step_seconds_median": float},
    "weights_sha256": str,
    "micro_batch_changes": int,
    "warnings": list,
    "data_id": str,
    "settings": dict,
    "versions": {"deeptrade": str, "tensorflow": str},
}
"""What every result.json holds, whoever reads it."""


def misfits(content, schema, place=""):
    """Places where content lacks a name of the schema or holds another type; further names are allowed."""
    for name, kind in schema.items():
        if name not in content:
            yield f"{place}{name} is missing"
        elif isinstance(kind, dict):
            yield from misfits(content[name], kind, f"{place}{name}.")
        elif type(content[name]) is not kind:
            yield f"{place}{name} is {content[name]!r}"


def test_results_pass_between_notebooks_as_files_with_a_schema(finished_run):
    result = json.loads((finished_run / "train" / "result.json").read_text())
    assert list(misfits(result, RESULT)) == []
    assert result["schema_version"] == 1
    assert list(misfits(result | {"steps": "3"}, RESULT)) == ["steps is '3'"]
    for name in ("profile/profile.json", "optimize/plan.json", "memory/memory.json", "run.json"):
        assert json.loads((finished_run / name).read_text())["schema_version"] == 1
