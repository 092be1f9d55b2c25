"""How far accumulated gradients are from the full batch's: ours, and the mean of means that other trainers take.

    python benchmarks/accumulation_exactness.py [--model_size tiny]

One window of 21 rows of a real forecaster with each encoder, as `fit` computes it, in 1, 2, 3, 5 and 7 passes, the
last one short, a third of the targets missing and one pass without any. The full batch is computed op by op, so that
the errors of a compiled pass show. Prints tables of relative L2 errors, then one JSON line. Exits with 1 when ours is
above 1e-6 over all variables or 1e-5 in one, or the mean of means, the control, is below 1e-3.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from deeptrade.model import build_forecaster
from deeptrade.planning.sizes import COMPILED
from deeptrade.settings import ENCODERS, MODEL_SIZES
from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import FeatureStatistics
from deeptrade.training.step import AccumulatingStep, summed_loss

ROWS, HORIZONS = 21, 10
PASSES = {1: [21], 2: [11, 10], 3: [8, 8, 5], 5: [5, 5, 5, 5, 1], 7: [3, 3, 3, 3, 3, 3, 3]}
SCHEMA = Schema((Feature("arr_5m", (1, 60, 9)), Feature("arr_1h", (1, 24, 5)), Feature("arr_ctx", (1, 11))), HORIZONS)
SCALE = np.linspace(0.5, 2, HORIZONS, dtype=np.float32)


class Recorder:
    """Takes the place of an optimizer and keeps the gradients."""

    def build(self, variables):
        self.gradients = [tf.Variable(tf.zeros(v.shape)) for v in variables]

    def apply(self, gradients, variables):
        for kept, gradient in zip(self.gradients, gradients, strict=True):
            kept.assign(gradient)


def make_model(model_size, encoder):
    generator = np.random.default_rng(0)
    statistics = {}
    for feature in SCHEMA.features:
        zeros, ones = np.zeros(feature.channels, np.float32), np.ones(feature.channels, np.float32)
        statistics[feature.name] = FeatureStatistics(
            zeros, ones, zeros, ones, ones, ones if feature.is_sequence else None
        )
    model = build_forecaster(SCHEMA, model_size=model_size, encoder=encoder, statistics=statistics, target_scale=SCALE)
    head = next(v for v in model.trainable_variables if v.path == "head/kernel")
    head.assign(generator.normal(0, 0.3, head.shape))  # a head of zeros would let no gradient through
    return model


def make_batch():
    generator = np.random.default_rng(1)
    x = {f.name: generator.normal(size=(ROWS, *f.shape)).astype(np.float32) for f in SCHEMA.features}
    y = generator.normal(0, 2, (ROWS, HORIZONS)).astype(np.float32)
    y[generator.random(y.shape) < np.linspace(0.1, 0.6, HORIZONS)] = np.nan
    y[3:6] = np.nan  # one of the seven passes has no target at all
    return x, y


def summed_gradients(model, x, y):
    with tf.GradientTape() as tape:
        loss, count = summed_loss(tf.constant(y), model(x), tf.constant(SCALE))
    return [g.numpy() for g in tape.gradient(loss, [v.value for v in model.trainable_variables])], float(count)


def parts_of(x, y, sizes):
    stops = np.cumsum(sizes)
    for start, stop in zip(stops - sizes, stops, strict=True):
        yield {name: values[start:stop] for name, values in x.items()}, y[start:stop]


def accumulated(model, x, y, sizes, *, jit):
    recorder = Recorder()
    step = AccumulatingStep(model, recorder, batch_size=max(sizes), target_scale=SCALE, clip_norm=0, jit=jit)
    for number, (inputs, targets) in enumerate(parts_of(x, y, sizes), start=1):
        step(inputs, targets, last=number == len(sizes))
    return [g.numpy() for g in recorder.gradients]


def mean_of_means(model, x, y, sizes):
    parts = [summed_gradients(model, *part) for part in parts_of(x, y, sizes)]
    means = [[g / max(count, 1) for g in gradients] for gradients, count in parts]
    return [sum(each) / len(means) for each in zip(*means, strict=True)]


def worst(names, found, expected):
    """The worst variable but the bias of the attention's keys: softmax ignores it, so all its gradient is rounding."""
    triples = zip(names, found, expected, strict=True)
    errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for name, a, b in triples if name != "attention/key/bias"]
    return float(max(errors))


def overall(found, expected):
    flat = [np.concatenate([g.ravel() for g in gradients]) for gradients in (found, expected)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_size", default="tiny", choices=MODEL_SIZES)
    model_size = parser.parse_args().model_size
    results = {encoder: compare(model_size, encoder) for encoder in ENCODERS}
    print(json.dumps({"model_size": model_size, "rows": ROWS, "relative_error": results}))
    rows = [row for table in results.values() for row in table.values()]
    exact = all(row["ours"] <= 1e-6 and row["ours_worst_variable"] <= 1e-5 for row in rows)
    missed = min(row["mean_of_means"] for table in results.values() for passes, row in table.items() if passes > 1)
    return 0 if exact and missed >= 1e-3 else 1


def compare(model_size, encoder):
    """Print and return the errors by number of passes."""
    model, (x, y) = make_model(model_size, encoder), make_batch()
    sums, count = summed_gradients(model, x, y)
    expected = [g / count for g in sums]
    names = [v.path for v in model.trainable_variables]
    table = {}
    print(f"{encoder}\npasses  ours (all)  ours (worst variable)  mean of means (all)")
    for passes, sizes in PASSES.items():
        ours, means = accumulated(model, x, y, sizes, jit=encoder in COMPILED), mean_of_means(model, x, y, sizes)
        table[passes] = {
            "ours": overall(ours, expected),
            "ours_worst_variable": worst(names, ours, expected),
            "mean_of_means": overall(means, expected),
        }
        row = table[passes]
        print(f"{passes:6}  {row['ours']:10.1e}  {row['ours_worst_variable']:21.1e}  {row['mean_of_means']:19.1e}")
    return table


if __name__ == "__main__":
    sys.exit(main())
