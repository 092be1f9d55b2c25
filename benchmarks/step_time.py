"""One optimizer step of the forecaster: ours against the same model in plain Keras, in one tf.function.

    python benchmarks/step_time.py [--model_size small] [--batch_sizes 4 32] [--repeats 15]

The plain model is the same architecture with keras.layers.LSTM for the recurrences, the same weights, a mean loss
over the valid targets, tf.clip_by_global_norm and keras.optimizers.Adam, traced once. Steps of both alternate. Prints
medians of milliseconds, the ratio, how far apart weights are after one step, and the arithmetic rate against this
machine's own float32 matrix product, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from deeptrade.model import build_forecaster, forecaster
from deeptrade.planning.sizes import KERNEL_STEPS, SIZES, count_parameters
from deeptrade.settings import MODEL_SIZES
from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import FeatureStatistics
from deeptrade.training.step import HUBER_DELTA, AccumulatingStep

HORIZONS = 10
SHAPES = {"arr_5m": (241, 9), "arr_15m": (241, 9), "arr_1h": (241, 9), "arr_google_trend": (24, 1)}
VECTORS = {"arr_santiment": (12,), "arr_ta_63": (63,), "arr_ctx_11": (11,)}
SCHEMA = Schema(tuple(Feature(name, shape) for name, shape in (SHAPES | VECTORS).items()), HORIZONS)
SCALE = np.ones(HORIZONS, np.float32)


def keras_recurrence(units, *, go_backwards, kernel_seed, recurrent_seed, name):
    return keras.layers.LSTM(units, go_backwards=go_backwards, name=name)


def make_model(model_size: str, *, plain: bool, precision: str = "float32") -> keras.Model:
    statistics = {}
    for feature in SCHEMA.features:
        zeros, ones = np.zeros(feature.channels, np.float32), np.ones(feature.channels, np.float32)
        statistics[feature.name] = FeatureStatistics(
            zeros, ones, zeros, ones, ones, ones if feature.is_sequence else None
        )
    with mock.patch.object(forecaster, "Recurrence", keras_recurrence if plain else forecaster.Recurrence):
        model = build_forecaster(
            SCHEMA, model_size=model_size, statistics=statistics, target_scale=SCALE, precision=precision
        )
    head = next(v for v in model.trainable_variables if v.path == "head/kernel")
    head.assign(np.random.default_rng(0).normal(0, 0.3, head.shape))  # a head of zeros lets no gradient through
    return model


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


def multiply_adds(model_size: str) -> int:
    """Return multiply-adds of one row's forward pass: convolutions, recurrences and dense layers."""
    units, blocks = SIZES[model_size]
    total = 0
    for feature in SCHEMA.features:
        if feature.is_sequence:
            convolutions = KERNEL_STEPS * units * (2 * feature.channels + (blocks - 1) * units)
            total += feature.shape[0] * (convolutions + 2 * 4 * units * 2 * units)
        else:
            total += 2 * units * (feature.size + 2 * units)
    token, tokens = 2 * units, len(SCHEMA.features)
    return total + tokens * (4 * token * token + 2 * tokens * token) + token * (token + HORIZONS * units // 2)


def sgemm_gflops() -> float:
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        tf.linalg.matmul(a, a).numpy()
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def timed(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def difference(ours: keras.Model, plain: keras.Model) -> float:
    """Return the relative L2 distance of all weights."""
    flat = [np.concatenate([v.numpy().ravel() for v in m.trainable_variables]) for m in (ours, plain)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_size", default="small", choices=MODEL_SIZES)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    peak = sgemm_gflops()
    print(f"{options.model_size}: {count_parameters(SCHEMA, options.model_size)} parameters; sgemm {peak:.0f} GFLOP/s")
    print("batch  ours ms  plain Keras ms  ratio  weights after a step  ours GFLOP/s  of sgemm")
    found = []
    for rows in options.batch_sizes:
        generator = np.random.default_rng(0)
        x = {f.name: generator.normal(size=(rows, *f.shape)).astype(np.float32) for f in SCHEMA.features}
        y = generator.normal(0, 2, (rows, HORIZONS)).astype(np.float32)
        y[generator.random(y.shape) < 0.2] = np.nan
        ours, plain = (make_model(options.model_size, plain=plain) for plain in (False, True))
        for mine, other in zip(ours.weights, plain.weights, strict=True):  # not the random states
            other.assign(mine)
        accumulating = AccumulatingStep(ours, keras.optimizers.Adam(1e-3), batch_size=rows, target_scale=SCALE)
        step = plain_step(plain, keras.optimizers.Adam(1e-3))
        runs = (lambda: accumulating(x, y, last=True), lambda: step(x, y).numpy())  # noqa: B023 (used at once)
        for run in runs:
            run()
        apart = difference(ours, plain)
        pairs = [[timed(run) for run in runs] for _ in range(options.repeats)]
        mine, other = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
        rate = 3 * 2 * rows * multiply_adds(options.model_size) / mine / 1e6
        print(
            f"{rows:5}  {mine:7.1f}  {other:14.1f}  {other / mine:5.2f}  {apart:20.1e}  {rate:12.1f}"
            f"  {rate / peak:8.1%}",
            flush=True,
        )
        found.append({"batch_size": rows, "ours_ms": mine, "plain_ms": other, "difference": apart, "gflops": rate})
    print(json.dumps({"model_size": options.model_size, "sgemm_gflops": peak, "results": found}))


if __name__ == "__main__":
    main()
