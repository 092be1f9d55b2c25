"""Whether skill holds over time: scores by month, and by how volatile the market was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..sources.time_order import rows_by_market

LEAST_ROWS = 30
"""Fewer rows of a period say nothing."""

REGIMES = ("calm", "usual", "wild")
_VOLATILITY_ROWS = 50
"""Rows whose mean size of the return one step ahead, each known by the next row, is the volatility of the row after."""


@dataclass(frozen=True)
class PeriodScore:
    """Scores of the rows of a period, such as '2026-03' or 'calm', at one horizon; None where not defined.

    spread: standard deviation of the forecasts as a share of that of the outcomes.
    """

    period: str
    horizon: int
    rows: int
    rank_ic: float | None
    mae_gain: float | None
    spread: float | None = None


def by_period(periods: np.ndarray, forecasts: np.ndarray, targets: np.ndarray) -> list[PeriodScore]:
    """Return the scores of every period and horizon; periods: text (rows,), '' for none; others (rows, horizons)."""
    found = []
    for period in sorted(set(periods.tolist()) - {""}):
        rows = periods == period
        for horizon in range(targets.shape[1]):
            f, y = forecasts[rows, horizon].astype(float), targets[rows, horizon].astype(float)
            known = np.isfinite(f) & np.isfinite(y)
            if known.sum() >= LEAST_ROWS:
                found.append(PeriodScore(period, horizon + 1, int(known.sum()), *_scores(f[known], y[known])))
    return found


def _scores(forecast: np.ndarray, target: np.ndarray) -> tuple[float | None, float | None, float | None]:
    from scipy.stats import spearmanr

    rank_ic = None
    if np.ptp(forecast) > 0 and np.ptp(target) > 0:
        rank_ic = float(spearmanr(forecast, target).statistic)
    zero, deviation = np.abs(target).sum(), target.std()
    gain = float(1 - np.abs(target - forecast).sum() / zero) if zero else None
    return rank_ic, gain, float(forecast.std() / deviation) if deviation else None


def information_ratios(scores: list[PeriodScore]) -> Iterator[tuple[int, float]]:
    """Yield (horizon, mean over standard deviation of the rank IC of its periods), for those with three periods."""
    for horizon in sorted({one.horizon for one in scores}):
        values = [one.rank_ic for one in scores if one.horizon == horizon and one.rank_ic is not None]
        if len(values) >= 3 and np.std(values, ddof=1) > 0:
            yield horizon, float(np.mean(values) / np.std(values, ddof=1))


def months(times: np.ndarray) -> np.ndarray:
    """Return the month of each time (int64 ns), such as '2026-03'."""
    return np.datetime_as_string(times.astype("datetime64[ns]"), unit="M")


def regimes(targets: np.ndarray, markets: np.ndarray) -> np.ndarray:
    """Return for each row, in order of time, which third of its market's rows its volatility is in: one of REGIMES.

    The volatility is known at the row: it comes from the returns one step ahead of earlier rows. '' for the first rows.
    """
    found = np.full(len(targets), "", object)
    for _, rows in rows_by_market(markets):
        sizes = np.nan_to_num(np.abs(targets[rows, 0].astype(float)))
        if len(rows) <= _VOLATILITY_ROWS + LEAST_ROWS:
            continue
        along = np.concatenate([[0.0], np.cumsum(sizes)])
        before = along[_VOLATILITY_ROWS:-1] - along[: -_VOLATILITY_ROWS - 1]
        third = np.searchsorted(np.quantile(before, (1 / 3, 2 / 3)), before)
        found[rows[_VOLATILITY_ROWS:]] = np.array(REGIMES, object)[third]
    return found.astype(str)
