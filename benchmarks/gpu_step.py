"""The optimizer step on a GPU: XLA on and off, and mixed precision, for each encoder.

    python benchmarks/gpu_step.py [--model_size medium] [--batch_sizes 32 256 1024] [--repeats 30]

Prints milliseconds of a step (median), rows per second, the peak of the GPU's memory, and how far the weights are from
those of float32 without XLA after the same steps; then one JSON line. Says so and ends where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from step_time import SCALE, apart, batch, flat, make_model, timed

from deeptrade.data.backend import tf
from deeptrade.planning.sizes import COMPILED
from deeptrade.settings import ENCODERS, MODEL_SIZES
from deeptrade.training.adam import Adam
from deeptrade.training.runtime import set_up_tensorflow
from deeptrade.training.step import AccumulatingStep

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_size", default="medium", choices=MODEL_SIZES)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 256, 1024])
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    if not set_up_tensorflow(allow_growth=True, give_back=False, compiles=True, sink=print)["gpus"]:
        print("nothing was measured: this machine has no GPU that TensorFlow can use")
        return
    results = []
    print(f"{'encoder':<12}{'rows':>5}  {'precision':<15}{'XLA':<5}{'ms':>8}{'rows/s':>9}{'peak MiB':>10}{'apart':>9}")
    for rows in options.batch_sizes:
        x, y = batch(rows)
        for encoder in ENCODERS:
            plain = None
            for precision in PRECISIONS:
                for jit in (False, True) if encoder in COMPILED else (False,):
                    tf.config.experimental.reset_memory_stats("GPU:0")
                    model = make_model(options.model_size, encoder, precision=precision)
                    scaled = precision == "mixed_float16"
                    settings = {"averaging": True, "fused": True, "jit": jit, "scale_loss": scaled}
                    step = AccumulatingStep(model, Adam(1e-3), batch_size=rows, target_scale=SCALE, **settings)
                    run = partial(step, x, y, last=True)
                    run()
                    times = [timed(run) for _ in range(options.repeats)]
                    weights = flat(model.trainable_variables)
                    plain = weights if plain is None else plain
                    one = {"encoder": encoder, "rows": rows, "precision": precision, "jit": jit}
                    one |= {"ms": 1e3 * statistics.median(times), "apart": apart(weights, plain)}
                    one["peak_bytes"] = tf.config.experimental.get_memory_info("GPU:0")["peak"]
                    results.append(one)
                    print(
                        f"{encoder:<12}{rows:>5}  {precision:<15}{'on' if jit else 'off':<5}{one['ms']:>8.2f}"
                        f"{1e3 * rows / one['ms']:>9.0f}{one['peak_bytes'] / 2**20:>10.0f}{one['apart']:>9.1e}",
                        flush=True,
                    )
    print(json.dumps({"benchmark": "gpu_step", "model_size": options.model_size, "results": results}))


if __name__ == "__main__":
    main()
