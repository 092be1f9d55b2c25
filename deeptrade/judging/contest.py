"""Several models on the same rows: which of them cannot be told from the best one?

Of models without skill, one always has the lowest error. The model confidence set (Hansen, Lunde and Nason 2011) holds,
with 95% confidence, the best model; models in it together cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..training.judged import Judged
from .resampling import LEAST_BLOCKS, RESAMPLES, block_length

_SIZE = 0.05


@dataclass(frozen=True)
class Contest:
    """Names of models by ascending error; `alike` are those that cannot be told from the best, `worse` the others.

    rows that all were judged on, from `begin` to `end` (ISO 8601).
    """

    alike: list[str]
    worse: list[str]
    rows: int
    begin: str
    end: str

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
    size of that horizon's targets.
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
    begin, end = (pd.Timestamp(int(time), tz="UTC").isoformat() for time in first.times[[0, -1]])
    return Contest(kept, [name for name in order if name not in kept], len(first.times), begin, end)


def _losses(one: Judged) -> pd.Series:
    """Return the loss at each time, NaN where no target is known."""
    with np.errstate(invalid="ignore"):
        size = np.nanmean(np.abs(one.targets), axis=0)
        relative = np.abs(one.targets - one.forecasts) / np.where(size > 0, size, np.nan)
    return pd.DataFrame(relative).mean(axis=1).groupby(one.times).mean()
