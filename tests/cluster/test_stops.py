"""`fit --workers` is stopped at any moment, by a signal to any of its processes: all end soon, and nothing is lost.

Stops between two steps are in `test_training`.
"""

import os
import signal
from contextlib import suppress

import psutil
import pytest

from tests.support.dask import wait_until
from tests.support.markets import make_market
from tests.support.training_runs import QUICK
from tests.support.workers import END_SECONDS, end, end_soon, run, start, wait_for_steps, worker_of

SETTINGS = QUICK | {"epochs": 2, "accum_steps": 2}
SAVED = "progress is saved"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return make_market(tmp_path_factory.mktemp("workers") / "market.csv", rows=100)


@pytest.fixture(scope="module")
def alone(market, tmp_path_factory):
    return run(market, tmp_path_factory.mktemp("alone") / "run", SETTINGS)


def both_started(process):
    with suppress(AssertionError, psutil.Error):
        return [worker_of(process, number) for number in range(2)]


def family_of(process):
    return [process, *psutil.Process(process.pid).children(recursive=True)]


def alive(processes):
    return [one for one in processes if one.pid and psutil.pid_exists(one.pid) and is_running(one.pid)]


def is_running(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def stop(process, asked, number):
    """Send a signal to one process and return what was said: all end within half a minute, with its code."""
    family = family_of(process)
    asked.send_signal(number)
    lines, seconds = end_soon(process, code=128 + number)
    print(f"{signal.Signals(number).name}: all had ended after {seconds:.1f} s")
    assert seconds < END_SECONDS
    assert not alive(family)
    assert "Traceback" not in lines
    assert lines.count(SAVED) <= 1
    return lines


def stop_and_go_on(process, asked, number, market, out, expected):
    """Send a signal to one process, as `stop`; the same command goes on to the same result."""
    lines = stop(process, asked, number)
    assert run(market, out, SETTINGS, "--workers=2") == expected
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["supervisor", "worker 0", "worker 1"])
def test_a_stop_while_the_workers_start_ends_all(market, alone, tmp_path, whom, number):
    out = tmp_path / "run"
    process = start(market, out, SETTINGS, "--workers=2")
    wait_until(lambda: both_started(process), what="both workers")
    asked = process if whom == "supervisor" else worker_of(process, int(whom[-1]))
    if whom != "supervisor":  # once Python minds signals at all
        wait_until((out / "workers" / "1").exists, what="the workers' folders")
    stop_and_go_on(process, asked, number, market, out, alone)


@pytest.mark.parametrize(
    ("whom", "number"),
    [
        ("supervisor", signal.SIGTERM),
        ("supervisor", signal.SIGINT),
        ("worker 0", signal.SIGTERM),
        ("worker 1", signal.SIGINT),
    ],
)
def test_a_stop_while_worker_0_looks_at_the_inner_rows_ends_all(market, alone, tmp_path, whom, number):
    out, look = tmp_path / "run", tmp_path / "look"
    process = start(market, out, SETTINGS, "--workers=2", slow_look=look)
    wait_until(look.exists, what="a look", seconds=240)
    asked = process if whom == "supervisor" else worker_of(process, int(whom[-1]))
    lines = stop_and_go_on(process, asked, number, market, out, alone)
    assert lines.count(SAVED) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_whole_command_reaches_the_workers_that_train_for_an_agent(market, alone, tmp_path, number):
    """The command, a supervisor below it, and two workers below that."""
    out = tmp_path / "run"
    settings = {name: value for name, value in SETTINGS.items() if name != "skip_rl"}
    process = start(market, out, settings, "--workers=2")
    wait_for_steps(process, out, 3)
    lines = stop_and_go_on(process, process, number, market, out, alone)
    assert lines.count(SAVED) == 1


def test_an_impatient_second_signal_ends_all_too(market, alone, tmp_path):
    out, look = tmp_path / "run", tmp_path / "look"
    process = start(market, out, SETTINGS, "--workers=2", slow_look=look)
    wait_until(look.exists, what="a look", seconds=240)
    os.kill(process.pid, signal.SIGINT)
    lines = stop_and_go_on(process, process, signal.SIGINT, market, out, alone)
    assert lines.count(SAVED) <= 1


def test_a_stopped_run_says_so_and_nothing_else_does(market, tmp_path):
    out = tmp_path / "run"
    process = start(market, out, SETTINGS | {"epochs": 40}, "--workers=2")
    wait_for_steps(process, out, 3)
    process.send_signal(signal.SIGTERM)
    lines = end(process, code=143, seconds=150)
    assert f"{SAVED}, run again to continue" in lines.splitlines()[-1]
