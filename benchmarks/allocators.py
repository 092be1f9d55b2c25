"""What giving tensors back to the system costs and gains: TensorFlow's own pool against malloc, in `fit`.

    python benchmarks/allocators.py [--model_sizes tiny small] [--batch_sizes 4 32] [--steps 40]

Each variant is a child process that trains on a small synthetic market. Prints milliseconds of a step (median), the
highest anonymous memory, what is held between two steps, and the same once passes have a quarter of the rows: with the
pool nothing is freed by that. The results must be the same bits. Then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from deeptrade.making.synthetic import synthesize

CHILD = """
import json, sys
from deeptrade.memory import read_memory
from deeptrade.settings import FitSettings
from deeptrade.training import scarce_memory, upkeep
from deeptrade.training.fit import fit
data, out, model_size, batch_size, steps, shrink = sys.argv[1:]
held = []
plain = upkeep.Upkeep.after_step
def after_step(self, step, **options):
    plain(self, step, **options)
    held.append(read_memory().anon_bytes)
upkeep.Upkeep.after_step = after_step
def resize(self, available_bytes, **options):
    if shrink == "True" and len(held) == 15:
        self.size = max(1, int(batch_size) // 4)
        return self.size
scarce_memory.MicroBatch.after_step = resize
fit(FitSettings(csv=data, out=out, model_size=model_size, batch_size=int(batch_size), max_steps=int(steps), epochs=100,
                fresh=True, skip_rl=True), progress="silent")
print(json.dumps(held))
"""


def measure(data: Path, model_size: str, batch_size: int, steps: int, *, pool: bool, shrink: bool) -> dict:
    out = data.with_name("run")
    environment = os.environ | {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "0" if pool else "1"}
    arguments = [str(data), str(out), model_size, str(batch_size), str(steps), str(shrink)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, env=environment, check=True
    )
    held = json.loads(done.stdout.splitlines()[-1])
    result = json.loads((out / "result.json").read_text())
    return {
        "step_ms": 1000 * result["time"]["step_seconds_median"],
        "peak_bytes": result["memory"]["peak_anon_bytes"],
        "held_bytes": statistics.median(held[20:]),
        "weights_sha256": result["weights_sha256"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_sizes", nargs="+", default=["tiny", "small"])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    found = []
    print("size    rows  memory  step ms  peak MiB  held MiB  held with a quarter of the rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "market.csv"
        synthesize(data, rows=600, seed=1)
        for model_size in options.model_sizes:
            for rows in options.batch_sizes:
                weights = set()
                for pool in (True, False):
                    plain, small = (
                        measure(data, model_size, rows, options.steps, pool=pool, shrink=shrink)
                        for shrink in (False, True)
                    )
                    weights.add(plain["weights_sha256"])
                    kind = "pool" if pool else "malloc"
                    sizes = plain["peak_bytes"], plain["held_bytes"], small["held_bytes"]
                    shown = "  ".join(f"{size / 2**20:8.0f}" for size in sizes)
                    print(f"{model_size:6}  {rows:4}  {kind:6}  {plain['step_ms']:7.1f}  {shown}", flush=True)
                    found.append({"model_size": model_size, "rows": rows, "memory": kind, "whole": plain, "cut": small})
                if len(weights) != 1:
                    raise SystemExit("the two do not give the same bits")
    print(json.dumps({"benchmark": "allocators", "results": found}))


if __name__ == "__main__":
    main()
