"""Why plans say float32 on a CPU, and which steps are compiled by XLA: the step in bfloat16, and with and without XLA.

    python benchmarks/precision_and_xla.py [--model_size small] [--batch_sizes 4 32 256] [--repeats 25]

Each variant runs in a process of its own: the milliseconds of a step (median), seconds until the first one is done, and
the highest anonymous memory. 'fusion emitters' is how XLA compiles by default; `fit` switches them off. The recurrent
step cannot be compiled: XLA has no version of the kernel that runs a recurrence (tried, and said in the table).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

VARIANTS = {
    "multiscale, compiled": {"encoder": "multiscale", "jit": True},
    "multiscale, fusion emitters": {"encoder": "multiscale", "jit": True, "emitters": True},
    "multiscale, not compiled": {"encoder": "multiscale", "jit": False},
    "multiscale, bfloat16": {"encoder": "multiscale", "jit": True, "precision": "mixed_bfloat16"},
    "recurrent": {"encoder": "recurrent", "jit": False},
    "recurrent, bfloat16": {"encoder": "recurrent", "jit": False, "precision": "mixed_bfloat16"},
    "recurrent, compiled": {"encoder": "recurrent", "jit": True},
}


def measure(variant: str, model_size: str, rows: int, repeats: int) -> dict:
    """Run one variant in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings = VARIANTS[variant]
    if settings.get("emitters"):
        os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=true"
    from deeptrade.training.runtime import set_up_tensorflow

    set_up_tensorflow(allow_growth=True, give_back=True, compiles=True, sink=lambda line: None)
    import tensorflow as tf
    from step_time import SCALE, batch, make_model, timed

    from deeptrade.memory import MemoryMonitor
    from deeptrade.training.adam import Adam
    from deeptrade.training.step import AccumulatingStep

    x, y = batch(rows)
    with MemoryMonitor(interval_seconds=0.02) as monitor:
        began = time.perf_counter()
        model = make_model(model_size, settings["encoder"], precision=settings.get("precision", "float32"))
        step = AccumulatingStep(
            model, Adam(1e-3), batch_size=rows, target_scale=SCALE, averaging=True, fused=True, jit=settings["jit"]
        )
        try:
            step(x, y, last=True)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            return {"variant": variant, "problem": str(error).split("[[")[0].strip().split(":")[0].split(" graph ")[0]}
        first = time.perf_counter() - began
        times = [timed(lambda: step(x, y, last=True)) for _ in range(repeats)]
    return {
        "variant": variant,
        "rows": rows,
        "step_ms": 1e3 * statistics.median(times),
        "first_seconds": first,
        "peak_anon_bytes": monitor.peak_anon_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_size", default="small")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 32, 256])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, options.model_size, options.batch_sizes[0], options.repeats)))
        return
    results = []
    print(f"{options.model_size}: variant, rows, ms per step, s to the first, peak anonymous MiB")
    for rows in options.batch_sizes:
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--batch_sizes", str(rows)]
            command += ["--model_size", options.model_size, "--repeats", str(options.repeats)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            found = json.loads(done.stdout.splitlines()[-1])
            results.append(found)
            figures = (
                found["problem"]
                if "problem" in found
                else f"{found['step_ms']:8.1f}{found['first_seconds']:8.1f}{found['peak_anon_bytes'] / 2**20:8.0f}"
            )
            print(f"{variant:<28}{rows:>4}{figures}", flush=True)
    print(json.dumps({"benchmark": "precision_and_xla", "model_size": options.model_size, "results": results}))


if __name__ == "__main__":
    main()
