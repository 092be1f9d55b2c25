"""Targets: returns of the price 1..H steps ahead, from their own columns or from a price column."""

from __future__ import annotations

import numpy as np

from ..sources.schema import Schema
from ..sources.time_order import rows_by_market
from .gaps import find_gaps


def returns_ahead(prices: np.ndarray, horizons: int, *, segments: np.ndarray | None = None) -> np.ndarray:
    """Return y[t, i-1] = price[t+i] / price[t] - 1 clamped to [-1, 1], float32 (steps, horizons).

    NaN if either price is missing, infinite or not above zero, at the end, and between steps of different segments:
    int64 (steps,), numbers that rise after every gap.
    """
    prices = np.where(np.isfinite(prices) & (prices > 0), prices, np.nan).astype(np.float64)
    ahead = np.full((len(prices), horizons), np.nan)
    for step in range(1, min(horizons, len(prices) - 1) + 1):
        ahead[:-step, step - 1] = prices[step:] / prices[:-step] - 1
        if segments is not None:
            ahead[:-step, step - 1][segments[step:] != segments[:-step]] = np.nan
    return np.clip(ahead, -1, 1).astype(np.float32)


def make_targets(
    schema: Schema, numbers: np.ndarray, times: np.ndarray, places: np.ndarray, *, markets: np.ndarray | None = None
) -> np.ndarray:
    """Return float32 (usable rows, horizons) from target columns, or from prices (usable rows, 1); NaN where missing.

    times (int64 ns), places (see `places_of`) and markets (codes; None: all rows are of one) are those of the usable
    rows. A price belongs to its place: a rejected row between two others still counts as a step, but has no price. No
    return is taken across a gap or from one market to another.
    """
    if schema.target_source == "columns":
        return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))
    targets = np.full((len(numbers), schema.horizons), np.nan, np.float32)
    if schema.target_source == "price":
        for rows in market_rows(markets, len(numbers)):
            targets[rows] = _returns_of_one(numbers[rows, 0], schema.horizons, times[rows], places[rows])
    return targets


def _returns_of_one(prices: np.ndarray, horizons: int, times: np.ndarray, places: np.ndarray) -> np.ndarray:
    steps = int(places[-1]) + 1
    at_places, segments = np.full(steps, np.nan, np.float32), np.full(steps, -1, np.int64)
    at_places[places] = prices
    segments[places] = segments_of(times, places)
    return returns_ahead(at_places, horizons, segments=segments)[places]


def market_rows(markets: np.ndarray | None, rows: int) -> list[np.ndarray]:
    """Return the int64 rows of every market, as it first occurs; all rows where `markets` is None."""
    if markets is None:
        return [np.arange(rows)] if rows else []
    return [found for _, found in rows_by_market(markets)]


def segments_of(times: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return int64 (usable rows,): a number that rises by one after every gap."""
    segments = np.zeros(len(times), np.int64)
    segments[find_gaps(times, places).after + 1] = 1
    return np.cumsum(segments)


def label_ends(
    schema: Schema, times: np.ndarray, places: np.ndarray, *, target_step: int, markets: np.ndarray | None = None
) -> np.ndarray:
    """Return int64 ns (usable rows,): the time at which each row's last target is known.

    Targets in columns are `target_step` ns apart; those from prices end with the last row of the market within H steps
    that no gap separates from it.
    """
    if schema.target_source != "price":
        return times + schema.horizons * target_step
    ends = np.empty(len(times), np.int64)
    for rows in market_rows(markets, len(times)):
        segments = segments_of(times[rows], places[rows])
        last_of_segment = np.searchsorted(segments, segments, side="right") - 1
        within = np.searchsorted(places[rows], places[rows] + schema.horizons, side="right") - 1
        ends[rows] = times[rows][np.minimum(within, last_of_segment)]
    return ends


def known_targets(targets: np.ndarray, places: np.ndarray, *, markets: np.ndarray | None = None) -> np.ndarray:
    """Return targets (usable rows, horizons) from prices in these rows only, a fresh array.

    NaN if the price is in a later row.
    """
    known = targets.copy()
    steps = np.arange(1, targets.shape[1] + 1)
    for rows in market_rows(markets, len(places)):
        last = rows[-len(steps) :]
        known[last] = np.where(places[last][:, None] + steps > places[rows[-1]], np.nan, known[last])
    return known
