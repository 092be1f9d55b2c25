"""A grid on a real Dask cluster of two workers on loopback: the results of one machine, or one line."""

import json
import shutil
import signal
import subprocess

import pytest

from deeptrade.cli import main
from deeptrade.run_folder import RunFolder
from tests.support.dask import command, kill, run_deeptrade, trainings_of, wait_until
from tests.support.markets import make_market

ROWS = 300
OPTIONS = {
    "model_size": "tiny",
    "quick": "true",
    "skip_rl": "true",
    "batch_size": "2",
    "accum_steps": "1",
    "max_steps": "300",
    "epochs": "99",
    "checkpoint_every": "4",
    "no_adapt": "true",
}
GRID = [part for item in OPTIONS.items() for part in ("-r", *item)] + ["--grid", "seed=0,1"]
POINTS = ("seed=0", "seed=1")
MINUTES = pytest.mark.timeout(900)


def test_without_a_grid_a_cluster_is_refused(capsys):
    assert main(["run", "market.csv", "--cluster", "dask://10.0.0.5:8786"]) == 2
    assert capsys.readouterr().err == (
        "deeptrade run: --cluster dask://10.0.0.5:8786 runs the points of a grid; give --grid, or leave it out\n"
    )


def grid_command(address):
    return command("run", "market.csv", "--out", "grid", *GRID, "--cluster", address)


def results(out):
    """What a grid leaves that is equal wherever its points were run: all but times, peaks of memory and folders."""
    found = {}
    for point in POINTS:
        training = RunFolder(out / point).training
        result = training.read_completed_result()
        for name in ("starts", "time", "memory", "workers"):
            del result[name]
        for name in ("csv", "out", "plan"):
            del result["settings"][name]
        files = [path.read_bytes() for path in (training.history, training.ledger, training.forecasts)]
        found[point] = (result, files)
    return found


def starts(out):
    return [len(RunFolder(out / point).training.read_result()["starts"]) for point in POINTS]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The grid without a cluster."""
    folder = tmp_path_factory.mktemp("alone")
    make_market(folder / "market.csv", rows=ROWS)
    with open(folder / "grid.log", "w") as log:
        done = subprocess.run(command("run", "market.csv", "--out", "grid", *GRID), cwd=folder, stdout=log, stderr=log)
    assert done.returncode == 0, (folder / "grid.log").read_text()
    return folder


@pytest.fixture
def shared(tmp_path):
    make_market(tmp_path / "market.csv", rows=ROWS)
    return tmp_path


def start_grid(folder, cluster):
    with open(folder / "grid.log", "a") as log:
        return subprocess.Popen(grid_command(cluster.address), cwd=folder, stdout=log, stderr=log)


def both_train(folder):
    trainings = [RunFolder(folder / "grid" / point).training for point in POINTS]
    return all(any(training.checkpoints.glob("*")) for training in trainings)


@pytest.mark.slow
@MINUTES
@pytest.mark.parametrize("harm", ["worker killed", "driver killed"])
def test_a_grid_on_two_workers_gives_the_results_of_one_alone(shared, alone, cluster, harm):
    running, log = start_grid(shared, cluster), shared / "grid.log"
    wait_until(lambda: both_train(shared), what="both points", seconds=300)
    assert all(trainings_of(worker) for worker in cluster.workers), "both points are under way at once"
    kill(cluster.workers[0] if harm == "worker killed" else running)
    if harm == "driver killed":
        wait_until(lambda: not any(map(trainings_of, cluster.workers)), what="runs to stop", seconds=60)
        running = start_grid(shared, cluster)
    assert running.wait(600) == 0, log.read_text()
    assert results(shared / "grid") == results(alone / "grid")
    assert max(starts(shared / "grid")) == 2, "continued, not begun anew"
    compared = json.loads((shared / "grid" / "comparison.json").read_text())["runs"]
    assert [run["name"] for run in compared] == list(POINTS)
    assert log.read_text().count("compiling") <= 1 + (harm == "driver killed"), "the data is read once, here"


@pytest.mark.slow
@MINUTES
def test_a_grid_that_is_stopped_stops_its_runs(shared, cluster):
    running = start_grid(shared, cluster)
    wait_until(lambda: all(map(trainings_of, cluster.workers)), what="both points")
    running.terminate()
    assert running.wait(60) == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(trainings_of, cluster.workers)), what="runs to stop", seconds=60)


@pytest.mark.slow
def test_a_point_on_a_worker_with_another_copy_is_one_line(shared, cluster):
    # This path is of another file in each process: of the one in its working folder.
    run_deeptrade("compile", "market.csv", folder=shared)
    text = (shared / "market.csv").read_bytes()
    (shared / "elsewhere" / "market.csv").write_bytes(text.replace(b"100.", b"101.", 1))
    shutil.copytree(shared / "market.dtstore", shared / "elsewhere" / "market.dtstore")
    arguments = ["run", "/proc/self/cwd/market.csv", "--out", "grid", *GRID, "--cluster", cluster.address]
    done = run_deeptrade(*arguments, folder=shared)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is not the file that is here" in done.stderr
