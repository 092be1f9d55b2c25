"""Scores of forecasts by horizon and market, each with a 95% interval from resampled blocks of time.

What each metric is stands in METRICS. All of them are functions of sums over rows, so that one set of resamples gives
the intervals of all, and the joint tests in `verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..sources.time_order import rows_by_market
from .resampling import Blocks

LEVEL = 0.95
"""Nominal coverage of every interval."""

CALIBRATION_GROUPS = 5
"""Groups of forecasts by size, with nearly equal numbers of rows."""


@dataclass(frozen=True)
class Score:
    """One metric of one horizon (from 1), of a market or, where `market` is None, of all rows together.

    `low` and `high` bound its 95% interval, None where there are too few blocks of rows; `value` is None where the
    metric is not defined, such as a correlation with a constant.
    """

    horizon: int
    market: str | None
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_above(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high is not None and self.high < 0


Sums = Mapping[str, np.ndarray]
"""Sums over rows by name, float64 (1 + resamples,): over all rows, then over each resample."""


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), np.nan)


def _covariance(sums: Sums, one: str, other: str) -> np.ndarray:
    return sums[one + other] - sums[one] * sums[other] / np.maximum(sums["rows"], 1)


def _variance(sums: Sums, one: str) -> np.ndarray:
    variance, squares = _covariance(sums, one, one), sums[one + one]
    return np.where(variance > 1e-12 * squares, variance, 0.0)  # below, it is the rounding of a constant


def _correlation(sums: Sums, one: str, other: str) -> np.ndarray:
    return _ratio(_covariance(sums, one, other), np.sqrt(_variance(sums, one) * _variance(sums, other)))


METRICS: dict[str, Callable[[Sums], np.ndarray]] = {
    "mae": lambda s: _ratio(s["|e|"], s["rows"]),
    "zero_mae": lambda s: _ratio(s["|y|"], s["rows"]),
    "r2": lambda s: 1 - _ratio(s["ee"], s["yy"]),
    "r2_mean": lambda s: 1 - _ratio(s["ee"], s["mm"]),
    "ic": lambda s: _correlation(s, "f", "y"),
    "rank_ic": lambda s: _correlation(s, "p", "q"),
    "slope": lambda s: _ratio(_covariance(s, "f", "y"), _variance(s, "f")),
    "direction": lambda s: _ratio(s["right"], s["signed"]),
    "base_rate": lambda s: np.maximum(_ratio(s["up"], s["signed"]), 1 - _ratio(s["up"], s["signed"])),
    "direction_gain": lambda s: METRICS["direction"](s) - METRICS["base_rate"](s),
}
"""Metrics of forecasts f of targets y, with errors e = y - f:

mae, zero_mae: the mean of |e|, and of |y|, which is that of the forecast 0. r2, r2_mean: 1 less the squared errors over
those of the forecast 0, or of the training mean. ic: Pearson's correlation of forecast and target, rank_ic: Spearman's
(ranks within each market). slope: of target on forecast, 1 where forecasts have the right size. direction: the share of
right signs where neither is 0; base_rate: that of the sign that is more frequent; direction_gain: their difference.
`mae_gain_NAME` is how much lower the model's MAE is than that of another forecast, as a share of the latter."""


