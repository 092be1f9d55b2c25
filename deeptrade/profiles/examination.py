"""Examine rows in one pass: missing numbers, outliers, stretches without change, overlap, drift, correlations.

Neighbouring rows share most of their windows, so only a row's last step is new: distributions, stretches and
correlations use that step. Rows are read in chunks, and only a sample of them is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..sources.schema import Feature
from ..sources.statistics import FeatureStatistics

HISTOGRAM_EDGES = np.linspace(-5, 5, 41)
"""Bin edges in standard deviations from the mean; values beyond them count in the first and last bin."""

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

    `histogram` (bins,) counts last steps of all channels between HISTOGRAM_EDGES, `outlier_share` is relative to all of
    them; `nonfinite_by_step` (steps,) and `nonfinite_by_channel` count over all rows; `longest_still` is the longest
    run of rows with the same last step, `longest_still_rows` with the same in all channels; `zero_share` and
    `longest_zero` concern last steps that are 0; `drift` is the mean of the last tenth less that of the first, in
    standard deviations; `shared_steps`, how many steps of a window the next row repeats (None where windows do not
    overlap); `correlation`, the largest in size between a last step and a target, with `correlated_channel` and
    `correlated_horizon` from 0 (None where not known).
    """

    histogram: list[int]
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


def examine(dataset: Dataset) -> dict[str, FeatureExamination]:
    """Return the findings of one pass over all usable rows, by feature."""
    features = dataset.schema.features
    statistics = dataset.statistics(dataset.usable)
    passes = {feature.name: _Pass(feature, statistics[feature.name]) for feature in features}
    every = max(1, -(-len(dataset.usable) // SAMPLE_ROWS))
    chunk = max(1, _CHUNK_BYTES // max(1, dataset.schema.row_bytes))
    for start in range(0, len(dataset.usable), chunk):
        rows = dataset.usable.numbers(start, min(start + chunk, len(dataset.usable)))
        for name, values in dataset.read(rows).items():
            passes[name].add(values, sampled=np.arange(-start % every, len(rows), every))
    targets = dataset.read_targets(dataset.usable.numbers()[::every])
    parts = dataset.usable.parts(max(1, min(10, len(dataset.usable))))
    first, last = (dataset.statistics(part) for part in (parts[0], parts[-1]))
    return {
        feature.name: passes[feature.name].result(
            targets,
            drift=_drift(first[feature.name], last[feature.name], statistics[feature.name]),
            shared_steps=_shared_steps(dataset, feature),
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


class _Pass:
    """Count what one feature holds, chunk by chunk."""

    def __init__(self, feature: Feature, statistics: FeatureStatistics):
        self._steps, self._channels = (feature.shape[0] if feature.is_sequence else 1), feature.channels
        self._mean = statistics.mean.astype(np.float64)
        self._std = np.where(statistics.std > 0, statistics.std, 1).astype(np.float64)
        self._histogram = np.zeros(len(HISTOGRAM_EDGES) - 1, np.int64)
        self._outliers = self._known = self._rows = 0
        self._nonfinite = np.zeros((self._steps, self._channels), np.int64)
        self._zeros = np.zeros(self._channels, np.int64)
        self._still, self._zero, self._all_still = _Stretch(self._channels), _Stretch(self._channels), _Stretch(1)
        self._before = np.full(self._channels, np.nan, np.float32)
        self._sample: list[np.ndarray] = []

    def add(self, values: np.ndarray, *, sampled: np.ndarray) -> None:
        """Add the next rows in file order, float32 (rows, *shape); keep those with the indices `sampled`."""
        rows = values.reshape(len(values), self._steps, self._channels)
        self._nonfinite += (~np.isfinite(rows)).sum(axis=0)
        last = rows[:, -1]
        scores = ((last - self._mean) / self._std)[np.isfinite(last)]
        self._histogram += np.histogram(np.clip(scores, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), HISTOGRAM_EDGES)[0]
        self._outliers += int((np.abs(scores) > OUTLIER).sum())
        self._known += len(scores)
        self._rows += len(rows)
        same = last == np.concatenate([self._before[None], last[:-1]])
        self._still.add(same)
        self._all_still.add(same.all(axis=1, keepdims=True))
        self._zero.add(last == 0)
        self._zeros += (last == 0).sum(axis=0)
        self._before = last[-1].copy()
        self._sample.append(last[sampled].copy())

    def result(self, targets: np.ndarray, *, drift: list[float], shared_steps: int | None) -> FeatureExamination:
        correlation = _largest_correlation(np.concatenate(self._sample), targets)
        size, channel, horizon = correlation or (None, None, None)
        return FeatureExamination(
            histogram=self._histogram.tolist(),
            outlier_share=self._outliers / max(1, self._known),
            nonfinite_by_step=self._nonfinite.sum(axis=1).tolist(),
            nonfinite_by_channel=self._nonfinite.sum(axis=0).tolist(),
            longest_still=(self._still.longest + 1).tolist(),
            longest_still_rows=int(self._all_still.longest[0]) + 1,
            zero_share=(self._zeros / max(1, self._rows)).tolist(),
            longest_zero=self._zero.longest.tolist(),
            drift=drift,
            shared_steps=shared_steps,
            correlation=size,
            correlated_channel=channel,
            correlated_horizon=horizon,
        )


def _drift(first: FeatureStatistics, last: FeatureStatistics, whole: FeatureStatistics) -> list[float]:
    scale = np.where(whole.std > 0, whole.std, 1)
    return ((last.mean - first.mean) / scale).astype(float).tolist()


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


def _shared_steps(dataset: Dataset, feature: Feature) -> int | None:
    """Return the median number of steps that a window shares with the next; None where windows do not overlap."""
    rows = len(dataset.usable)
    if not feature.is_sequence or rows < 2:
        return None
    starts = np.unique(np.linspace(0, rows - 2, min(_PAIRS, rows - 1)).astype(np.int64))
    pairs = (dataset.usable.at(positions) for positions in (starts, starts + 1))
    before, after = (dataset.read(numbers, [feature.name])[feature.name] for numbers in pairs)
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

    `independent_rows` is n / (1 + 2 sum over lags below the horizon of (1 - lag/n) autocorrelation), the effective
    sample size of a mean (Bayley and Hammersley 1946): returns over h steps, taken at every step, share h - 1 of them.
    """

    lags: list[int]
    autocorrelation: list[float]
    independent_rows: float


def examine_targets(targets: np.ndarray) -> list[TargetExamination]:
    """Return the autocorrelation of float32 (rows, horizons) in file order; pairs with a NaN are left out."""
    rows, horizons = targets.shape
    lags = [lag for lag in range(1, max(10, horizons) + 1) if lag < rows - 1]
    standard, all_known = _standardized(targets)
    found = []
    for horizon in range(horizons):
        values, known = standard[:, horizon], all_known[:, horizon]
        count = int(known.sum())
        correlation = [
            float(values[:-lag] @ values[lag:] / max(1, int((known[:-lag] & known[lag:]).sum()))) for lag in lags
        ]
        overlap = sum((1 - lag / rows) * r for lag, r in zip(lags, correlation, strict=True) if lag <= horizon)
        found.append(TargetExamination(lags, correlation, min(count, count / max(1e-9, 1 + 2 * overlap))))
    return found
