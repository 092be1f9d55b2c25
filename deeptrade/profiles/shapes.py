"""The shape of a channel: its histogram, and its path over time."""

from __future__ import annotations

import numpy as np

HISTOGRAM_EDGES = np.linspace(-5, 5, 41)
"""Bin edges in standard deviations from the mean; values beyond them count in the first and last bin."""

PATH_POINTS = 60
"""Most points of the path of a channel over time."""

_BINS = len(HISTOGRAM_EDGES) - 1


def count_scores(scores: np.ndarray, channels: np.ndarray, count: int) -> np.ndarray:
    """Return how many scores of each channel, from 0 to `count` - 1, lie in each bin, int64 (channels, bins)."""
    width = HISTOGRAM_EDGES[1] - HISTOGRAM_EDGES[0]
    bins = np.clip((scores - HISTOGRAM_EDGES[0]) // width, 0, _BINS - 1).astype(np.int64)
    return np.bincount(channels * _BINS + bins, minlength=count * _BINS).reshape(count, _BINS)


def path_of(sample: np.ndarray) -> list[list[float | None]]:
    """Return per channel the means over at most PATH_POINTS stretches of rows, to five digits.

    sample: float (rows, channels); a mean is None where no number is finite.
    """
    parts = np.array_split(sample.astype(np.float64), min(PATH_POINTS, max(1, len(sample))))
    known = [np.isfinite(part) for part in parts]
    sums = [np.where(finite, part, 0).sum(axis=0) for part, finite in zip(parts, known, strict=True)]
    counts = np.array([finite.sum(axis=0) for finite in known])
    means = np.array(sums) / np.maximum(counts, 1)
    return [
        [float(f"{mean:.5g}") if count else None for mean, count in zip(column, known_in, strict=True)]
        for column, known_in in zip(means.T, counts.T, strict=True)
    ]
