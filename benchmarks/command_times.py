"""How long each command of the README takes: wall and processor seconds, cold and warm.

    python benchmarks/command_times.py [--rows 2000] [--only compile,fit] [--markdown]

Exit code 1: a time in README.md does not hold within a factor of 1.5 here. `--markdown` prints the table for README.md.

Each command is a process of its own, as a user starts it, on a seeded synthetic market. Cold: the data has no store
yet, and the output folder is new. Warm: the store is there, and the output folder is new again. Processor seconds count
all child processes; they depend less on what else the machine does, so only they are held against README.md, but for
those below half a second, which are mostly noise.
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

import numpy as np

README = Path(__file__).parents[1] / "README.md"
ROWS, WITHIN, LEAST_SECONDS = 2000, 1.5, 0.5

TINY = ("--model_size", "tiny", "--max_steps", "100", "--epochs", "99", "--skip_rl")
RUN = [
    part
    for name, value in (("model_size", "tiny"), ("max_steps", "100"), ("epochs", "99"))
    for part in ("-r", name, value)
]

COMMANDS = {
    "build": ["build", "klines.csv", "--out", "built.csv"],
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
NO_STORE = {"build", "synth"}
"""Commands that neither read nor leave a store: their first start is their last word."""

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
    states = ("warm",) if name in NEED_A_STORE else ("cold",) if name in NO_STORE else ("cold", "warm")
    for state in states:
        if state == "cold":
            for path in (folder / "market.dtstore", folder / ".market.dtstore.seen"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(folder / "out", ignore_errors=True)
        replaced = {"OUT": "out", "ROWS": str(rows)}
        found[state] = deeptrade([replaced.get(part, part) for part in COMMANDS[name]], folder)
    return found


def write_klines(path: Path, bars: int = 43_200) -> None:
    """Write 30 days of one-minute bars, a seeded random walk."""
    generator = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 5e-4, bars)))
    first = np.concatenate([[100.0], close[:-1]])
    wick = generator.exponential(0.02, (2, bars))
    table = np.column_stack(
        [
            1_700_000_000_000 // 86_400_000 * 86_400_000 + 60_000 * np.arange(bars),
            first,
            np.maximum(first, close) + wick[0],
            np.minimum(first, close) - wick[1],
            close,
            generator.exponential(10, bars),
        ]
    )
    with open(path, "w") as file:
        file.write("open_time,open,high,low,close,volume\n")
        np.savetxt(file, table, fmt=["%d", *["%.6f"] * 5], delimiter=",")


def read_stated(readme: Path) -> dict[str, dict[str, float]]:
    """Return what README.md states: by command and state the processor seconds, with or without those on the clock."""
    found: dict[str, dict[str, float]] = {}
    for line in readme.read_text().partition("\n## How long it takes")[2].partition("\n## ")[0].splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        name = name.partition("`, ")[0].strip("`")
        if name in COMMANDS:
            processor = cells[1::2] if len(cells) == 4 else cells
            found[name] = {state: float(cell) for state, cell in zip(("cold", "warm"), processor, strict=True) if cell}
    return found


def broken(times: dict[str, dict[str, tuple[float, float]]], stated: dict[str, dict[str, float]]) -> list[str]:
    """Return a line for every processor time that is not within WITHIN of the stated one."""
    lines = []
    for name, states in stated.items():
        for state, told in states.items():
            _, seconds = times.get(name, {}).get(state, (told, told))
            if max(seconds, told) >= LEAST_SECONDS and not 1 / WITHIN <= seconds / told <= WITHIN:
                lines.append(f"{name}, {state}: {seconds:.1f} s of the processors, README.md states {told:g}")
    return lines


def markdown(times: dict[str, dict[str, tuple[float, float]]]) -> str:
    """Return the table of README.md."""
    lines = ["| command | cold: clock | processor | warm: clock | processor |", "|---|---|---|---|---|"]
    for name, found in times.items():
        cells = [_short(value) for state in ("cold", "warm") for value in found.get(state, ("", ""))]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _short(seconds: float | str) -> str:
    return seconds if isinstance(seconds, str) else f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", default="")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(COMMANDS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        deeptrade(["synth", "market.csv", "--rows", str(options.rows), "--seed", "7"], folder)
        write_klines(folder / "klines.csv")
        for out in ("trained", "again"):
            deeptrade(["fit", "--csv", "market.csv", "--out", out, "--seed", str(len(out)), *TINY], folder)
        load = os.getloadavg()[0]
        times = {name: measure(name, folder, options.rows) for name in names}
    print(json.dumps({"benchmark": "command_times", "rows": options.rows, "load_before": load, "seconds": times}))
    print(f"{'command':20}{'cold: wall':>12}{'processor':>12}{'warm: wall':>12}{'processor':>12}")
    for name, found in times.items():
        cells = [value for state in ("cold", "warm") for value in found.get(state, (None, None))]
        print(f"{name:20}" + "".join(f"{'-' if value is None else f'{value:.1f}':>12}" for value in cells))
    if options.markdown:
        print(markdown(times))
    if options.rows == ROWS and (lines := broken(times, read_stated(README))):
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    main()
