import os
import subprocess
import sys
import time

import pytest

from deeptrade.making.synthetic import synthesize
from deeptrade.planning.children import PACKAGE_FOLDER, bound_command, module_command, run_logged
from deeptrade.planning.trial import run_trial
from deeptrade.settings import FitSettings
from tests.support.shadows import write_shadows


def test_a_child_imports_nothing_from_the_working_folder(tmp_path):
    command = [*module_command("deeptrade"), "synth", "market.csv", "--rows", "5"]
    done = subprocess.run(command, cwd=write_shadows(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "market.csv").exists()


def test_a_child_gets_its_arguments_and_ends_with_its_exit_code(tmp_path):
    done = subprocess.run([*module_command("deeptrade"), "fitt"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("deeptrade: ")


def test_a_package_that_is_not_installed_is_found_where_it_lies(tmp_path):
    command = module_command("deeptrade.planning.children")
    code = command[3].replace("runpy.run_module", "print(sys.path[-1]); runpy.run_module")
    done = subprocess.run([*command[:3], code, *command[4:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == PACKAGE_FOLDER
    assert done.returncode == 0, done.stderr


def test_a_trial_runs_in_a_folder_with_modules_of_pythons_names(tmp_path, monkeypatch):
    synthesize(tmp_path / "market.csv", rows=120)
    monkeypatch.chdir(write_shadows(tmp_path))
    settings = FitSettings(csv="market.csv", model_size="tiny", max_rows=120)
    trial = run_trial(settings, open_rows=10, predicted_peak_bytes=1, folder=tmp_path)
    assert (trial.exit_code, trial.message) == (0, "")


@pytest.mark.parametrize("module", ["random", "csv", "logging", "numpy"])
def test_python_m_deeptrade_passes_over_a_module_of_the_working_folder(tmp_path, module):
    (tmp_path / f"{module}.py").write_text("raise SystemExit('imported')\n")
    command = [sys.executable, "-m", "deeptrade", "synth", "market.csv", "--rows", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("entry", "module"), [("", "random"), (".", "csv"), ("", "tempfile")])
def test_a_module_in_pythonpath_that_stands_in_for_pythons_own_is_one_line_that_names_it(tmp_path, entry, module):
    (tmp_path / f"{module}.py").write_text("import time  # the user's own helpers\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([entry, PACKAGE_FOLDER])}
    code = "from deeptrade.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-P", "-c", code, "synth", "market.csv", "--rows=5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode:
        assert f"{module}.py is imported in place of Python's own module {module!r}" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert (tmp_path / "market.csv").exists()


def test_fitter_passes_over_a_module_beside_it(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('imported')\n")
    with open(f"{PACKAGE_FOLDER}/fitter.py", encoding="utf-8") as original:
        (tmp_path / "fitter.py").write_text(original.read())
    done = subprocess.run([sys.executable, "fitter.py", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--model_size" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
def test_a_bound_child_is_stopped_when_its_parent_is_killed(tmp_path):
    (tmp_path / "waits.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    code = (
        "import subprocess, sys; sys.path.insert(0, sys.argv[1]); "
        "from deeptrade.planning.children import bound_command; command = bound_command('waits'); "
        "command[command.index(sys.argv[1])] = sys.argv[2]; "
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True); "
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    command = [sys.executable, "-c", code, PACKAGE_FOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert os.path.exists(f"/proc/{child}")
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while is_alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(child)


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_child_says_is_in_its_log_and_its_last_line_is_returned(tmp_path):
    code, last = run_logged([*bound_command("deeptrade"), "fitt"], tmp_path / "a.log")
    assert code == 2
    assert last.startswith("deeptrade: ")
    assert (tmp_path / "a.log").read_text().strip().endswith(last)
    assert run_logged(["sh", "-c", "kill -9 $$"], tmp_path / "b.log") == (-9, "")
