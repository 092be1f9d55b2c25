"""The encoders against each other: the skill that walks find, at equal steps and at equal time, and what it costs.

    python benchmarks/encoders.py [DATA ...] [--synthetic 3] [--rows 9000] [--folds 3] [--seeds 0,1,2]

`deeptrade walk` runs once for each encoder on every DATA (anything that `fit` reads) and on `--synthetic` new markets,
first with one epoch for all, then with as many more epochs for the faster ones as their steps are faster (at most 8;
inner rows choose the epoch that counts). Scores are those of the validation rows of a fold, by seed, averaged over
horizons and seeds; a pair is one fold of one market, scored for both encoders on the same rows. Prints the scores of
every market, the mean difference to the first encoder with its standard error over pairs, and one JSON line.
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

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from deeptrade.making.synthetic import synthesize
from deeptrade.run_folder import read_column
from deeptrade.settings import ENCODERS
from deeptrade.store import compile_store

FIRST_SEED = 7001
"""Of the synthetic markets: none that was looked at while the encoders were made."""

MOST_EPOCHS = 8


def walk(data: Path, out: Path, encoder: str, epochs: int, options: argparse.Namespace) -> dict:
    """Walk over the data; return the wall seconds, the median step, and the scores by fold."""
    given = {"out": out, "encoder": encoder, "epochs": epochs, "batch_size": 32, "model_size": options.model_size}
    given |= {"folds": options.folds, "seeds": options.seeds}
    command = [sys.executable, "-m", "deeptrade", "walk", str(data), *(f"--{k}={v}" for k, v in given.items())]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    forecasts = pd.read_parquet(out / "forecasts.parquet")
    steps = [np.median(read_column(path, "step_seconds")[1:]) for path in sorted(out.glob("folds/*/timing.csv"))]
    return {"seconds": seconds, "step": float(np.median(steps)), "scores": scores_by_fold(forecasts)}


def scores_by_fold(forecasts: pd.DataFrame) -> dict[str, list[float]]:
    """Return rank IC and R2 of each fold: over its rows, the mean over horizons and seeds."""
    horizons = sum(name.startswith("y_") for name in forecasts.columns)
    found: dict[str, list[float]] = {"rank_ic": [], "r2": []}
    for _, fold in forecasts.groupby("fold"):
        ranks, gains = [], []
        for _, part in fold.groupby("seed"):
            for horizon in range(1, horizons + 1):
                pair = part[[f"f_{horizon}", f"y_{horizon}"]].dropna().to_numpy()
                rank = spearmanr(*pair.T).statistic
                ranks.append(0.0 if np.isnan(rank) else rank)  # a forecast that never changes orders nothing
                gains.append(1 - ((pair[:, 1] - pair[:, 0]) ** 2).sum() / (pair[:, 1] ** 2).sum())
        found["rank_ic"].append(float(np.mean(ranks)))
        found["r2"].append(float(np.mean(gains)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, metavar="DATA")
    parser.add_argument("--synthetic", type=int, default=3)
    parser.add_argument("--rows", type=int, default=9000)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--model_size", default="tiny")
    options = parser.parse_args()
    reference, *others = sorted(ENCODERS, key=lambda name: name != "recurrent")
    results = []
    with tempfile.TemporaryDirectory(prefix="deeptrade-encoders-") as name:
        folder = Path(name)
        sources = [path.resolve() for path in options.data]
        for seed in range(FIRST_SEED, FIRST_SEED + options.synthetic):
            text, store = folder / "market.csv", folder / f"synthetic {seed}.dtstore"
            synthesize(text, rows=options.rows, seed=seed)
            compile_store(text, store=store)
            text.unlink()
            sources.append(store)
        for number, data in enumerate(sources):
            base = walk(data, folder / f"{number}-{reference}", reference, 1, options)
            results.append({"market": data.stem, "encoder": reference, "epochs": 1, "compare": "both", **base})
            report(results[-1])
            for encoder in others:
                same = walk(data, folder / f"{number}-{encoder}", encoder, 1, options)
                results.append({"market": data.stem, "encoder": encoder, "epochs": 1, "compare": "steps", **same})
                report(results[-1])
                epochs = int(np.clip(round(base["step"] / same["step"]), 1, MOST_EPOCHS))
                longer = walk(data, folder / f"{number}-{encoder}-long", encoder, epochs, options)
                results.append({"market": data.stem, "encoder": encoder, "epochs": epochs, "compare": "time", **longer})
                report(results[-1])
    for compare in ("steps", "time"):
        for encoder in others:
            for metric in ("rank_ic", "r2"):
                ours = [one for one in results if one["encoder"] == encoder and one["compare"] == compare]
                theirs = [one for one in results if one["encoder"] == reference]
                pairs = np.concatenate([one["scores"][metric] for one in ours])
                gains = pairs - np.concatenate([one["scores"][metric] for one in theirs])
                error = gains.std(ddof=1) / np.sqrt(len(gains))
                print(
                    f"{encoder} less {reference}, equal {compare}: {metric} {gains.mean():+.4f}, standard error "
                    f"{error:.4f} over {len(gains)} folds; not worse by more than it: {bool(gains.mean() >= -error)}"
                )
    print(json.dumps({"model_size": options.model_size, "results": results}))


def report(result: dict) -> None:
    """Print the line of one walk."""
    means = {name: np.mean(values) for name, values in result["scores"].items()}
    print(
        f"{result['market']:<16} {result['encoder']:<11} {result['epochs']} epochs: rank IC {means['rank_ic']:+.4f}, "
        f"R2 {means['r2']:+.3%}; by fold {np.round(result['scores']['rank_ic'], 3).tolist()}, "
        f"{np.round(100 * np.array(result['scores']['r2']), 2).tolist()} %; step {1e3 * result['step']:.1f} ms, "
        f"walk {result['seconds']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
