"""Does training learn what there is to learn, and nothing where there is nothing?

    python benchmarks/learning.py [--rows 64000] [--seeds 3] [--model_size tiny]

For each seed a synthetic market is made, with its signal and without, and `deeptrade fit` trains on it. On the
validation rows, the latest 30%, the mean absolute error of the model's forecasts is compared with that of the
forecast that is always zero. Neighbouring rows share most of their window and of their targets, so the standard error
of the mean gain is taken over blocks of 100 rows; 'beats' means a gain over two of them. Prints the best possible R2
per horizon, the gain in standard errors per seed and horizon, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from deeptrade import compile_store, open_store, predict
from deeptrade.making.synthetic import oracle_r2, synthesize

VALIDATION, BLOCK_ROWS = 0.3, 100


def gains_in_errors(forecasts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return, per horizon, the mean gain over the zero forecast in block standard errors."""
    gains = np.abs(targets) - np.abs(targets - forecasts)
    blocks = len(gains) // BLOCK_ROWS
    means = gains[: blocks * BLOCK_ROWS].reshape(blocks, BLOCK_ROWS, -1).mean(axis=1)
    return means.mean(axis=0) / (means.std(axis=0, ddof=1) / np.sqrt(blocks))


def learn(folder: Path, seed: int, signal: float, options: argparse.Namespace) -> np.ndarray:
    """Make a market, train on it and return the gains on its validation rows."""
    text, store = folder / "market.csv", folder / "market.dtstore"
    synthesize(text, rows=options.rows, seed=seed, signal=signal)
    compile_store(text, store=store, fresh=True)
    text.unlink()
    command = [sys.executable, "-m", "deeptrade", "fit", f"--csv={store}", f"--out={folder / 'run'}", "--fresh"]
    training = {"model_size": options.model_size, "epochs": options.epochs, "batch_size": 32, "seed": seed}
    given = [f"--{name}={value}" for name, value in {**training, "val_ratio": VALIDATION}.items()]
    subprocess.run([*command, *given, "--skip_rl"], check=True, stdout=subprocess.DEVNULL)
    with open_store(store) as data:
        forecasts = predict(folder / "run" / "model.keras", data, split="validation", val_ratio=VALIDATION)
        targets = data.read_targets(forecasts.index.get_level_values("row").to_numpy())
    complete = np.isfinite(targets).all(axis=1)
    return gains_in_errors(forecasts.to_numpy()[complete], targets[complete])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--model_size", default="tiny")
    options = parser.parse_args()
    print("best possible R2 by horizon: " + ", ".join(f"{value:.3f}" for value in oracle_r2()))
    print("signal  seed  beats zero  gain in standard errors, by horizon")
    found = []
    for signal in (1.0, 0.0):
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                gains = learn(Path(folder), seed, signal, options)
            beats = int((gains > 2).sum())
            print(
                f"{signal:6}  {seed:4}  {beats:4} of {len(gains)}  {' '.join(f'{gain:5.1f}' for gain in gains)}",
                flush=True,
            )
            found.append({"signal": signal, "seed": seed, "beats": beats, "gains": gains.round(2).tolist()})
    print(json.dumps({"rows": options.rows, "oracle_r2": oracle_r2(), "results": found}))


if __name__ == "__main__":
    main()
