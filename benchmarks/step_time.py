"""One optimizer step of the forecaster, with each encoder: ours against the same model in plain Keras and in PyTorch.

    python benchmarks/step_time.py [--model_sizes small] [--batch_sizes 4 32 256] [--repeats 30] [--before DIR]

The plain model has the same weights and architecture, with keras.layers.LSTM for the recurrences, a mean loss over the
valid targets, tf.clip_by_global_norm and keras.optimizers.Adam, traced once. PyTorch, where it is installed, has the
multiscale model with the same weights (torch_peer.py), eager and compiled. All use as many threads as `fit`. They
take turns, so that a busy moment meets all. `--before DIR` also times the recurrent step of an earlier checkout, in a
process of its own. Prints medians of milliseconds, how far apart the weights of ours and each peer are after one step,
rows per second, and the arithmetic rate against this machine's own float32 matrix product, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from deeptrade.model import build_forecaster
from deeptrade.model.encoders import recurrent
from deeptrade.model.encoders.multiscale import decaying_weights
from deeptrade.planning.sizes import (
    COMPILED,
    KERNEL_STEPS,
    SCALES,
    SEGMENT_STEPS,
    SIZES,
    count_parameters,
    count_patches,
)
from deeptrade.settings import ENCODERS, MODEL_SIZES
from deeptrade.sources.scan import worker_count
from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import FeatureStatistics
from deeptrade.training.adam import Adam
from deeptrade.training.runtime import set_up_tensorflow
from deeptrade.training.step import HUBER_DELTA, AccumulatingStep

HORIZONS = 10
SHAPES = {"arr_5m": (241, 9), "arr_15m": (241, 9), "arr_1h": (241, 9), "arr_google_trend": (24, 1)}
VECTORS = {"arr_santiment": (12,), "arr_ta_63": (63,), "arr_ctx_11": (11,)}
SCHEMA = Schema(tuple(Feature(name, shape) for name, shape in (SHAPES | VECTORS).items()), HORIZONS)
SCALE = np.ones(HORIZONS, np.float32)
TURN, PAUSE_SECONDS = 10, 0.3


def make_model(model_size: str, encoder: str, *, precision: str = "float32", schema: Schema = SCHEMA) -> keras.Model:
    statistics = {}
    for feature in schema.features:
        zeros, ones = np.zeros(feature.channels, np.float32), np.ones(feature.channels, np.float32)
        relative = ones if feature.is_sequence else None
        statistics[feature.name] = FeatureStatistics(zeros, ones, zeros, ones, ones, relative)
    model = build_forecaster(
        schema, model_size=model_size, encoder=encoder, statistics=statistics, target_scale=SCALE, precision=precision
    )
    head = next(v for v in model.trainable_variables if v.path == "head/kernel")
    head.assign(np.random.default_rng(0).normal(0, 0.3, head.shape))  # a head of zeros lets no gradient through
    return model


def last_state_of_keras(x: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The recurrence as `keras.layers.LSTM` computes it: a loop over steps, for weights in the order of our kernel."""
    units = bias.shape[0] // 4
    channels = weights.shape[0] - units

    def cell(x_now, states):
        gates = tf.matmul(x_now, weights[:channels]) + tf.matmul(states[0], weights[channels:]) + bias
        of_input, of_cell, of_forget, of_output = tf.split(gates, 4, axis=1)
        carry = tf.sigmoid(of_forget) * states[1] + tf.sigmoid(of_input) * tf.tanh(of_cell)
        state = tf.sigmoid(of_output) * tf.tanh(carry)
        return state, [state, carry]

    start = tf.zeros((tf.shape(x)[1], units))
    return keras.src.backend.rnn(cell, tf.transpose(x, (1, 0, 2)), [start, start])[0]


def plain_step(model: keras.Model, optimizer: keras.optimizers.Optimizer):
    huber = keras.losses.Huber(delta=HUBER_DELTA, reduction=None)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            forecasts = model(x, training=True)
            valid = tf.math.is_finite(y)
            losses = huber(tf.boolean_mask(y, valid)[:, None], tf.boolean_mask(forecasts, valid)[:, None])
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


