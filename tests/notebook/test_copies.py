import json
import os
import subprocess
import sys

import nbformat
import pytest

from deeptrade.cli import main
from deeptrade.commands.console import underscored
from deeptrade.errors import SettingsError
from deeptrade.notebook.copies import ORIGINALS, _checksum, copy_notebooks
from deeptrade.notebook.execute import notebook_path
from deeptrade.run_folder import NOTEBOOKS

PACKAGED = notebook_path("00_explore").parent


def edit(copy, line):
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[1].source += f"\n{line}"
    nbformat.write(notebook, copy)


def run_a_cell(copy):
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, copy)


def was_copied_from_an_older_one(folder, name):
    """As if the package had another notebook of this name when it was copied, and the user has not edited it."""
    copy, record = folder / f"{name}.ipynb", folder / ORIGINALS
    edit(copy, "# a line of an older version")
    record.write_text(json.dumps(json.loads(record.read_text()) | {copy.name: _checksum(copy)}))
    return copy


def test_every_notebook_of_the_package_is_copied_byte_for_byte(tmp_path):
    lines = copy_notebooks(tmp_path / "a" / "lab")
    copies = {path.name: path.read_bytes() for path in (tmp_path / "a" / "lab").glob("*.ipynb")}
    assert copies == {path.name: path.read_bytes() for path in PACKAGED.glob("*.ipynb")}
    assert {f"{name}.ipynb" for name in NOTEBOOKS} < set(copies)
    assert lines[-1].endswith("deeptrade run uses the notebooks of the package")


def test_an_edited_copy_stays_as_it_is_and_a_removed_one_comes_again(tmp_path):
    copy_notebooks(tmp_path)
    edit(tmp_path / "03_train.ipynb", "epochs = 3")
    (tmp_path / "04_memory_report.ipynb").unlink()
    before = (tmp_path / "03_train.ipynb").read_bytes()
    lines = copy_notebooks(tmp_path)
    assert (tmp_path / "03_train.ipynb").read_bytes() == before
    assert (tmp_path / "04_memory_report.ipynb").exists()
    assert lines[:2] == [f"{tmp_path}: 1 notebook copied", f"{tmp_path}: kept as you edited them: 03_train"]


def test_a_copy_that_was_only_run_keeps_its_outputs(tmp_path):
    copy_notebooks(tmp_path)
    run_a_cell(tmp_path / "03_train.ipynb")
    before = (tmp_path / "03_train.ipynb").read_bytes()
    assert len(copy_notebooks(tmp_path)) == 1
    assert (tmp_path / "03_train.ipynb").read_bytes() == before


def test_an_unedited_copy_of_an_older_notebook_becomes_the_new_one(tmp_path):
    copy_notebooks(tmp_path)
    copy = was_copied_from_an_older_one(tmp_path, "03_train")
    copy_notebooks(tmp_path)
    assert copy.read_bytes() == notebook_path("03_train").read_bytes()


def test_of_an_edited_copy_of_an_older_notebook_the_newer_one_is_offered(tmp_path):
    copy_notebooks(tmp_path)
    copy = was_copied_from_an_older_one(tmp_path, "03_train")
    edit(copy, "epochs = 3")
    assert "of 03_train the package has a newer version: rename your copy to get it" in copy_notebooks(tmp_path)


def test_the_notebooks_that_run_executes_are_not_opened_themselves():
    with pytest.raises(SettingsError, match="holds the notebooks that run executes; give another --out"):
        copy_notebooks(PACKAGED)


def test_what_follows_two_hyphens_is_left_to_jupyterlab():
    assert underscored(["lab", "--out-dir", "--", "--no-browser"]) == ["lab", "--out_dir", "--", "--no-browser"]


def test_the_command_copies_and_becomes_jupyterlab(tmp_path, monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda path, command: became.append(command))
    assert main(["lab", "--out", str(tmp_path / "lab"), "--", "--no-browser", "--port=8890"]) == 0
    (command,) = became
    assert command[-3:] == [f"--ServerApp.root_dir={tmp_path / 'lab'}", "--no-browser", "--port=8890"]
    assert (tmp_path / "lab" / "00_explore.ipynb").exists()


def test_jupyterlab_itself_is_what_the_command_becomes(tmp_path):
    command = [sys.executable, "-m", "deeptrade", "lab", "--out", str(tmp_path / "lab"), "--", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("4.")
