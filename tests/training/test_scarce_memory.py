"""Another process in its cgroup takes memory from a training run and gives it back."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest

import deeptrade.model  # noqa: F401 (a saved model needs its classes)
from deeptrade.making.synthetic import synthesize
from deeptrade.memory import read_notes, read_timeline
from deeptrade.run_folder import read_column
from deeptrade.training.scarce_memory import LOW
from tests.support.cgroups import command_in, memory_group

FIT = "import sys; from deeptrade.cli import main; sys.exit(main(sys.argv[1:]))"
BALLOON = """
import sys
held = bytearray()
for line in sys.stdin:
    held = None
    held = bytearray(b"x") * int(line)
    print("done", flush=True)
"""
STEPS, SETTLED = 160, 40
"""Steps of a training, and those after which its memory has come to its height: a tenth of the limit is left then."""

LEARNING_RATE = 1e-4
"""Small enough that training does not amplify rounding: at 1e-3 losses come to differ by up to 7e-5 in 160 steps,
depending on the initial weights, and here by 2e-7."""


class Balloon:
    def __init__(self, group):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command_in(group, BALLOON), text=True, **pipes)

    def hold(self, nbytes):
        print(nbytes, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def close(self):
        self._process.communicate()


@contextmanager
def training(group, market, out, *options):
    """A training run in a cgroup, next to a balloon process that holds nothing yet."""
    given = [
        "fit",
        "--csv",
        market,
        "--out",
        out,
        "--model_size=tiny",
        "--batch_size=32",
        f"--learning_rate={LEARNING_RATE}",
        "--epochs=100",
        "--checkpoint_every=2",
    ]
    balloon = Balloon(group)
    balloon.hold(0)
    command = command_in(group, FIT, *given, f"--max_steps={STEPS}", "--skip_rl", *options)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield child, balloon
        lines = child.communicate(timeout=300)[0]
        assert child.returncode == 0, lines
    finally:
        child.kill()
        child.communicate()
        balloon.close()


def wait_for(condition, child):
    deadline = time.monotonic() + 200
    while not condition():
        assert child.poll() is None, child.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps_in(out):
    history = out / "history.csv"
    return history.read_bytes().count(b"\n") - 1 if history.exists() else 0


def changes_in(out):
    return read_notes(out / "memory.jsonl", "micro_batch")


def held_between_changes(out):
    """Anonymous bytes of the training samples, split at changes of the rows per pass."""
    parts = [[]]
    for line in map(json.loads, (out / "memory.jsonl").read_text().splitlines()):
        if line.get("kind") == "micro_batch":
            parts.append([])
        elif line.get("phase", "").startswith("train"):
            parts[-1].append(line["anon_bytes"])
    return parts


def least_available(out, *, seconds=1e9):
    """The least memory left in the latest seconds, among training samples."""
    samples = [sample for sample in read_timeline(out / "memory.jsonl") if sample.phase.startswith("train")]
    return min(one.available_bytes for one in samples if one.seconds > samples[-1].seconds - seconds)


def seconds_until_fewer(out, since, low_bytes):
    """Seconds from the first later sample with less memory left than this to the last one before passes changed."""
    first = latest = None
    for line in map(json.loads, (out / "memory.jsonl").read_text().splitlines()):
        if line.get("kind") == "micro_batch":
            return 0.0 if first is None else latest - first
        if line.get("phase", "").startswith("train") and line["seconds"] > since:
            latest = line["seconds"]
            first = latest if first is None and line["available_bytes"] < low_bytes else first
    raise AssertionError("passes never changed")


def weights_of(out):
    model = keras.models.load_model(out / "model.keras")
    return np.concatenate([weight.numpy().ravel() for weight in model.trainable_variables])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory cgroups are Linux's")
def test_losing_and_regaining_half_of_the_free_memory_costs_no_step_and_changes_no_result(tmp_path):
    market, plain, out = tmp_path / "market.csv", tmp_path / "plain", tmp_path / "run"
    synthesize(market, rows=300)
    roomy = 4 << 30
    with memory_group(roomy) as group, training(group, market, plain, "--no_adapt"):
        pass
    limit = int((roomy - least_available(plain)) / 0.9)
    with memory_group(limit) as group, training(group, market, out) as (child, balloon):
        wait_for(lambda: steps_in(out) >= SETTLED, child)
        assert not changes_in(out)
        taken_at = read_timeline(out / "memory.jsonl")[-1].seconds
        balloon.hold(least_available(out, seconds=2) // 2)
        wait_for(lambda: changes_in(out), child)
        balloon.hold(0)
        wait_for(lambda: len(changes_in(out)) == 2, child)
    fell, grew = changes_in(out)
    step_seconds = np.median(read_column(out / "timing.csv", "step_seconds"))
    assert seconds_until_fewer(out, taken_at, LOW * limit) <= 5 * step_seconds
    assert fell["rows"] < fell["before"] == 32
    assert (grew["before"], grew["rows"]) == (fell["rows"], 32)
    large, small, _ = held_between_changes(out)
    assert np.median(small) < np.median(large[-20:]) - 20_000_000
    result = json.loads((out / "result.json").read_text())
    assert result["micro_batch_changes"] == 2
    assert result["effective_batch"] == 32
    for column in ("step", "samples", "valid_targets", "applied"):
        np.testing.assert_array_equal(*(read_column(path / "history.csv", column) for path in (plain, out)))
    assert np.linalg.norm(weights_of(out) - weights_of(plain)) <= 2e-7 * np.linalg.norm(weights_of(plain))
    np.testing.assert_allclose(*(read_column(path / "history.csv", "loss") for path in (out, plain)), rtol=1e-6)
