"""Why plans say float32 and no XLA on a CPU: the step in bfloat16, and the plain Keras model compiled by XLA.

    python benchmarks/precision_and_xla.py [--model_size small] [--batch_size 8] [--repeats 15]

Each variant runs in a process of its own: the milliseconds of a step (median), seconds until the first one is done, and
the highest anonymous memory. Our own step cannot be compiled by XLA at all: it has no version of the kernel that runs a
recurrence as one operation (said in the table, as tried). So XLA is measured on the same model with keras.layers.LSTM.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

VARIANTS = ("ours float32", "ours mixed_bfloat16", "ours XLA", "plain Keras", "plain Keras XLA")


def measure(variant: str, model_size: str, rows: int, repeats: int) -> dict:
    """Run one variant in this process."""
    import keras
    import numpy as np
    import tensorflow as tf
    from step_time import HORIZONS, SCALE, SCHEMA, make_model, plain_step, timed

    from deeptrade.memory import MemoryMonitor
    from deeptrade.training.step import AccumulatingStep

    precision = "mixed_bfloat16" if "bfloat16" in variant else "float32"
    generator = np.random.default_rng(0)
    x = {f.name: generator.normal(size=(rows, *f.shape)).astype(np.float32) for f in SCHEMA.features}
    y = generator.normal(0, 2, (rows, HORIZONS)).astype(np.float32)
    with MemoryMonitor(interval_seconds=0.02) as monitor:
        began = time.perf_counter()
        model = make_model(model_size, plain="plain" in variant, precision=precision)
        optimizer = keras.optimizers.Adam(1e-3)
        if "plain" in variant:
            step = plain_step(model, optimizer)
            if "XLA" in variant:
                step = tf.function(step.python_function, jit_compile=True)
            run = lambda: step(x, y).numpy()  # noqa: E731
        else:
            ours = AccumulatingStep(model, optimizer, batch_size=rows, target_scale=SCALE)
            run = lambda: ours(x, y, last=True)  # noqa: E731
            if "XLA" in variant:
                step = tf.function(lambda: model(x, training=True), jit_compile=True)
                run = lambda: step()  # noqa: E731
        try:
            run()
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            return {"variant": variant, "problem": str(error).split("[[")[0].strip().split(":")[0].split(" graph ")[0]}
        first = time.perf_counter() - began
        times = [timed(run) for _ in range(repeats)]
    return {
        "variant": variant,
        "step_ms": 1e3 * statistics.median(times),
        "first_seconds": first,
        "peak_anon_bytes": monitor.peak_anon_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_size", default="small")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, options.model_size, options.batch_size, options.repeats)))
        return
    results = []
    print(f"{options.model_size}, {options.batch_size} rows: variant, ms per step, s to the first, peak anonymous MiB")
    for variant in VARIANTS:
        done = subprocess.run([sys.executable, *sys.argv, "--variant", variant], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        found = json.loads(done.stdout.splitlines()[-1])
        results.append(found)
        figures = (
            found["problem"]
            if "problem" in found
            else f"{found['step_ms']:8.1f}{found['first_seconds']:8.1f}{found['peak_anon_bytes'] / 2**20:8.0f}"
        )
        print(f"{variant:<22}{figures}", flush=True)
    print(json.dumps({"benchmark": "precision_and_xla", "results": results}))


if __name__ == "__main__":
    main()
