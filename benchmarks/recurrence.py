"""One recurrent layer over 241 steps, forward and backward pass: our kernel against keras.layers.LSTM.

    python benchmarks/recurrence.py [--units 48]

Both are in one traced function each, no XLA, same weights. Prints a table of milliseconds (median of 9) and the largest
difference of states and gradients, then one JSON line.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from deeptrade.model import Recurrence

STEPS = 241


def traced(layer):
    weights = [weight.value for weight in layer.weights]

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            state = layer(x)
            loss = tf.reduce_sum(state**2)
        return [state, *tape.gradient(loss, [x, *weights])]

    return run


def milliseconds(run, x):
    run(x)
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        run(x)[0].numpy()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=48)
    units = parser.parse_args().units
    result = []
    print("rows  ours ms  keras ms  ratio  largest difference")
    for rows in (4, 32):
        x = tf.constant(np.random.default_rng(0).normal(size=(rows, STEPS, units)).astype(np.float32))
        ours, theirs = Recurrence(units), keras.layers.LSTM(units)
        for layer in (ours, theirs):
            layer.build(x.shape)
        for mine, other in zip(ours.weights, theirs.weights, strict=True):
            mine.assign(other)
        runs = [traced(layer) for layer in (ours, theirs)]
        times = [milliseconds(run, x) for run in runs]
        scale = [float(tf.reduce_max(tf.abs(other))) for other in runs[1](x)]
        pairs = zip(runs[0](x), runs[1](x), scale, strict=True)
        difference = max(float(tf.reduce_max(tf.abs(mine - other))) / size for mine, other, size in pairs)
        ratio = times[1] / times[0]
        print(f"{rows:4}  {times[0]:7.1f}  {times[1]:8.1f}  {ratio:5.1f}  {difference:.1e}")
        result.append({"rows": rows, "ours_ms": times[0], "keras_ms": times[1], "difference": difference})
    print(json.dumps({"units": units, "steps": STEPS, "results": result}))


if __name__ == "__main__":
    main()
