"""What stands between a fresh CSV and the first optimizer step of `fit`, by its parts.

    python benchmarks/first_step.py [--size 6.4GB] [--repeats 1] [--csv FILE] [--encoder recurrent] [--folder DIR]

Makes a seeded synthetic market of that size in a temporary folder (or takes --csv, which it leaves alone), then starts
`deeptrade fit` as a user does, with no store there, waits until its history.csv holds a step, and ends it. The parts
follow from the phases in its memory.jsonl:

    start    Python and its imports, the head of the file, limits and rules
    check    every row parsed, checked and written to the store, TensorFlow imported
    between  split and ledger
    build    targets and statistics read, model and step made
    step     first checkpoint saved, step traced, compiled and taken

Beside them, each alone in a process of its own: the import of TensorFlow and Keras, and `deeptrade compile`. Prints the
load of the machine, medians, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from deeptrade.memory import read_timeline
from deeptrade.run_folder import TrainingFolder
from deeptrade.settings import ENCODERS
from deeptrade.units import parse_bytes

ROW_BYTES = 109_900
"""Text of a synthetic row."""

PARTS = ("start", "check", "between", "build", "step")
TARGET_SECONDS = 15


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deeptrade", *arguments]


def seconds_of(*arguments: str) -> float:
    """Wall seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(data: Path, store: Path, out: Path, encoder: str) -> dict[str, float]:
    """Start `fit` on data without a store; seconds until the first step is in its history, in all and by part."""
    folder, began = TrainingFolder(out), time.time()
    options = ("--csv", str(data), "--store", str(store), "--out", str(out), "--encoder", encoder, "--skip_rl")
    running = subprocess.Popen(command("fit", *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not folder.history.exists() or folder.history.read_text().count("\n") < 2:
        if running.poll() is not None:
            raise SystemExit(f"fit ended before its first step: {running.communicate()[1][-2000:]}")
        time.sleep(0.01)
    ended = time.time()
    running.send_signal(signal.SIGTERM)
    running.communicate()
    with open(folder.timeline, encoding="utf-8") as lines:
        monitored = datetime.fromisoformat(json.loads(next(lines))["time"]).timestamp()
    begins: dict[str, float] = {}
    last_check = 0.0
    for sample in read_timeline(folder.timeline):
        phase = sample.phase.split("/")[0]
        begins.setdefault(phase, monitored + sample.seconds)
        if phase == "check":
            last_check = monitored + sample.seconds
    edges = [began, begins["check"], last_check, begins["build"], begins["train"], ended]
    return {part: end - start for part, start, end in zip(PARTS, edges, edges[1:], strict=False)} | {
        "total": ended - began
    }


def measure(data: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Medians over the repeats, each on data that has no store."""
    found: list[dict[str, float]] = []
    store, out = folder / "first.dtstore", folder / "run"
    for _ in range(options.repeats):
        found.append(first_step(data, store, out, options.encoder))
        shutil.rmtree(store)
        shutil.rmtree(out)
        found[-1]["import alone"] = seconds_of(sys.executable, "-c", "import tensorflow, keras")
        found[-1]["compile alone"] = seconds_of(*command("compile", str(data), "--store", str(store)))
        shutil.rmtree(store)
        print(f"  {found[-1]['total']:.1f} s at a load of {os.getloadavg()[0]:.1f}", flush=True)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_bytes, default="6.4GB", help="of the CSV that is made")
    parser.add_argument("--csv", type=Path, help="data to take instead")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--encoder", choices=ENCODERS, default="recurrent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        data = options.csv or Path(place) / "market.csv"
        if not options.csv:
            rows = str(max(100, options.size // ROW_BYTES))
            subprocess.run(command("synth", str(data), "--rows", rows, "--seed", "7"), check=True, capture_output=True)
        gigabytes = data.stat().st_size / 1e9
        load = os.getloadavg()[0]
        found = measure(data, Path(place), options)
    print(f"{gigabytes:.2f} GB, {options.encoder}, {os.cpu_count()} processors, load before {load:.1f}; seconds")
    print("".join(f"{name:>15}" for name in found))
    print("".join(f"{seconds:>15.1f}" for seconds in found.values()))
    verdict = "met" if found["total"] <= TARGET_SECONDS else "missed"
    print(f"at most {TARGET_SECONDS} s to the first step: {verdict}")
    print(json.dumps({"benchmark": "first_step", "gigabytes": gigabytes, "load_before": load, "seconds": found}))


if __name__ == "__main__":
    main()
