"""Several models on the same rows: which of them cannot be told from the best one, and has the best one any skill?

Of models without skill, one always has the lowest error. The model confidence set (Hansen, Lunde and Nason 2011) holds,
with 95% confidence, the best model; models in it together cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..times import iso_time
from ..training.judged import Judged
from .resampling import LEAST_BLOCKS, RESAMPLES, Blocks, block_length
from .scores import interval, score
from .verdict import Verdict, decide

_SIZE = 0.05


@dataclass(frozen=True)
class BesideBest:
    """A model's error, and how much higher it is than that of the best model, both as shares of zero's error.

    `low` and `high` bound the 95% interval of the difference, for this pair alone: of many intervals some miss by
    chance, so the model confidence set decides who is worse.
    """

    name: str
    error: float
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Contest:
    """Names of models by ascending error; `alike` are those that cannot be told from the best, `worse` the others.

    rows that all were judged on, from `begin` to `end` (ISO 8601). pairs: every model beside the best, in that order.
    """

    alike: list[str]
    worse: list[str]
    rows: int
    begin: str
    end: str
    pairs: list[BesideBest] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Return one sentence on who can be told apart."""
        basis = f"on the same {self.rows:,} rows, {self.begin[:10]} to {self.end[:10]} (model confidence set, 95%)"
        if not self.worse:
            return f"They cannot be told apart {basis}."
        if len(self.alike) == 1:
            return f"{self.alike[0]} is better than the others {basis}."
        return f"{', '.join(self.alike)} cannot be told apart, {', '.join(self.worse)} are worse {basis}."


def contest(judged: Mapping[str, Judged], *, seed: int = 0) -> Contest | None:
    """Return the contest of models by name; None for fewer than two, for too few rows, or for other rows of one.

    A model's loss at a step in time is the mean over rows and horizons of its absolute error, as a share of the mean
    size of that horizon's targets, which is the error of the forecast that is always zero.
    """
    first = next(iter(judged.values()), None)
    if first is None or len(judged) < 2 or any(not one.is_on_rows_of(first) for one in judged.values()):
        return None
    losses = pd.DataFrame({name: _losses(one) for name, one in judged.items()}).dropna()
    if losses.empty:
        return None
    order = losses.mean().sort_values(kind="stable").index.tolist()
    different = losses.T.drop_duplicates().T  # equal forecasts leave nothing to compare
    times = np.arange(len(losses))
    gaps = [(different[name] - different.iloc[:, 0]).to_numpy() for name in different.columns[1:]]
    length = block_length(gaps, times, overlap=first.targets.shape[1])
    if len(losses) < LEAST_BLOCKS * length:
        return None
    alike = set(different.columns.astype(str))
    if len(different.columns) > 1:
        from arch.bootstrap import MCS

        found = MCS(
            different, size=_SIZE, reps=RESAMPLES, block_size=length, method="max", bootstrap="circular", seed=seed
        )
        found.compute()
        alike = {str(name) for name in found.included}
    values = {tuple(different[name]) for name in alike}
    kept = [name for name in order if tuple(losses[name]) in values]
    begin, end = (iso_time(int(time)) for time in first.times[[0, -1]])
    pairs = _beside_best(losses[order], Blocks(times, length=length, seed=seed))
    return Contest(kept, [name for name in order if name not in kept], len(first.times), begin, end, pairs)


def relative_error(judged: Judged) -> float:
    """Return the mean loss of a model as a share of zero's: as `contest` measures it, NaN where no target is known."""
    return float(_losses(judged).mean())


def _losses(one: Judged) -> pd.Series:
    """Return the loss at each time, NaN where no target is known."""
    with np.errstate(invalid="ignore"):
        size = np.nanmean(np.abs(one.targets), axis=0)
        relative = np.abs(one.targets - one.forecasts) / np.where(size > 0, size, np.nan)
    return pd.DataFrame(relative).mean(axis=1).groupby(one.times).mean()


def _beside_best(losses: pd.DataFrame, blocks: Blocks) -> list[BesideBest]:
    """Return every model beside the first; losses: a row per step in time, a column per model, the best first."""
    differences = losses.sub(losses.iloc[:, 0], axis=0).to_numpy()
    sums = blocks.sums(np.column_stack([np.ones(len(losses)), differences]))
    means = sums[:, 1:] / sums[:, :1]
    return [
        BesideBest(str(name), float(losses[name].mean()), value or 0.0, low, high)
        for name, (value, low, high) in zip(losses, map(interval, means.T), strict=True)
    ]


def evidence_of_skill(judged: Judged, *, block_steps: int, trials: int, seed: int = 0) -> Verdict:
    """Return the verdict on forecasts that are the best of so many trials, as `judge` reaches it for a single run.

    block_steps: steps in time of a resampled block, as in the evaluation of the runs behind the forecasts.
    """
    forecasts, targets = (values.astype(np.float64) for values in (judged.forecasts, judged.targets))
    known = np.isfinite(targets).any(axis=1) & np.isfinite(forecasts).any(axis=1)
    _, resampled = score(
        forecasts,
        targets,
        {"zero": np.zeros_like(targets)},
        training_mean=np.zeros(targets.shape[1]),  # of r2_mean, which the verdict does not ask for
        blocks=Blocks(judged.times, length=block_steps, seed=seed),
        markets=judged.markets if any(judged.markets) else None,
    )
    begin, end = (iso_time(int(judged.times[at])) if len(judged.times) else "" for at in (0, -1))
    return decide(
        resampled["rank_ic"],
        resampled["mae_gain_zero"],
        rows=int(known.sum()),
        begin=begin,
        end=end,
        trials=trials,
    )
