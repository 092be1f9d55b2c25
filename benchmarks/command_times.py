"""How long each command of the README takes: wall and processor seconds, cold and warm.

    python benchmarks/command_times.py [--rows 2000] [--only compile,fit]

Each command is a process of its own, as a user starts it, on a seeded synthetic market. Cold: the data has no store
yet, and the output folder is new. Warm: the store is there, and the output folder is new again. Processor seconds count
all child processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = ("--model_size", "tiny", "--max_steps", "100", "--epochs", "99", "--skip_rl")
RUN = [
    part
    for name, value in (("model_size", "tiny"), ("max_steps", "100"), ("epochs", "99"))
    for part in ("-r", name, value)
]

COMMANDS = {
    "synth": ["synth", "made.csv", "--rows", "ROWS"],
    "compile": ["compile", "market.csv"],
    "verify": ["verify", "market.dtstore"],
    "export": ["export", "market.dtstore", "market.parquet"],
    "profile": ["profile", "market.csv", "--out", "OUT"],
    "optimize": ["optimize", "market.csv", "--out", "OUT", "--model_size", "tiny"],
    "optimize --quick": ["optimize", "market.csv", "--out", "OUT", "--model_size", "tiny", "--quick"],
    "fit": ["fit", "--csv", "market.csv", "--out", "OUT", *TINY],
    "evaluate": ["evaluate", "trained"],
    "predict": ["predict", "trained", "market.csv", "--out", "forecasts.csv"],
    "walk": ["walk", "market.csv", "--out", "OUT", "--folds", "3", *TINY[:-1]],
    "run": ["run", "market.csv", "--out", "OUT", *RUN],
    "report": ["report", "trained"],
    "compare": ["compare", "trained", "again", "--out", "OUT"],
}
NEED_A_STORE = {"verify", "export", "evaluate", "predict", "report", "compare"}
"""Commands that have no cold start: they work on what others have left."""


def deeptrade(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run one command; return its wall and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "deeptrade", *arguments], cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name: str, folder: Path, rows: int) -> dict[str, tuple[float, float]]:
    """Cold and warm seconds of one command."""
    found = {}
    for state in ("warm",) if name in NEED_A_STORE else ("cold", "warm"):
        if state == "cold":
            for path in (folder / "market.dtstore", folder / ".market.dtstore.seen"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(folder / "out", ignore_errors=True)
        replaced = {"OUT": "out", "ROWS": str(rows)}
        found[state] = deeptrade([replaced.get(part, part) for part in COMMANDS[name]], folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(COMMANDS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        deeptrade(["synth", "market.csv", "--rows", str(options.rows), "--seed", "7"], folder)
        for out in ("trained", "again"):
            deeptrade(["fit", "--csv", "market.csv", "--out", out, "--seed", str(len(out)), *TINY], folder)
        load = os.getloadavg()[0]
        times = {name: measure(name, folder, options.rows) for name in names}
    print(json.dumps({"benchmark": "command_times", "rows": options.rows, "load_before": load, "seconds": times}))
    print(f"{'command':20}{'cold: wall':>12}{'processor':>12}{'warm: wall':>12}{'processor':>12}")
    for name, found in times.items():
        cells = [value for state in ("cold", "warm") for value in found.get(state, (None, None))]
        print(f"{name:20}" + "".join(f"{'-' if value is None else f'{value:.1f}':>12}" for value in cells))


if __name__ == "__main__":
    main()
