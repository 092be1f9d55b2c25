"""Examine rows in one pass: missing numbers, outliers, stretches without change, overlap, drift, correlations.

Neighbouring rows share most of their windows, so only a row's last step is new: distributions, stretches and
correlations use that step. A row's neighbour is the next row of its market. Rows are read in chunks, and only a sample
of them is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..sources.schema import Feature
from ..sources.statistics import FeatureStatistics
from ..sources.time_order import rows_by_market
from ..store.row_range import RowRange
from .channel_names import channel_names
from .shapes import HISTOGRAM_EDGES, count_scores, path_of

OUTLIER = 8.0
"""Standard deviations from the mean beyond which a last step is an outlier."""

SAMPLE_ROWS = 20_000
"""Evenly spaced rows whose last steps and targets are kept for correlations: 16 MB with 200 channels."""

_CHUNK_BYTES = 16 << 20
_PAIRS = 100
"""Pairs of neighbouring rows whose windows are compared."""


@dataclass(frozen=True)
class FeatureExamination:
    """What the pass found in one feature; lists are by channel unless stated otherwise.

    `names` of the channels, [] where not known. `histograms` (channels, bins) count last steps between
    HISTOGRAM_EDGES, `histogram` (bins,) those of all channels; `path` (channels, at most PATH_POINTS) holds means
    of last steps over stretches of equally many sampled rows, None where none is finite. `outlier_share` is
    relative to all last steps; `nonfinite_by_step` (steps,) and `nonfinite_by_channel` count over all rows;
    `longest_still` is the longest run of rows with the same last step, `longest_still_rows` with the same in all
    channels; `zero_share` and `longest_zero` concern last steps that are 0; `drift` is the mean of the last tenth
    less that of the first, in standard deviations, 0 where one of them has no finite number; `shared_steps`, how
    many steps of a window the next row repeats (None if windows do not overlap); `correlation`, the largest in size
    between a last step and a target, with `correlated_channel` and `correlated_horizon` from 0 (None where not
    known).
    """

    names: list[str]
    histogram: list[int]
    histograms: list[list[int]]
    path: list[list[float | None]]
    outlier_share: float
    nonfinite_by_step: list[int]
    nonfinite_by_channel: list[int]
    longest_still: list[int]
    longest_still_rows: int
    zero_share: list[float]
    longest_zero: list[int]
    drift: list[float]
    shared_steps: int | None
    correlation: float | None
    correlated_channel: int | None
    correlated_horizon: int | None


def examine(
    dataset: Dataset, rows: RowRange, statistics: dict[str, FeatureStatistics]
) -> dict[str, FeatureExamination]:
    """Return the findings of one pass over these rows, by feature; `statistics` are theirs."""
    features = dataset.schema.features
    passes = {feature.name: _Pass(feature, statistics[feature.name]) for feature in features}
    every = max(1, -(-len(rows) // SAMPLE_ROWS))
    chunk = max(1, _CHUNK_BYTES // max(1, dataset.schema.row_bytes))
    for start in range(0, len(rows), chunk):
        some = rows.numbers(start, min(start + chunk, len(rows)))
        by_market = list(rows_by_market(dataset.read_markets(some)))
        for name, values in dataset.read(some).items():
            passes[name].add(values, by_market, sampled=np.arange(-start % every, len(some), every))
    targets = dataset.read_targets(rows.numbers()[::every])
    tenth = max(1, round(len(rows) / 10))
    first, last = (dataset.statistics(rows.part(at, at + tenth)) for at in (0, len(rows) - tenth))
    pairs = _neighbours(dataset, rows)
    return {
        feature.name: passes[feature.name].result(
            targets,
            drift=_drift(first[feature.name], last[feature.name], statistics[feature.name]),
            shared_steps=_shared_steps(dataset, feature, *pairs),
        )
        for feature in features
    }


class _Stretch:
    """Find the longest run of True per column over rows that arrive in chunks."""

    def __init__(self, columns: int):
        self._running, self.longest = np.zeros(columns, np.int64), np.zeros(columns, np.int64)

    def add(self, flags: np.ndarray) -> None:
        """Add the next rows, bool (rows, columns)."""
        number = np.arange(1, len(flags) + 1)[:, None]
        last_break = np.maximum.accumulate(np.where(flags, 0, number), axis=0)
        lengths = number - last_break + np.where(last_break == 0, self._running, 0)
        self.longest = np.maximum(self.longest, lengths.max(axis=0))
        self._running = lengths[-1]


class _Stretches:
    """Find the longest stretches in which last steps of one market stay the same or are 0."""

    def __init__(self, channels: int):
        self.still, self.zero, self.all_still = _Stretch(channels), _Stretch(channels), _Stretch(1)
        self._before = np.full(channels, np.nan, np.float32)

    def add(self, last: np.ndarray) -> None:
        """Add the next last steps, float32 (rows, channels)."""
        same = last == np.concatenate([self._before[None], last[:-1]])
        self.still.add(same)
        self.all_still.add(same.all(axis=1, keepdims=True))
        self.zero.add(last == 0)
        self._before = last[-1].copy()


class _Pass:
    """Count what one feature holds, chunk by chunk."""

    def __init__(self, feature: Feature, statistics: FeatureStatistics):
        self._feature, self._statistics = feature, statistics
        self._steps, self._channels = (feature.shape[0] if feature.is_sequence else 1), feature.channels
        self._mean = statistics.mean.astype(np.float64)
        self._std = np.where(statistics.std > 0, statistics.std, 1).astype(np.float64)
        self._histograms = np.zeros((self._channels, len(HISTOGRAM_EDGES) - 1), np.int64)
        self._outliers = self._known = self._rows = 0
        self._nonfinite = np.zeros((self._steps, self._channels), np.int64)
        self._zeros = np.zeros(self._channels, np.int64)
        self._stretches: dict[str, _Stretches] = {}
        self._sample: list[np.ndarray] = []

    def add(self, values: np.ndarray, by_market: list[tuple[str, np.ndarray]], *, sampled: np.ndarray) -> None:
        """Add the next rows, float32 (rows, *shape), with the indices of each market's; keep the `sampled` indices."""
        rows = values.reshape(len(values), self._steps, self._channels)
        self._nonfinite += (~np.isfinite(rows)).sum(axis=0)
        last = rows[:, -1]
        known = np.isfinite(last)
        scores = ((last - self._mean) / self._std)[known]
        self._histograms += count_scores(scores, np.nonzero(known)[1], self._channels)
        self._outliers += int((np.abs(scores) > OUTLIER).sum())
        self._known += len(scores)
        self._rows += len(rows)
        self._zeros += (last == 0).sum(axis=0)
        for market, some in by_market:
            self._stretches.setdefault(market, _Stretches(self._channels)).add(last[some])
        self._sample.append(last[sampled].copy())

    def result(self, targets: np.ndarray, *, drift: list[float], shared_steps: int | None) -> FeatureExamination:
        sample = np.concatenate(self._sample)
        correlation = _largest_correlation(sample, targets)
        size, channel, horizon = correlation or (None, None, None)
        stretches = self._stretches.values()
        return FeatureExamination(
            names=channel_names(self._feature, self._statistics, sample),
            histogram=self._histograms.sum(axis=0).tolist(),
            histograms=self._histograms.tolist(),
            path=path_of(sample),
            outlier_share=self._outliers / max(1, self._known),
            nonfinite_by_step=self._nonfinite.sum(axis=1).tolist(),
            nonfinite_by_channel=self._nonfinite.sum(axis=0).tolist(),
            longest_still=(np.max([one.still.longest for one in stretches], axis=0) + 1).tolist(),
            longest_still_rows=max(int(one.all_still.longest[0]) for one in stretches) + 1,
            zero_share=(self._zeros / max(1, self._rows)).tolist(),
            longest_zero=np.max([one.zero.longest for one in stretches], axis=0).tolist(),
            drift=drift,
            shared_steps=shared_steps,
            correlation=size,
            correlated_channel=channel,
            correlated_horizon=horizon,
        )


