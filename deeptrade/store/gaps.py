"""Gaps: where rows are missing in time, so that no return may be taken across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ON_GRID, _SHARE_ON_GRID = 0.01, 0.9
"""Steps within 1% of the usual one lie on a grid; times are on a grid if nine in ten steps are."""

_MISSING_ON_GRID, _MISSING_OFF_GRID = 0.5, 10.0
"""On a grid, a step more than half a usual step too long misses a row. Off a grid, where steps differ, one of more than
ten usual steps does."""


@dataclass(frozen=True)
class Gaps:
    """The time between rows. step: ns, the median over neighbours, 0 for fewer than two rows. after: int64, the
    positions of the usable rows that a gap follows."""

    step: float
    is_grid: bool
    after: np.ndarray


def find_gaps(times: np.ndarray, places: np.ndarray) -> Gaps:
    """Return the gaps between usable rows at ascending times (int64 ns) and places (see `places_of`), both (rows,)."""
    if len(times) < 2:
        return Gaps(0.0, False, np.empty(0, np.int64))
    elapsed, apart = np.diff(times), np.diff(places)
    step = float(np.median(elapsed / apart))
    expected = apart * step
    is_grid = bool(np.mean(np.abs(elapsed - expected) <= _ON_GRID * expected) >= _SHARE_ON_GRID)
    most = expected + _MISSING_ON_GRID * step if is_grid else _MISSING_OFF_GRID * expected
    return Gaps(step, is_grid, np.flatnonzero(elapsed > most))
