"""Training runs that are killed or stopped at any time: run again, they end like an undisturbed one."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.markets import make_market
from tests.support.training_runs import QUICK, column, comparable

pytestmark = pytest.mark.usefixtures("every_encoder")


def start_child(market, out, *options):
    """Start the command line on 40 epochs, a few seconds of training."""
    given = [f"--{name}" if value is True else f"--{name}={value}" for name, value in QUICK.items()]
    command = [sys.executable, "-m", "deeptrade", "fit", "--csv", market.path, "--out", out, "--epochs=40", *given]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_steps(child, out, steps):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and child.poll() is None:
        history = out / "history.csv"
        if history.exists() and history.read_bytes().count(b"\n") > steps:
            return
        time.sleep(0.005)
    raise AssertionError(f"the child never came to step {steps}: {child.communicate()[0]}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, every_encoder):
    """A market, and the files of forty undisturbed epochs on it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    market = make_market(folder / "market.csv")
    return market, run_to_end(market, folder / "run")


def test_a_run_stopped_by_sigterm_and_then_killed_ends_like_one_that_was_not(undisturbed, tmp_path):
    market, expected = undisturbed
    out = tmp_path / "run"
    stop_at(market, out, 30, signal.SIGTERM, exit_code=143)
    steps = len(column(out, "step"))
    lines = stop_at(market, out, 250, signal.SIGKILL, exit_code=-9)
    assert f"continuing after step {steps}," in lines  # SIGTERM loses no step
    killed_at = len(column(out, "step"))
    assert run_to_end(market, out) == expected
    assert not list(out.rglob(".*.tmp"))
    first, second, third = json.loads((out / "result.json").read_text())["starts"]
    assert (first["before"], second["before"], third["before"]) == ("", "interrupted", "killed")
    assert (second["step"], second["repeated_steps"]) == (steps, 0)
    assert third["step"] + third["repeated_steps"] == killed_at
    assert third["repeated_steps"] <= QUICK["checkpoint_every"]


def stop_at(market, out, steps, signal_number, *, exit_code):
    """Start a child, send the signal once it has taken `steps` steps, and return the lines it wrote."""
    child = start_child(market, out)
    wait_for_steps(child, out, steps)
    child.send_signal(signal_number)
    lines = child.communicate(timeout=60)[0]
    assert child.returncode == exit_code, lines
    assert json.loads((out / "result.json").read_text())["status"] == "interrupted"
    return lines


def run_to_end(market, out, *options):
    child = start_child(market, out, *options)
    lines = child.communicate(timeout=600)[0]
    assert child.returncode == 0, lines
    return comparable(out)


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_saves_what_was_done(undisturbed, tmp_path, signal_number):
    market, expected = undisturbed
    out = tmp_path / "run"
    for steps in (1, 90, 300):
        stop_at(market, out, steps, signal_number, exit_code=128 + signal_number)
    assert run_to_end(market, out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("signals", [2, 3])
def test_a_run_that_was_stopped_by_several_signals_at_once_ends_like_one_that_was_not(undisturbed, tmp_path, signals):
    market, expected = undisturbed
    child = start_child(market, tmp_path / "run")
    wait_for_steps(child, tmp_path / "run", 30)
    for _ in range(signals):
        child.send_signal(signal.SIGTERM)
        time.sleep(0.0005)
    assert (child.wait(timeout=60), child.communicate()[0])[0] == 143
    assert run_to_end(market, tmp_path / "run") == expected


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 6, 90])
def test_a_killed_run_ends_like_one_that_was_not(undisturbed, tmp_path, steps):
    market, expected = undisturbed
    stop_at(market, tmp_path / "run", steps, signal.SIGKILL, exit_code=-9)
    assert run_to_end(market, tmp_path / "run") == expected


def steps_in(out):
    history = out / "history.csv"
    return history.read_bytes().count(b"\n") - 1 if history.exists() else 0


def is_saving(out):
    return any(path.name.endswith(".tmp") for path in (out / "checkpoints").glob(".s*"))


def is_validating(out):
    timeline = out / "memory.jsonl"
    return timeline.exists() and b'"train/validate"' in timeline.read_bytes()[-200:]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_fifty_kills_while_stepping_saving_and_validating_change_nothing(tmp_path):
    """Killed at a random step, in the next save, or in the next validation; each time the same command continues."""
    market = make_market(tmp_path / "market.csv")
    epochs = "--epochs=150"
    expected = run_to_end(market, tmp_path / "plain", epochs)
    generator, out, caught, there = np.random.default_rng(0), tmp_path / "run", {"saving": 0, "validating": 0}, 0
    for number in range(50):
        wait = [lambda out: True, is_saving, is_validating][number % 3]
        target = there + int(generator.integers(1, 25))
        child = start_child(market, out, epochs)
        deadline = time.monotonic() + 300
        while not (steps_in(out) >= target and wait(out)):
            assert child.poll() is None, child.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        time.sleep(generator.uniform(0, 0.003))
        child.kill()
        lines = child.communicate()[0]
        assert child.returncode == -9
        if there:
            begun = int(re.search(r"continuing after step (\d+)", lines)[1])
            assert there - QUICK["checkpoint_every"] <= begun <= there
        caught["saving"] += is_saving(out)
        caught["validating"] += is_validating(out)
        there = steps_in(out)
    assert min(caught.values()) >= 3, caught
    assert run_to_end(market, out, epochs) == expected