def _drift(first: FeatureStatistics, last: FeatureStatistics, whole: FeatureStatistics) -> list[float]:
    scale = np.where(whole.std > 0, whole.std, 1)
    both_known = (first.known > 0) & (last.known > 0)
    return np.where(both_known, (last.mean - first.mean) / scale, 0).astype(float).tolist()


def _largest_correlation(values: np.ndarray, targets: np.ndarray) -> tuple[float, int, int] | None:
    """Return the (correlation, channel, horizon) of largest size between (rows, channels) and (rows, horizons)."""
    (x, x_known), (y, y_known) = (_standardized(part) for part in (values, targets))
    pairs = x_known.astype(np.float64).T @ y_known.astype(np.float64)
    if not (pairs > 2).any():
        return None
    correlations = np.where(pairs > 2, x.T @ y / np.maximum(pairs, 1), 0)
    channel, horizon = np.unravel_index(np.abs(correlations).argmax(), correlations.shape)
    return float(np.clip(correlations[channel, horizon], -1, 1)), int(channel), int(horizon)


def _standardized(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return columns in float64 with mean 0 and deviation 1, 0 where missing or constant; and a mask of the known."""
    known = np.isfinite(columns)
    counts = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, columns, 0).astype(np.float64)
    centered = np.where(known, values - values.sum(axis=0) / counts, 0)
    deviation = np.sqrt((centered**2).sum(axis=0) / counts)
    return centered / np.where(deviation > 0, deviation, np.inf), known


def _neighbours(dataset: Dataset, rows: RowRange) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 numbers of some evenly spaced rows and of the next row of the same market after each."""
    numbers = rows.numbers()
    by_market = [numbers[some] for _, some in rows_by_market(dataset.read_markets(numbers))]
    before, after = (np.concatenate([some[part] for some in by_market]) for part in (slice(-1), slice(1, None)))
    chosen = np.unique(np.linspace(0, len(before) - 1, min(_PAIRS, len(before))).astype(np.int64))
    return before[chosen], after[chosen]


def _shared_steps(dataset: Dataset, feature: Feature, rows: np.ndarray, next_rows: np.ndarray) -> int | None:
    """Return the median number of steps that a window shares with the next; None where windows do not overlap."""
    if not feature.is_sequence or not len(rows):
        return None
    before, after = (dataset.read(numbers, [feature.name])[feature.name] for numbers in (rows, next_rows))
    shared = [_overlap(one, other) for one, other in zip(before, after, strict=True)]
    middle = int(np.median(shared))
    return middle or None


def _overlap(before: np.ndarray, after: np.ndarray) -> int:
    """Return how many steps at the end of the earlier window start the later one; 0 where there are none."""
    steps = len(before)
    for shift in range(steps):
        if np.array_equal(before[shift:], after[: steps - shift], equal_nan=True):
            return steps - shift
    return 0


@dataclass(frozen=True)
class TargetExamination:
    """How the targets of a horizon depend on earlier ones: autocorrelation by lag, and the effective number of rows.

    `autocorrelation` is between rows of one market, `lags` rows of that market apart. `independent_rows` is the
    effective sample size of a mean (Bayley and Hammersley 1946): n² over the sum of the correlations of all pairs of
    rows less than the horizon apart. Returns over h steps, taken at every step, share h - 1 of them with the next, and
    markets move together.
    """

    lags: list[int]
    autocorrelation: list[float]
    independent_rows: float


def examine_targets(targets: np.ndarray, by_market: list[np.ndarray], times: np.ndarray) -> list[TargetExamination]:
    """Return the findings by horizon; pairs with a NaN are left out.

    targets: float32 (rows, horizons), in order of time; by_market: the positions of each market's rows; times: (rows,).
    """
    longest = max(len(rows) for rows in by_market)
    lags = [lag for lag in range(1, max(10, targets.shape[1]) + 1) if lag < longest - 1]
    standard, all_known = _standardized(targets)
    step_of_row = np.unique(times, return_inverse=True)[1]
    found = []
    for horizon in range(targets.shape[1]):
        values, known = standard[:, horizon], all_known[:, horizon]
        products, pairs = np.zeros(len(lags)), np.zeros(len(lags), np.int64)
        for rows in by_market:
            for at, lag in enumerate(lags):
                products[at] += values[rows[:-lag]] @ values[rows[lag:]]
                pairs[at] += int((known[rows[:-lag]] & known[rows[lag:]]).sum())
        correlation = (products / np.maximum(1, pairs)).tolist()
        count = int(known.sum())
        alike = _pairs_alike(np.bincount(step_of_row, weights=values), horizon) if count else 1.0
        found.append(TargetExamination(lags, correlation, min(count, count**2 / max(1e-9, alike))))
    return found


def _pairs_alike(sums: np.ndarray, most_steps: int) -> float:
    """Return the sum of z_i z_j over all pairs of rows at most `most_steps` apart, from the sum of z at each step."""
    after = (sums[:-lag] @ sums[lag:] for lag in range(1, min(most_steps, len(sums) - 1) + 1))
    return float(sums @ sums + 2 * sum(after))
