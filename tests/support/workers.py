"""What tests of several training processes share."""

import json
import os
import subprocess
import sys
import time

import psutil

from tests.support.training_runs import comparable

END_SECONDS = 30
"""In which all workers must have ended after one is lost, on an idle machine."""

_PATIENCE = 5
"""Factor on it for a busy one: a test that hangs fails all the same."""


def options_of(settings):
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in settings.items()]


def start(market, out, settings, *further, harmed=None, task=None, slow_look=""):
    """Start `deeptrade fit`, with what HARMED and SLOW_LOOK do, and as the worker that a TF_CONFIG names."""
    environment = os.environ | {"HARMED": json.dumps(harmed or {}), "SLOW_LOOK": str(slow_look)}
    if task is not None:
        environment["TF_CONFIG"] = json.dumps(task)
    program = [sys.executable, "-m", "tests.support.harmed_fit", "fit"]
    return subprocess.Popen(
        [*program, f"--csv={market.path}", f"--out={out}", *options_of(settings), *further],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process, *, code=0, seconds=600):
    """Wait for a process to end with a code, and return what it wrote."""
    try:
        lines = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        raise AssertionError(f"still running after {seconds} s: {process.communicate()[0]}") from None
    assert process.returncode == code, lines
    return lines


def end_soon(process, *, code):
    """Wait for what must end because a worker was lost; return what it wrote and the seconds it took."""
    began = time.monotonic()
    lines = end(process, code=code, seconds=_PATIENCE * END_SECONDS)
    return lines, time.monotonic() - began


def run(market, out, settings, *further, **options):
    """Run to the end, and return what two equal runs share."""
    end(start(market, out, settings, *further, **options))
    return comparable(out)


def wait_for_steps(process, out, steps, *, seconds=300):
    """Wait until the history has this many steps, and return it."""
    deadline, history = time.monotonic() + seconds, out / "history.csv"
    while time.monotonic() < deadline and process.poll() is None:
        there = history.read_bytes().count(b"\n") - 1 if history.exists() else 0
        if there >= steps:
            return there
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"never came to step {steps}: {process.communicate()[0]}")


def worker_of(process, number):
    """The process of a worker that a supervisor has started."""
    for child in psutil.Process(process.pid).children():
        task = json.loads(child.environ().get("TF_CONFIG", "{}")).get("task", {})
        if task.get("index") == number:
            return child
    raise AssertionError(f"there is no worker {number}")
