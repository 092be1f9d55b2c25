"""What the market did over time: prices and volatility, of each market where rows name some."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..making.indicators import CLOSE
from ..times import iso_time
from .channel_names import are_klines

_POINTS = 300
_MOST_OTHERS = 5
"""Markets beside the first whose history is told, those with the most rows: more lines cannot be told apart."""


def describe_history(dataset: Dataset) -> dict[str, Any]:
    """Return {"history", "other_histories"}: of the first market, and of others where rows name several."""
    if not dataset.markets:
        return {"history": _of_market(dataset, ""), "other_histories": []}
    first, *others = dataset.markets
    longest = sorted(others, key=lambda market: -len(dataset.rows_of(market)))[:_MOST_OTHERS]
    return {
        "history": _of_market(dataset, first),
        "other_histories": [_of_market(dataset, market) for market in sorted(longest)],
    }


def _of_market(dataset: Dataset, market: str) -> dict[str, Any]:
    """Return the last price and the volatility of returns over time, of one market or, where rows name none, of all.

    `feature` is the one of klines whose closes are the prices, None where there is none; `volatility` the standard
    deviation of y_1. Each is by stretches of equally many rows, at most _POINTS; `times` are their middles.
    """
    rows = (dataset.rows_of(market) if market else dataset.usable).numbers()
    parts = np.array_split(rows, min(_POINTS, len(rows)))
    middles = np.array([part[len(part) // 2] for part in parts])
    returns = [dataset.read_targets(part)[:, 0].astype(np.float64) for part in parts]
    known = [values[np.isfinite(values)] for values in returns]
    found = {"market": market or None, "times": [iso_time(int(time)) for time in dataset.read_times(middles)]}
    feature, prices = _prices(dataset, middles)
    return found | {
        "feature": feature,
        "price": prices,
        "volatility": [float(values.std()) if len(values) > 1 else None for values in known],
    }


def _prices(dataset: Dataset, rows: np.ndarray) -> tuple[str | None, list[float | None]]:
    """Return the first feature of klines, and the last close in each of these rows."""
    for feature in dataset.schema.features:
        if feature.is_sequence and feature.channels > CLOSE:
            last = dataset.read(rows, [feature.name])[feature.name].reshape(len(rows), -1, feature.channels)[:, -1]
            if are_klines(last):
                return feature.name, [float(price) if np.isfinite(price) else None for price in last[:, CLOSE]]
    return None, []
