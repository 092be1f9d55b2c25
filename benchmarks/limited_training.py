"""Training on a file many times larger than the memory it may use, in a real memory cgroup.

    python benchmarks/limited_training.py [--gigabytes 6.4] [--starts 5] [--steps 500] [--model_sizes small medium]

Makes a synthetic market of that size and one of a tenth, compiles both, and starts `deeptrade fit` in a cgroup of
768 MiB for `small` and 1 GiB for `medium`, validation and checkpoints included. Prints for every start its exit code,
the kernel's count of OOM kills, the highest anonymous memory and the cgroup's own peak (which counts page cache that
the kernel would have given back), then one JSON line. Needs root, or a cgroup one may write to.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from cgroups import run_command

from deeptrade import compile_store
from deeptrade.making.synthetic import synthesize

LIMITS = {"tiny": 768 << 20, "small": 768 << 20, "medium": 1 << 30}
ROW_BYTES = 110_000


def train(store: Path, out: Path, model_size: str, steps: int) -> dict:
    """Start fit in a cgroup of its own and return what is to be said of it."""
    options = {"csv": store, "out": out, "model_size": model_size, "max_steps": steps, "batch_size": 4}
    given = [f"--{name}={value}" for name, value in options.items()]
    run = run_command(LIMITS[model_size], "fit", *given, "--fresh", "--skip_rl")
    if run.exit_code:
        print(run.output[-500:], file=sys.stderr)
        return {"exit_code": run.exit_code, "oom_kills": run.oom_kills, "seconds": run.seconds}
    result = json.loads((out / "result.json").read_text())
    wait = result["time"]["data_wait_seconds"] / result["time"]["wall_seconds"]
    return {
        "exit_code": 0,
        "oom_kills": run.oom_kills,
        "steps": result["steps"],
        "peak_anon_bytes": result["memory"]["peak_anon_bytes"],
        "predicted_peak_bytes": result["memory"]["predicted_peak_bytes"],
        "group_peak_bytes": run.group_peak_bytes,
        "seconds": run.seconds,
        "data_wait_share": wait,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=6.4)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--model_sizes", nargs="+", choices=LIMITS, default=["small", "medium"])
    options = parser.parse_args()
    runs = []
    print("size    GB    limit MiB  exit  OOM kills  steps  peak anon MiB  predicted  cgroup peak  data wait  seconds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, starts in ((1.0, options.starts), (0.1, 1)):
            gigabytes = part * options.gigabytes
            text, store = folder / "market.csv", folder / f"market-{part}.dtstore"
            synthesize(text, rows=int(gigabytes * 1e9 / ROW_BYTES), seed=1)
            compile_store(text, store=store)
            text.unlink()
            for model_size in options.model_sizes:
                for _ in range(starts):
                    run = train(store, folder / "run", model_size, options.steps)
                    runs.append({"model_size": model_size, "gigabytes": gigabytes, **run})
                    sizes = (
                        run.get(key, 0) / 2**20
                        for key in ("peak_anon_bytes", "predicted_peak_bytes", "group_peak_bytes")
                    )
                    print(
                        f"{model_size:6}  {gigabytes:4.2f}  {LIMITS[model_size] >> 20:9}  {run['exit_code']:4}  "
                        f"{run['oom_kills']:9}  {run.get('steps', 0):5}  {'  '.join(f'{size:11.1f}' for size in sizes)}"
                        f"  {run.get('data_wait_share', 0):9.2%}  {run['seconds']:7.1f}",
                        flush=True,
                    )
    print(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main()