def score(
    forecasts: np.ndarray,
    targets: np.ndarray,
    others: Mapping[str, np.ndarray],
    *,
    training_mean: np.ndarray,
    blocks: Blocks,
    market: str | None = None,
    markets: np.ndarray | None = None,
) -> tuple[list[Score], dict[str, np.ndarray]]:
    """Return the scores of rows in order of time, and by metric the values over resamples.

    forecasts, targets and each of `others`: float (rows, horizons), NaN where not known; `training_mean`: likewise,
    or (horizons,).
    blocks: of these rows. markets: their names, for ranks within each; None for one market. The values are
    float64 (1 + resamples, horizons), those of all rows first.
    """
    found: list[Score] = []
    resampled: dict[str, list[np.ndarray]] = {}
    for horizon in range(targets.shape[1]):
        columns = dict(
            _columns(
                forecasts[:, horizon].astype(np.float64),
                targets[:, horizon].astype(np.float64),
                {name: other[:, horizon].astype(np.float64) for name, other in others.items()},
                mean=np.broadcast_to(training_mean, targets.shape)[:, horizon].astype(np.float64),
                markets=markets,
            )
        )
        table = blocks.sums(np.stack(list(columns.values()), axis=1))
        sums = dict(zip(columns, table.T, strict=True))
        metrics = {name: metric(sums) for name, metric in METRICS.items()}
        for name in others:
            metrics[f"mae_gain_{name}"] = 1 - _ratio(sums[f"|e| {name}"], sums[f"|o| {name}"])
        for name, values in metrics.items():
            resampled.setdefault(name, []).append(values)
            found.append(Score(horizon + 1, market, name, *interval(values)))
    return found, {name: np.stack(values, axis=1) for name, values in resampled.items()}


def interval(values: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Return (value, low, high) from the value over all rows and those over resamples, float64 (1 + resamples,)."""
    value = float(values[0])
    if not np.isfinite(value):
        return None, None, None
    known = values[1:][np.isfinite(values[1:])]
    if not len(known):
        return value, None, None
    low, high = np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return value, min(value, float(low)), max(value, float(high))


def _columns(
    forecast: np.ndarray,
    target: np.ndarray,
    others: Mapping[str, np.ndarray],
    *,
    mean: np.ndarray,
    markets: np.ndarray | None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what is summed over rows, by name, float64 (rows,); rows that do not count are 0."""
    known = np.isfinite(forecast) & np.isfinite(target)
    f, y = np.where(known, forecast, 0.0), np.where(known, target, 0.0)
    p, q = (_ranks(values, known, markets) for values in (f, y))
    signed = known & (f != 0) & (y != 0)
    yield "rows", known.astype(np.float64)
    yield "|e|", np.abs(y - f)
    yield "|y|", np.abs(y)
    yield "ee", (y - f) ** 2
    yield "mm", np.where(known, (y - mean) ** 2, 0.0)
    for one, other, names in ((f, y, "fy"), (p, q, "pq")):
        yield names[0], one
        yield names[1], other
        yield 2 * names[0], one**2
        yield 2 * names[1], other**2
        yield names, one * other
    yield "signed", signed.astype(np.float64)
    yield "right", (signed & (np.sign(f) == np.sign(y))).astype(np.float64)
    yield "up", (signed & (y > 0)).astype(np.float64)
    for name, values in others.items():
        both = known & np.isfinite(values)
        yield f"|e| {name}", np.where(both, np.abs(y - f), 0.0)
        yield f"|o| {name}", np.where(both, np.abs(y - np.where(both, values, 0.0)), 0.0)


def _ranks(values: np.ndarray, known: np.ndarray, markets: np.ndarray | None) -> np.ndarray:
    """Return the ranks of the known values within each market, scaled to [-0.5, 0.5]; equal values share their mean
    rank; 0 for the others."""
    from scipy.stats import rankdata

    ranks = np.zeros(len(values))
    rows = np.flatnonzero(known)
    groups = [rows] if markets is None else [rows[some] for _, some in rows_by_market(markets[rows])]
    for group in groups:
        ranks[group] = (rankdata(values[group]) - 0.5) / len(group) - 0.5
    return ranks


def groups_by_size(forecasts: np.ndarray, targets: np.ndarray) -> list[tuple[float, float]]:
    """Return (mean forecast, mean target) of CALIBRATION_GROUPS groups of rows in ascending order of their forecast."""
    known = np.isfinite(forecasts) & np.isfinite(targets)
    forecasts, targets = forecasts[known].astype(float), targets[known].astype(float)
    if len(forecasts) < CALIBRATION_GROUPS:
        return []
    groups = np.array_split(np.argsort(forecasts, kind="stable"), CALIBRATION_GROUPS)
    return [(float(forecasts[group].mean()), float(targets[group].mean())) for group in groups]
