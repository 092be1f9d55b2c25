"""How often the verdict on skill is wrong: forecasts without skill, grids of them, a planted signal, and coverage.

    python benchmarks/verdicts.py [--series 200] [--rows 3000] [--klines FILE]

Returns are those of a seeded market whose volatility clusters, or of the closes in FILE (klines that pandas reads) with
random signs: real volatility, and nothing to forecast. Forecasts are made up: smooth over time, as large as the
volatility, without any tie to the outcomes; a signal of the given R2 is added for the last part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np
import pandas as pd

from deeptrade.judging.costs import TradingScore, after_costs
from deeptrade.judging.evaluation import Evaluation, judge
from deeptrade.judging.verdict import Verdict
from deeptrade.training.calibration import calibrate
from deeptrade.training.judged import Judged

HORIZONS, HOUR, GRID = 10, 3_600_000_000_000, 20
METRICS = ("mae_gain_zero", "r2", "ic", "rank_ic", "slope", "direction", "direction_gain")


def returns_of(generator: np.random.Generator, count: int, real: np.ndarray | None) -> np.ndarray:
    """Return hourly returns that nothing can forecast."""
    if real is not None:
        start = int(generator.integers(0, len(real) - count))
        return real[start : start + count] * generator.choice([-1, 1], count)
    shocks = np.convolve(generator.normal(size=count + 400), np.exp(-np.arange(401) / 100), "valid")[:count]
    return 0.005 * np.exp(shocks / 10) * generator.standard_t(4, count)


def targets_of(returns: np.ndarray, rows: int) -> np.ndarray:
    along = np.concatenate([[0.0], returns.cumsum()])
    return np.stack([along[h : h + rows] - along[:rows] for h in range(1, HORIZONS + 1)], axis=1)


def forecasts_of(generator: np.random.Generator, returns: np.ndarray, rows: int) -> np.ndarray:
    memory = int(generator.choice([2, 10, 50]))
    smooth = np.convolve(generator.normal(size=rows + 4 * memory), np.exp(-np.arange(4 * memory) / memory), "valid")
    volatility = pd.Series(np.abs(returns[:rows])).ewm(50).mean().to_numpy()
    shape = smooth[:rows, None] / smooth.std() + 0.3 * generator.normal(size=(rows, HORIZONS))
    return 0.01 * volatility[:, None] * shape


def made_up(forecasts: np.ndarray, targets: np.ndarray) -> Judged:
    rows = len(targets)
    return Judged(np.arange(rows), HOUR * np.arange(rows), np.full(rows, "", object), forecasts, targets)


def judged(forecasts: np.ndarray, targets: np.ndarray, *, seed: int, trials: int = 1) -> Evaluation:
    return judge(
        made_up(forecasts, targets),
        {"zero": np.zeros_like(targets)},
        target_step=HOUR,
        overlap=HORIZONS,
        trials=trials,
        seed=seed,
    )


def verdict_of(evaluation: Evaluation) -> Verdict:
    assert evaluation.verdict is not None
    return evaluation.verdict


def sharpe_of(forecasts: np.ndarray, targets: np.ndarray, *, seed: int, length: int) -> TradingScore:
    """Return what trading on the sign of the forecast would have earned without a fee."""
    one = made_up(forecasts, targets)
    found = after_costs([(one, one)], target_step=HOUR, block_length=length, seed=seed).of("sign", 0.0)
    assert found is not None
    return found


def conformal_of(forecasts: np.ndarray, targets: np.ndarray) -> float:
    """Return the share of the later half of the rows inside the intervals that the earlier half gives."""
    half = len(targets) // 2
    found = calibrate(forecasts[:half], targets[:half], overlap=HORIZONS)
    errors = np.abs(targets[half:, 0] - found.shrinkage[0] * forecasts[half:, 0])
    return float((errors <= found.half_width[0]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument(
        "--grids", type=int, default=0, help="grids of 20 models; 0: none, each takes as long as 20 series"
    )
    parser.add_argument("--klines", default="")
    options = parser.parse_args()
    real = None
    if options.klines:
        real = np.diff(np.log(pd.read_csv(options.klines)["close"].to_numpy()[::4]))
    started, rows = time.perf_counter(), options.rows
    single, signal, grids = Counter[str](), Counter[str](), Counter[str]()
    values: dict[str, list[tuple[float, float, float]]] = {metric: [] for metric in (*METRICS, "sharpe")}
    inside: list[float] = []
    for seed in range(options.series):
        generator = np.random.default_rng(seed)
        returns = returns_of(generator, rows + HORIZONS, real)
        targets, forecasts = targets_of(returns, rows), forecasts_of(generator, returns, rows)
        found = judged(forecasts, targets, seed=seed)
        single[verdict_of(found).kind] += 1
        for metric in METRICS:
            one = found.of(metric)[0]
            if one.value is not None and one.low is not None and one.high is not None:
                values[metric].append((one.value, one.low, one.high))
        traded = sharpe_of(forecasts, targets, seed=seed, length=found.block_steps)
        if traded.sharpe is not None and traded.low is not None and traded.high is not None:
            values["sharpe"].append((traded.sharpe, traded.low, traded.high))
        inside.append(conformal_of(forecasts, targets))
        planted = 0.1 * targets[:, :1] / targets[:, 0].std() + generator.normal(size=(rows, 1))  # R2 of 1%
        told = verdict_of(judged(0.001 * planted + forecasts, targets, seed=seed))
        signal["found" if 1 in told.horizons and told.kind == "evidence" else "missed"] += 1
    for grid in range(options.grids):
        generator = np.random.default_rng(10_000 + grid)
        returns = returns_of(generator, rows + HORIZONS, real)
        targets = targets_of(returns, rows)
        tries = [judged(forecasts_of(generator, returns, rows), targets, seed=grid, trials=GRID) for _ in range(GRID)]
        grids["evidence" if any(verdict_of(one).kind == "evidence" for one in tries) else "none"] += 1
    truth = {metric: float(np.mean([value for value, _, _ in found])) for metric, found in values.items()}
    covered = {
        metric: round(float(np.mean([low <= truth[metric] <= high for _, low, high in found])), 3)
        for metric, found in values.items()
    }
    covered["conformal"] = round(float(np.mean(inside)), 3)
    seconds = round(time.perf_counter() - started, 1)
    result = {"rows": rows, "single": single, "grids": grids, "signal": signal, "coverage": covered, "seconds": seconds}
    print(json.dumps(result))
    print(f"\n| | of {options.series} series of {rows:,} rows |\n|---|---|")
    print(f"| 'evidence of skill' without any | {single['evidence']} |")
    if options.grids:
        print(f"| the same in a grid of {GRID} models | {grids['evidence']} of {options.grids} |")
    print(f"| a signal of R2 1% one step ahead found | {signal['found']} |")
    for metric, share in covered.items():
        print(f"| coverage of 95% intervals, {metric} | {share:.1%} |")


if __name__ == "__main__":
    main()
