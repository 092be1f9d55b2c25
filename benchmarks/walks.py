"""How often a whole walk, trainings included, finds skill: where there is none, and where there is a little.

    python benchmarks/walks.py [--noise 20] [--planted 10] [--model_size tiny]

`deeptrade walk` runs over synthetic markets: `--noise` of them without a signal, of 3,000 rows, and `--planted` of them
of 20,000 rows in which the best forecast one step ahead has an R2 of 1%. Counts the verdicts 'evidence of skill', for
planted signals those that name the first horizon, and prints one JSON line and a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from deeptrade.judging.evaluation import read_evaluation
from deeptrade.judging.verdict import Verdict
from deeptrade.making.synthetic import oracle_r2, synthesize
from deeptrade.store import compile_store

NOISE_ROWS, PLANTED_ROWS, PLANTED_R2 = 3000, 20_000, 0.01


def walk(rows: int, seed: int, signal: float, *, folds: int, model_size: str) -> Verdict:
    """Make a market, walk over it and return the verdict."""
    with tempfile.TemporaryDirectory(prefix="deeptrade-walks-") as name:
        folder = Path(name)
        text, store = folder / "market.csv", folder / "market.dtstore"
        synthesize(text, rows=rows, seed=seed, signal=signal)
        compile_store(text, store=store)
        text.unlink()
        options = {"out": folder / "walk", "folds": folds, "model_size": model_size, "batch_size": 32, "seeds": seed}
        given = [f"--{option}={value}" for option, value in options.items()]
        subprocess.run(
            [sys.executable, "-m", "deeptrade", "walk", str(store), *given], check=True, stdout=subprocess.DEVNULL
        )
        verdict = read_evaluation(folder / "walk" / "evaluation.json").verdict
    assert verdict is not None
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=int, default=20)
    parser.add_argument("--planted", type=int, default=10)
    parser.add_argument("--model_size", default="tiny")
    options = parser.parse_args()
    started = time.perf_counter()
    false = found = 0
    for seed in range(options.noise):
        verdict = walk(NOISE_ROWS, 100 + seed, 0.0, folds=2, model_size=options.model_size)
        false += verdict.kind == "evidence"
        print(f"no signal, seed {100 + seed}: {verdict.sentence()}", flush=True)
    signal = (PLANTED_R2 / oracle_r2(1.0)[0]) ** 0.5  # R2 goes with the square of the signal, nearly
    for seed in range(options.planted):
        verdict = walk(PLANTED_ROWS, 200 + seed, signal, folds=3, model_size=options.model_size)
        found += verdict.kind == "evidence" and 1 in verdict.horizons
        print(f"R2 {oracle_r2(signal)[0]:.2%}, seed {200 + seed}: {verdict.sentence()}", flush=True)
    seconds = round(time.perf_counter() - started, 1)
    print(
        json.dumps(
            {"noise": options.noise, "false": false, "planted": options.planted, "found": found} | {"s": seconds}
        )
    )
    print("\n| walks | markets | evidence of skill |\n|---|---|---|")
    print(f"| without a signal, {NOISE_ROWS:,} rows | {options.noise} | {false} |")
    print(f"| R2 of 1% one step ahead, {PLANTED_ROWS:,} rows | {options.planted} | {found} |")


if __name__ == "__main__":
    main()