def multiply_adds(model_size: str, encoder: str) -> int:
    """Return multiply-adds of one row's forward pass: what encodes, and dense layers."""
    units, blocks = SIZES[model_size]
    total, token, tokens = 0, 2 * units, len(SCHEMA.features)
    for feature in SCHEMA.features:
        if not feature.is_sequence:
            total += token * (feature.size + token)
        elif encoder == "multiscale":
            patches = count_patches(feature.shape[0])
            patch = SEGMENT_STEPS * 2 * feature.channels * 2 * units
            total += patches * (patch + (blocks - 1) * units**2 + SCALES * units) + token * (SCALES * units + token)
        else:
            convolutions = KERNEL_STEPS * units * (2 * feature.channels + (blocks - 1) * units)
            total += feature.shape[0] * (convolutions + 2 * 4 * units * 2 * units)
    return total + tokens * (4 * token * token + 2 * tokens * token) + token * (token + HORIZONS * units // 2)


def sgemm_gflops() -> float:
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    times = [timed(lambda: tf.linalg.matmul(a, a).numpy()) for _ in range(7)]
    return 2 * 2048**3 / min(times) / 1e9


def timed(run) -> float:
    """Return the seconds of a run: those it reports itself, if it ran in another process."""
    began = time.perf_counter()
    found = run()
    return found if isinstance(found, float) else time.perf_counter() - began


def take_turns(runs: dict, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of `repeats` steps of each kind, ten at a time in turn.

    Threads that wait for work keep a processor busy for a while, so each turn begins with a pause and five steps that
    do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    while min(map(len, times.values())) < repeats:
        for name, run in runs.items():
            time.sleep(PAUSE_SECONDS)
            times[name] += [timed(run) for _ in range(5 + TURN)][5:]
    return times


def flat(weights) -> np.ndarray:
    return np.concatenate([np.asarray(one).ravel() for one in weights])


def apart(ours: np.ndarray, other: np.ndarray) -> float:
    """Return the relative L2 distance of all weights."""
    return float(np.linalg.norm(ours - other) / np.linalg.norm(other))


def batch(rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(0)
    x = {f.name: generator.normal(size=(rows, *f.shape)).astype(np.float32) for f in SCHEMA.features}
    y = generator.normal(0, 2, (rows, HORIZONS)).astype(np.float32)
    y[generator.random(y.shape) < 0.2] = np.nan
    return x, y


def make_runs(model_size: str, encoder: str, rows: int, *, peers: bool) -> tuple[dict, dict]:
    """Return functions that take one step, by name, and those that return the weights then, in the order of ours."""
    x, y = batch(rows)
    ours = make_model(model_size, encoder)
    step = AccumulatingStep(
        ours, Adam(1e-3), batch_size=rows, target_scale=SCALE, averaging=True, fused=True, jit=encoder in COMPILED
    )
    runs, weights = {"ours": lambda: step(x, y, last=True)}, {"ours": lambda: flat(ours.trainable_variables)}
    if not peers:
        return runs, weights
    start = {variable.path: variable.numpy() for variable in ours.variables}
    plain = make_model(model_size, encoder)
    other = plain_step(plain, keras.optimizers.Adam(1e-3))

    def run_plain():
        with mock.patch.object(recurrent, "last_state", last_state_of_keras):  # it is traced at the first call
            other(x, y).numpy()

    runs["plain Keras"], weights["plain Keras"] = run_plain, lambda: flat(plain.trainable_variables)
    if encoder == "multiscale" and find_spec("torch"):
        for kind in ("eager", "compiled"):
            peer = TorchPeer(start, x, y, model_size, kind)
            name = f"PyTorch {kind}"
            runs[name] = peer.step
            weights[name] = lambda peer=peer: flat(peer.weights()[v.path] for v in ours.trainable_variables)
    return runs, weights


def save_for_torch(path: str | Path, start: dict, x: dict, y: np.ndarray) -> None:
    """Write what torch_peer.py starts from: weights by path, the constants of the averages, and a batch."""
    lengths = {count_patches(f.shape[0]) for f in SCHEMA.features if f.is_sequence}
    averages = {f"averages of {length}": decaying_weights(length) for length in lengths}
    inputs = {f"input {name}": values for name, values in x.items()}
    np.savez(path, targets=y, **start, **inputs, **averages)


def save_start(path: str, model_size: str) -> None:
    """Write the initial weights of the multiscale forecaster for torch_peer.py."""
    model = make_model(model_size, "multiscale")
    save_for_torch(path, {variable.path: variable.numpy() for variable in model.variables}, *batch(2))


class TorchPeer:
    """A process with the model in PyTorch; `step` takes one step there and returns the seconds it took."""

    def __init__(self, start: dict, x: dict, y: np.ndarray, model_size: str, kind: str):
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "start.npz"
        save_for_torch(self._path, start, x, y)
        command = [sys.executable, str(Path(__file__).with_name("torch_peer.py")), str(self._path), model_size, kind]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([*command, str(worker_count())], stderr=subprocess.DEVNULL, **pipes)
        self._kind = kind

    def _ask(self, what: str) -> float:
        print(what, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def step(self) -> float:
        return self._ask("step")

    def weights(self) -> dict[str, np.ndarray]:
        self._ask("weights")
        with np.load(f"{self._path}.{self._kind}.npz") as archive:
            return dict(archive)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


BEFORE = """
import inspect, sys, time
import numpy as np, keras
from deeptrade.model import build_forecaster
from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import FeatureStatistics
from deeptrade.training.runtime import set_up_tensorflow
from deeptrade.training.step import AccumulatingStep
set_up_tensorflow(allow_growth=True, give_back=False, sink=lambda line: None)
model_size, rows, repeats, shapes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])
schema = Schema(tuple(Feature(name, shape) for name, shape in shapes.items()), 10)
statistics = {}
for f in schema.features:
    zeros, ones = np.zeros(f.channels, np.float32), np.ones(f.channels, np.float32)
    statistics[f.name] = FeatureStatistics(zeros, ones, zeros, ones, ones, ones if f.is_sequence else None)
model = build_forecaster(schema, model_size=model_size, statistics=statistics, target_scale=np.ones(10, np.float32))
known = inspect.signature(AccumulatingStep).parameters
step = AccumulatingStep(model, keras.optimizers.Adam(1e-3), batch_size=rows, target_scale=np.ones(10, np.float32),
                        averaging=True, **({"fused": True} if "fused" in known else {}))
generator = np.random.default_rng(0)
x = {f.name: generator.normal(size=(rows, *f.shape)).astype(np.float32) for f in schema.features}
y = generator.normal(0, 2, (rows, 10)).astype(np.float32)
times = []
for _ in range(repeats + 2):
    began = time.perf_counter()
    step(x, y, last=True)
    times.append(time.perf_counter() - began)
print(1e3 * np.median(times[2:]))
"""


def before_ms(checkout: str, model_size: str, rows: int, repeats: int) -> float:
    """Return the median milliseconds of a step of the forecaster in an earlier checkout."""
    command = [sys.executable, "-c", BEFORE, model_size, str(rows), str(repeats), repr(SHAPES | VECTORS)]
    environment = os.environ | {"PYTHONPATH": checkout}
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_sizes", default=["small"], nargs="+", choices=MODEL_SIZES)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 32, 256])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--before", default="")
    parser.add_argument("--no_peers", action="store_true")
    options = parser.parse_args()
    set_up_tensorflow(allow_growth=True, give_back=False, compiles=True, sink=print)
    peak = sgemm_gflops()
    print(f"sgemm {peak:.0f} GFLOP/s, {worker_count()} threads")
    print(f"{'size':<9} {'encoder':<11} {'batch':>5}  {'step of':<17} {'ms':>7} {'rows/s':>7} {'apart':>8}  of sgemm")
    found = []
    for model_size in options.model_sizes:
        for rows in options.batch_sizes:
            for encoder in ENCODERS:
                runs, weights = make_runs(model_size, encoder, rows, peers=not options.no_peers)
                for run in runs.values():
                    run()
                distances = {name: apart(weights["ours"](), read()) for name, read in weights.items()}
                times = take_turns(runs, options.repeats)
                for name in runs:
                    milliseconds = 1e3 * statistics.median(times[name])
                    share = 6 * rows * multiply_adds(model_size, encoder) / milliseconds / 1e6 / peak
                    found.append(
                        {
                            "model_size": model_size,
                            "encoder": encoder,
                            "batch_size": rows,
                            "step": name,
                            "ms": milliseconds,
                            "apart": distances[name],
                            "share": share,
                        }
                    )
                    report(found[-1])
                for run in runs.values():
                    if isinstance(getattr(run, "__self__", None), TorchPeer):
                        run.__self__.close()
            if options.before:
                milliseconds = before_ms(options.before, model_size, rows, options.repeats)
                one = {"model_size": model_size, "encoder": "recurrent", "batch_size": rows, "step": "before"}
                found.append(one | {"ms": milliseconds})
                report(found[-1])
    parameters = {
        f"{size} {encoder}": count_parameters(SCHEMA, size, encoder)
        for size in options.model_sizes
        for encoder in ENCODERS
    }
    print(f"parameters: {parameters}")
    print(json.dumps({"sgemm_gflops": peak, "parameters": parameters, "results": found}))


def report(one: dict) -> None:
    """Print the line of one kind of step."""
    rate = 1e3 * one["batch_size"] / one["ms"]
    more = f"{one['apart']:8.1e}  {one['share']:7.1%}" if "apart" in one else ""
    print(
        f"{one['model_size']:<9} {one['encoder']:<11} {one['batch_size']:5}  {one['step']:<17} {one['ms']:7.2f} "
        f"{rate:7.0f} {more}",
        flush=True,
    )


if __name__ == "__main__":
    main()
