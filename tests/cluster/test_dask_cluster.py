"""Compile and walk on a real Dask cluster of two workers on loopback: the bytes of one machine, or one line."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import deeptrade
from deeptrade.cli import main
from deeptrade.cluster.dask_cluster import connected
from deeptrade.errors import ClusterError, DataError, SettingsError
from deeptrade.inputs import LocalFile
from deeptrade.sources import csv as csv_module
from deeptrade.sources.scan import end_with_parent
from deeptrade.store import compile_store
from deeptrade.store.layout import JOURNAL
from deeptrade.store.locate import partial_path
from tests.support.dask import command, kill, run_deeptrade, trainings_of, wait_until
from tests.support.markets import make_market

ROWS = 300
SLOWLY = """
import sys, time
from deeptrade.cluster.dask_cluster import connected
from deeptrade.sources import csv
from deeptrade.store import compile_store
csv.BLOCK_BYTES = 4096
with connected(sys.argv[1]) as cluster:
    compile_store("market.csv", executor=cluster, sink=print, progress=lambda *_: time.sleep(float(sys.argv[2])))
"""
WALK = [
    "--model_size=tiny",
    "--features=arr_ctx",
    "--batch_size=2",
    "--grad_accum",
    "--accum_steps=2",
    "--max_steps=40",
    "--checkpoint_every=4",
    "--folds=2",
    "--test_ratio=0.4",
]


def test_an_address_of_no_dask_scheduler_is_refused(capsys):
    assert main(["compile", "market.csv", "--cluster", "10.0.0.5:8786"]) == 2
    assert capsys.readouterr().err == (
        "deeptrade compile: cluster='10.0.0.5:8786' is not accepted; give the scheduler of a Dask cluster, such as "
        "dask://10.0.0.5:8786\n"
    )


@pytest.mark.parametrize("name", ["compile", "walk"])
def test_without_the_extra_one_line_names_it(monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([name, "market.csv", "--cluster", "dask://10.0.0.5:8786"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'deeptrade[cluster]'" in said


def test_workers_of_this_machine_and_a_cluster_are_not_both_accepted(capsys):
    assert main(["compile", "market.csv", "--cluster", "dask://10.0.0.5:8786", "--workers", "2"]) == 2
    assert "--workers 2 is for this machine alone" in capsys.readouterr().err


@pytest.fixture
def _small_blocks(monkeypatch):
    monkeypatch.setattr(csv_module, "BLOCK_BYTES", 4096)


@pytest.fixture
def market(tmp_path):
    return make_market(tmp_path / "market.csv", rows=ROWS)


def content_of(store):
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


def compiled_here(market, tmp_path):
    return content_of(compile_store(market.path, store=tmp_path / "here"))


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_threads_processes_and_dask_give_the_same_bytes(tmp_path, market, cluster):
    expected = compiled_here(market, tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        assert content_of(compile_store(market.path, store=tmp_path / "processes", executor=pool)) == expected
    with connected(cluster.address) as dask:
        assert (dask.workers, dask.at_once) == (2, 4)
        assert content_of(compile_store(market.path, store=tmp_path / "dask", executor=dask)) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_a_compressed_file_travels_with_its_tasks(tmp_path, market, cluster):
    import gzip

    packed = tmp_path / "market.csv.gz"
    packed.write_bytes(gzip.compress(market.path.read_bytes()))
    expected = content_of(compile_store(packed, store=tmp_path / "here"))
    with connected(cluster.address) as dask:
        assert content_of(compile_store(packed, store=tmp_path / "dask", executor=dask)) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path, market, cluster):
    expected, blocks = compiled_here(market, tmp_path), 0

    def kill_one(done, whole):
        nonlocal blocks
        blocks += 1
        if blocks == 3:
            kill(cluster.workers[0])

    with connected(cluster.address) as dask:
        store = compile_store(market.path, store=tmp_path / "dask", executor=dask, progress=kill_one)
    assert blocks > 10
    assert content_of(store) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_a_driver_killed_and_started_again_goes_on(tmp_path, market, cluster):
    def drive(seconds):
        script = [sys.executable, "-c", SLOWLY, cluster.address, str(seconds)]
        return subprocess.Popen(script, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    journal = partial_path(tmp_path / "market.dtstore") / JOURNAL
    first = drive(0.3)
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3, what="blocks")
    kill(first)
    second = drive(0)
    assert "resuming after row" in second.communicate(timeout=200)[0]
    assert second.returncode == 0
    assert content_of(tmp_path / "market.dtstore") == compiled_here(market, tmp_path)


@pytest.mark.slow
def test_a_relative_path_means_the_same_on_workers_elsewhere(tmp_path, market, cluster):
    done = run_deeptrade("compile", "market.csv", "--cluster", cluster.address, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert content_of(tmp_path / "market.dtstore") == compiled_here(market, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("there", ["stale", "longer", "missing"])
def test_a_worker_with_another_copy_is_refused_in_one_line(tmp_path, market, cluster, there):
    # This path is of another file in each process: of the one in its working folder.
    copy = tmp_path / "elsewhere" / "market.csv"
    text = market.path.read_bytes()
    if there != "missing":
        copy.write_bytes(text.replace(b"100.", b"101.", 1) if there == "stale" else text + b"\n")
        assert (copy.stat().st_size == len(text)) == (there == "stale")
    arguments = ["compile", "/proc/self/cwd/market.csv", "--store", "store", "--cluster", cluster.address]
    done = run_deeptrade(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert ("No such file" if there == "missing" else "is not the file that is here") in done.stderr
    assert not (tmp_path / "store").exists()
    shutil.copy(market.path, copy)
    assert run_deeptrade(*arguments, folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_worker_with_another_version_is_refused_in_one_line(tmp_path, market, cluster):
    other = tmp_path / "other" / "deeptrade"
    shutil.copytree(Path(deeptrade.__file__).parent, other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "units.py").write_text((other / "units.py").read_text() + "\n# changed\n")
    cluster.add_worker(environment={"PYTHONPATH": str(other.parent)})
    with pytest.raises(
        ClusterError, match=r"^a worker has deeptrade \S+ \(\w{8}\), here is .*; install the same on all"
    ):
        connected(cluster.address).__enter__()


@pytest.mark.slow
def test_a_worker_of_another_version_that_comes_later_is_refused(tmp_path, cluster):
    other = tmp_path / "other" / "deeptrade"
    shutil.copytree(Path(deeptrade.__file__).parent, other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "units.py").write_text((other / "units.py").read_text() + "\n# changed\n")
    with connected(cluster.address) as dask:
        cluster.add_worker(environment={"PYTHONPATH": str(other.parent)})
        for worker in cluster.workers[:2]:
            kill(worker)
        with pytest.raises(ClusterError, match="a worker has deeptrade"):
            dask.submit(np.zeros, 2).result()


@pytest.mark.slow
def test_an_address_without_a_scheduler_is_one_line(tmp_path, market, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra: pip install -e '.[cluster]', as `make test-all` does")
    done = run_deeptrade("compile", "market.csv", "--cluster", "dask://127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "dask://127.0.0.1:1 does not answer" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("lost", ["scheduler", "workers"])
def test_a_lost_scheduler_or_all_workers_lost_is_one_line(tmp_path, market, cluster, monkeypatch, lost):
    for name in ("_WORKERLESS_SECONDS", "_ANSWER_SECONDS"):
        monkeypatch.setattr(f"deeptrade.cluster.dask_cluster.{name}", 2.0)
    blocks = 0

    def lose(done, whole):
        nonlocal blocks
        blocks += 1
        if blocks == 3:
            for process in [cluster.scheduler] if lost == "scheduler" else cluster.workers:
                kill(process)

    line = "has lost its scheduler" if lost == "scheduler" else "has lost all its workers"
    with connected(cluster.address) as dask, pytest.raises(ClusterError, match=line):
        compile_store(market.path, store=tmp_path / "dask", executor=dask, progress=lose)


@pytest.mark.slow
def test_a_task_that_kills_its_workers_is_one_line(tmp_path, cluster):
    cluster.add_worker()
    cluster.add_worker()
    with connected(cluster.address) as dask, pytest.raises(ClusterError, match="4 workers died at the same task"):
        dask.submit(os._exit, 1).result()


@pytest.mark.slow
def test_errors_of_a_task_stay_what_they_are(cluster):
    with connected(cluster.address) as dask:
        with pytest.raises(ZeroDivisionError):
            dask.submit(divmod, 1, 0).result()
        with pytest.raises(DataError, match="reading nowhere: No such file"):
            dask.submit(LocalFile.at, Path("/nowhere")).result()
        with pytest.raises(SettingsError):
            connected("dask://nowhere").__enter__()


def judged(out):
    return {name: (out / name).read_bytes() for name in ("forecasts.parquet", "evaluation.json")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A walk of two folds without a cluster."""
    folder = tmp_path_factory.mktemp("alone")
    make_market(folder / "market.csv", rows=ROWS)
    done = run_deeptrade("walk", "market.csv", "--out", "walked", *WALK, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def walk_command(cluster):
    return command("walk", "market.csv", "--out", "walked", *WALK, "--cluster", cluster.address)


def checkpoints(folder, fold):
    return list((folder / "walked" / "folds" / fold / "checkpoints").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["none", "worker killed", "driver killed"])
def test_a_walk_on_two_workers_gives_the_bytes_of_one_alone(tmp_path, alone, market, cluster, harm):
    log = tmp_path / "walk.log"
    with open(log, "w") as file:
        walking = subprocess.Popen(walk_command(cluster), cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
        if harm != "none":
            wait_until(lambda: checkpoints(tmp_path, "01") and checkpoints(tmp_path, "02"), what="both folds")
            assert all(trainings_of(worker) for worker in cluster.workers), "both folds are under way at once"
            kill(cluster.workers[0] if harm == "worker killed" else walking)
        if harm == "driver killed":
            wait_until(lambda: not any(map(trainings_of, cluster.workers)), what="trainings to stop", seconds=30)
            walking = subprocess.Popen(walk_command(cluster), cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
        assert walking.wait(240) == 0, log.read_text()
    assert judged(tmp_path / "walked") == judged(alone / "walked")
    starts = [path.read_text().count("\n") for path in (tmp_path / "walked" / "folds").glob("*/starts.csv")]
    assert max(starts) - 1 == (1 if harm == "none" else 2), "continued, not begun anew"


@pytest.mark.slow
def test_a_walk_that_is_stopped_stops_its_trainings(tmp_path, market, cluster):
    walking = subprocess.Popen(walk_command(cluster), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: any(map(trainings_of, cluster.workers)), what="a training")
    walking.terminate()
    assert "stopped; run the same command again" in walking.communicate(timeout=60)[0]
    assert walking.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(trainings_of, cluster.workers)), what="trainings to stop", seconds=60)
    time.sleep(1)
    assert not any(map(trainings_of, cluster.workers))
