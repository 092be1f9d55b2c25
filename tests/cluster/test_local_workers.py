"""The supervisor of workers on one machine, with small programs in place of trainings."""

import os
import signal
import sys
import threading
import time

import psutil
import pytest

from deeptrade.cluster import local_workers
from deeptrade.cluster.local_workers import LocalWorkers, free_ports
from deeptrade.errors import DeepTradeError, Interrupted, LostWorkerError, SettingsError

SCRIPT = """
import json, os, signal, sys, time
task = json.loads(os.environ["TF_CONFIG"])
number, attempt = task["task"]["index"], int(sys.argv[1])
workers = task["cluster"]["worker"]
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(local_workers, "END_SECONDS", 0.5)
    monkeypatch.setattr(local_workers, "_gpus", lambda: 0)


def supervise(body, *, count=2, **options):
    """Run a program in `count` workers; what it writes to standard error counts."""
    LocalWorkers(lambda attempt: [sys.executable, "-c", SCRIPT + body, str(attempt)], count=count, **options).run()


def left_over():
    return [child for child in psutil.Process().children() if SCRIPT in " ".join(child.cmdline())]


def test_every_worker_learns_its_number_and_the_same_addresses(tmp_path):
    supervise(f"open(f'{tmp_path}/{{number}}', 'w').write(' '.join(workers))", count=3)
    said = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert sorted(said) == ["0", "1", "2"]
    assert said["0"] == said["1"] == said["2"]
    assert len(set(said["0"])) == 3


def test_a_worker_that_refuses_ends_all_at_once_with_its_own_line():
    began = time.monotonic()
    with pytest.raises(DeepTradeError, match=r"^worker 1: seed=x is not accepted$") as caught:
        supervise(
            "time.sleep(0 if number else 600)\n"
            "print('noise\\ndeeptrade fit: seed=x is not accepted', file=sys.stderr)\nsys.exit(2)"
        )
    assert caught.value.exit_code == 2
    assert time.monotonic() - began < 60
    assert not left_over()


def test_a_fault_of_ours_is_told_whole():
    with pytest.raises(RuntimeError, match=r"worker 0 ended with code 1:\n(.|\n)*ZeroDivisionError"):
        supervise("number or 1 / 0")


def test_after_a_loss_all_workers_start_again(tmp_path):
    lines = []
    supervise(
        f"open(f'{tmp_path}/{{attempt}}{{number}}', 'w')\n"
        "if attempt < 2 and number == attempt: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if attempt < 2: time.sleep(600)",
        restarts=2,
        sink=lines.append,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00", "01", "10", "11", "20", "21"]
    assert lines == [
        "worker 0 was killed by signal 9; all workers start again from the last checkpoint (1 of 2 restarts)",
        "worker 1 was killed by signal 9; all workers start again from the last checkpoint (2 of 2 restarts)",
    ]
    assert not left_over()


def test_after_too_many_losses_the_line_says_what_to_do():
    with pytest.raises(LostWorkerError, match=r"worker 1 was killed by signal 9, also after 1 restart; .*--restarts 2"):
        supervise("if number: os.kill(os.getpid(), signal.SIGKILL)\nsys.exit(138)", restarts=1)


def test_a_worker_that_does_not_answer_is_named_and_killed():
    with pytest.raises(LostWorkerError, match="worker 1 does not answer; progress is saved"):
        supervise("if number: os.kill(os.getpid(), signal.SIGSTOP)\nsys.exit(138)")
    assert not left_over()


def test_a_worker_that_was_asked_to_stop_stops_all():
    with pytest.raises(Interrupted) as caught:
        supervise("sys.exit(143 if number else 138)", restarts=3)
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_to_all_workers(tmp_path, number):
    def send_when_ready():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send_when_ready)
    sender.start()
    with pytest.raises(Interrupted) as caught:
        supervise(
            f"def end(got, frame): open(f'{tmp_path}/got{{number}}', 'w'); os._exit(128 + got)\n"
            "for one in (2, 15): signal.signal(one, end)\n"
            f"open(f'{tmp_path}/{{number}}', 'w')\ntime.sleep(600)"
        )
    sender.join()
    assert caught.value.exit_code == 128 + number
    assert {"got0", "got1"} <= {path.name for path in tmp_path.iterdir()}
    assert signal.getsignal(number) == before


def test_each_worker_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(local_workers, "_gpus", lambda: 2)
    supervise(f"open(f'{tmp_path}/{{number}}', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])")
    assert [(tmp_path / name).read_text() for name in ("0", "1")] == ["0", "1"]
    with pytest.raises(SettingsError, match="workers=3 is not accepted: each needs a GPU of its own, there are 2"):
        LocalWorkers(lambda attempt: [], count=3)


def test_free_ports_are_different_ones():
    assert len(set(free_ports(20))) == 20
