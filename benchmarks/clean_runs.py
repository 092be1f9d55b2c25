"""False alarms of the leak watch: 19 trainings of 2,000 steps that leak nothing, and one that streams a 4 GB map.

    python benchmarks/clean_runs.py [--runs 19] [--steps 2000] [--batch_size 4] [--map_gigabytes 4] [--workers 2]

Each is `deeptrade fit` on the `tiny` model with a seed of its own. The last reads every row of a store of that many
GB of float32 once, in random order (the store holds one synthetic market three times, one after the other). Prints the
slope of anonymous memory per step with its 95% interval, spikes and leaks of each, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deeptrade import compile_store
from deeptrade.making.synthetic import synthesize

STORE_ROW_BYTES, COPIES = 26_500, 3


def train(name: str, data: Path, out: Path, *options: str) -> dict:
    command = [sys.executable, "-m", "deeptrade", "fit", f"--csv={data}", f"--out={out}", "--model_size=tiny"]
    done = subprocess.run([*command, "--skip_rl", *options], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-500:]}")
    result = json.loads((out / "result.json").read_text())
    memory = result["memory"]
    print(
        f"{name:<12}{result['steps']:>7}{memory['slope']['bytes_per_step']:>10.0f}{memory['slope']['low']:>9.0f}"
        f"{memory['slope']['high']:>9.0f}{len(memory['spikes']):>8}{len(memory['leaks']):>7}"
        f"{memory['peak_anon_bytes'] / 2**20:>10.0f}",
        flush=True,
    )
    return {"name": name, "steps": result["steps"], **{key: memory[key] for key in ("slope", "leaks", "spikes")}}


def make_large_store(folder: Path, gigabytes: float) -> Path:
    """A store of so many GB of numbers, from one text that is read three times."""
    parts = folder / "parts"
    parts.mkdir()
    first = parts / "market-0.csv"
    synthesize(first, rows=int(gigabytes * 1e9 / STORE_ROW_BYTES / COPIES) + 1, seed=1)
    for number in range(1, COPIES):
        os.link(first, parts / f"market-{number}.csv")
    store = folder / "large.dtstore"
    compile_store(parts, store=store)
    for path in parts.iterdir():
        path.unlink()
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=19)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--map_gigabytes", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("run           steps   B/step      low     high  spikes  leaks  peak MiB")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.workers) as pool:
        folder = Path(name)
        text = folder / "market.csv"
        synthesize(text, rows=2000, seed=0)
        store = Path(compile_store(text, store=folder / "market.dtstore"))
        limits = ["--epochs=100", f"--max_steps={options.steps}", f"--batch_size={options.batch_size}"]
        runs = [
            pool.submit(train, f"seed {seed}", store, folder / f"run-{seed}", *limits, f"--seed={seed}")
            for seed in range(options.runs)
        ]
        if options.map_gigabytes:
            large = make_large_store(folder, options.map_gigabytes)
            runs.append(pool.submit(train, "4 GB map", large, folder / "run-map", "--batch_size=32", "--epochs=1"))
        found = [run.result() for run in runs]
    leaks = sum(len(run["leaks"]) for run in found)
    print(f"{leaks} alarms in {len(found)} runs")
    print(json.dumps({"benchmark": "clean_runs", "alarms": leaks, "runs": found}))


if __name__ == "__main__":
    main()
