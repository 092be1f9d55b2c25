"""Targets: returns of the price 1..H steps ahead, from their own columns or from a price column."""

from __future__ import annotations

import numpy as np

from ..sources.schema import Schema
from .row_range import RowRange


def returns_ahead(prices: np.ndarray, horizons: int) -> np.ndarray:
    """Return y[t, i-1] = price[t+i] / price[t] - 1 clamped to [-1, 1], float32 (rows, horizons).

    NaN if either price is missing, infinite or not above zero, and at the end.
    """
    prices = np.where(np.isfinite(prices) & (prices > 0), prices, np.nan).astype(np.float64)
    ahead = np.full((len(prices), horizons), np.nan)
    for step in range(1, min(horizons, len(prices) - 1) + 1):
        ahead[:-step, step - 1] = prices[step:] / prices[:-step] - 1
    return np.clip(ahead, -1, 1).astype(np.float32)


def make_targets(schema: Schema, numbers: np.ndarray, usable: RowRange) -> np.ndarray:
    """Return float32 (usable rows, horizons) from target columns, or from prices (usable rows, 1); NaN where missing.

    A price belongs to its row: a rejected row between two others still counts as a step, but has no price.
    """
    if schema.target_source == "columns":
        return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))
    prices = np.full(usable.stop, np.nan, np.float32)
    prices[usable.numbers()] = numbers[:, 0]
    return returns_ahead(prices, schema.horizons)[usable.numbers()]


def known_targets(targets: np.ndarray, usable: RowRange) -> np.ndarray:
    """Return targets (usable rows, horizons) from prices in rows before `usable.stop` only, a fresh array.

    NaN if the price is in a later row.
    """
    known = targets.copy()
    last = usable.numbers(max(0, len(usable) - targets.shape[1]))
    steps = np.arange(1, targets.shape[1] + 1)
    known[len(usable) - len(last) :][last[:, None] + steps >= usable.stop] = np.nan
    return known
