"""Forecasts beside their outcomes, of rows at regular times or with gaps."""

import numpy as np

from deeptrade.times import SECOND
from deeptrade.training.judged import Judged

HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND


def make_judged(
    rows=300, *, markets=1, every=HOUR, horizons=3, skill=0.0, missing=0.0, gaps=0, returns=None, start=START, seed=0
):
    """`rows` of each market, a row of each at every time; forecasts are noise plus `skill` times the outcome."""
    generator = np.random.default_rng(seed)
    steps = np.full(rows, every)
    steps[0] = 0
    steps[generator.integers(1, rows, gaps)] += 5 * HOUR
    times = np.repeat(start + np.cumsum(steps), markets)
    targets = generator.standard_t(5, (rows * markets, horizons)) * 0.01
    if returns is not None:
        targets[:, 0] = returns
    forecasts = skill * targets + generator.normal(0, 0.002, targets.shape)
    targets[generator.random(len(targets)) < missing, 0] = np.nan
    names = np.array(["A", "B", "C"], object)[:markets] if markets > 1 else np.array([""], object)
    return Judged(
        np.arange(rows * markets), times, np.tile(names, rows), forecasts.astype(np.float32), targets.astype(np.float32)
    )
