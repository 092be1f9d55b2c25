"""How long a training takes to start when a row has hundreds of sequences.

    python benchmarks/many_features.py [--features 500] [--batch_size 4]

For each encoder, in a process of its own: seconds to build `tiny` for sequences of (60, 3), and until the first
optimizer step is done (traced and, for multiscale, compiled), and the median of the next steps. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from step_time import HORIZONS, SCALE, make_model, timed

from deeptrade.planning.sizes import COMPILED
from deeptrade.settings import ENCODERS
from deeptrade.sources.schema import Feature, Schema
from deeptrade.training.adam import Adam
from deeptrade.training.runtime import set_up_tensorflow
from deeptrade.training.step import AccumulatingStep


def measure(encoder: str, features: int, rows: int) -> dict:
    """Build and train in this process."""
    set_up_tensorflow(allow_growth=True, give_back=False, compiles=True, sink=lambda line: None)
    schema = Schema(tuple(Feature(f"arr_{n}", (60, 3)) for n in range(features)), HORIZONS)
    generator = np.random.default_rng(0)
    x = {f.name: generator.normal(size=(rows, *f.shape)).astype(np.float32) for f in schema.features}
    y = generator.normal(0, 2, (rows, HORIZONS)).astype(np.float32)
    began = time.perf_counter()
    model = make_model("tiny", encoder, schema=schema)
    options = {"batch_size": rows, "target_scale": SCALE, "averaging": True, "fused": True}
    step = AccumulatingStep(model, Adam(1e-3), jit=encoder in COMPILED, **options)
    built = time.perf_counter() - began
    first = timed(lambda: step(x, y, last=True))
    later = statistics.median(timed(lambda: step(x, y, last=True)) for _ in range(5))
    return {"encoder": encoder, "build_seconds": built, "first_step_seconds": first, "step_ms": 1e3 * later}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--encoder", choices=ENCODERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.encoder:
        print(json.dumps(measure(options.encoder, options.features, options.batch_size)))
        return
    results = []
    for encoder in ENCODERS:
        command = [sys.executable, __file__, "--encoder", encoder, f"--features={options.features}"]
        done = subprocess.run(
            [*command, f"--batch_size={options.batch_size}"], capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        found = results[-1]
        print(
            f"{encoder:<11} built in {found['build_seconds']:.1f} s, first step {found['first_step_seconds']:.1f} s, "
            f"later ones {found['step_ms']:.0f} ms",
            flush=True,
        )
    print(json.dumps({"benchmark": "many_features", "features": options.features, "results": results}))


if __name__ == "__main__":
    main()
