"""Mergeable statistics of features: exact over any set of rows, in one pass and constant memory.

Moments are kept per channel: the last axes of a sequence with time pooled, or the elements of a vector. Means and
squared deviations merge by the rule of Chan, Golub and LeVeque (1983), row after row in file order, so the
result does not depend on how the rows were cut into chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from .schema import Feature

_COUNT, _MEAN, _SQUARES, _MINIMUM, _MAXIMUM = range(5)


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics per channel, float32 (channels,), of finite numbers only; a channel without any has mean 0.

    `std` is the population standard deviation. `relative_std`, for sequences only, is the root mean square of
    r = (x[t] - x[last]) / mean over t of |x|: each window relative to its own last step, so that the
    price level does not hide the returns. Windows with a non-finite number, or all zero, do not count in it. `known`,
    int64, counts the finite numbers.
    """

    mean: np.ndarray
    std: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    known: np.ndarray
    relative_std: np.ndarray | None = None


class Moments:
    """Running moments of one feature; `add` takes rows in file order, `merge` the moments of later rows."""

    def __init__(self, feature: Feature):
        self._steps, self._channels = (feature.shape[0] if feature.is_sequence else 1), feature.channels
        self._values = _empty_table(feature.channels)
        self._relative = _empty_table(feature.channels if feature.is_sequence else 0)

    def add(self, values: np.ndarray) -> None:
        """Count rows of float32 (rows, *shape)."""
        rows = values.reshape(len(values), self._steps, self._channels)
        _add_rows(rows, self._values, self._relative)

    def merge(self, later: Moments) -> None:
        """Count the rows that `later` has counted, after those counted here."""
        for mine, other in ((self._values, later._values), (self._relative, later._relative)):
            _merge_tables(mine, other)

    @staticmethod
    def width(feature: Feature) -> int:
        """Return how many numbers the moments of a feature take."""
        return 5 * feature.channels * (2 if feature.is_sequence else 1)

    def numbers(self) -> np.ndarray:
        """Return the moments as float64 (width,), for `from_numbers`."""
        return np.concatenate([self._values.ravel(), self._relative.ravel()])

    @classmethod
    def from_numbers(cls, feature: Feature, numbers: np.ndarray) -> Moments:
        """Return the moments from what `numbers` returned."""
        moments = cls(feature)
        values, relative = moments._values, moments._relative
        values.ravel()[:] = numbers[: values.size]
        relative.ravel()[:] = numbers[values.size :]
        return moments

    def result(self) -> FeatureStatistics:
        """Return the statistics of the rows counted so far."""
        count, mean, squares, minimum, maximum = self._values
        some = count > 0
        relative_std = None
        if self._relative.shape[1]:
            total, center, spread = self._relative[:3]
            relative_std = np.sqrt(spread / np.maximum(total, 1) + center**2).astype(np.float32)
        return FeatureStatistics(
            mean=mean.astype(np.float32),
            std=np.sqrt(squares / np.maximum(count, 1)).astype(np.float32),
            minimum=np.where(some, minimum, 0).astype(np.float32),
            maximum=np.where(some, maximum, 0).astype(np.float32),
            relative_std=relative_std,
            known=count.astype(np.int64),
        )


def _empty_table(channels: int) -> np.ndarray:
    table = np.zeros((5, channels))
    table[_MINIMUM], table[_MAXIMUM] = np.inf, -np.inf
    return table


def merge_all(feature: Feature, parts: list[Moments]) -> FeatureStatistics:
    """Return the statistics over all parts, given in file order."""
    total = Moments(feature)
    for part in parts:
        total.merge(part)
    return total.result()


@njit(nogil=True, cache=True)
def _merge_one(table: np.ndarray, channel: int, count: float, mean: float, squares: float) -> None:
    if count == 0:
        return
    before = table[_COUNT, channel]
    total = before + count
    shift = mean - table[_MEAN, channel]
    table[_MEAN, channel] += shift * count / total
    table[_SQUARES, channel] += squares + shift * shift * before * count / total
    table[_COUNT, channel] = total


@njit(nogil=True, cache=True)
def _merge_tables(table: np.ndarray, other: np.ndarray) -> None:
    for channel in range(table.shape[1]):
        _merge_one(table, channel, other[_COUNT, channel], other[_MEAN, channel], other[_SQUARES, channel])
        table[_MINIMUM, channel] = min(table[_MINIMUM, channel], other[_MINIMUM, channel])
        table[_MAXIMUM, channel] = max(table[_MAXIMUM, channel], other[_MAXIMUM, channel])


@njit(nogil=True, cache=True)
def _add_rows(rows: np.ndarray, table: np.ndarray, relative: np.ndarray) -> None:
    """Count float32 (rows, steps, channels) in `table` and, where it has channels, in `relative`."""
    steps, channels = rows.shape[1], rows.shape[2]
    count, total, size, squares = np.empty(channels), np.empty(channels), np.empty(channels), np.empty(channels)
    for row in range(rows.shape[0]):
        count[:] = 0.0
        total[:] = 0.0
        size[:] = 0.0
        squares[:] = 0.0
        for step in range(steps):
            for channel in range(channels):
                value = np.float64(rows[row, step, channel])
                if np.isfinite(value):
                    count[channel] += 1
                    total[channel] += value
                    size[channel] += abs(value)
                    table[_MINIMUM, channel] = min(table[_MINIMUM, channel], value)
                    table[_MAXIMUM, channel] = max(table[_MAXIMUM, channel], value)
        total /= np.maximum(count, 1.0)
        for step in range(steps):
            for channel in range(channels):
                value = np.float64(rows[row, step, channel])
                if np.isfinite(value):
                    squares[channel] += (value - total[channel]) ** 2
        for channel in range(channels):
            _merge_one(table, channel, count[channel], total[channel], squares[channel])
            scale = size[channel] / steps
            if relative.shape[1] and count[channel] == steps and scale > 0:
                # The mean and spread of r follow from those of x: r is x shifted and scaled.
                last = np.float64(rows[row, steps - 1, channel])
                center = (total[channel] - last) / scale
                _merge_one(relative, channel, steps, center, squares[channel] / scale**2)
