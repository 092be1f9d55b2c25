"""Which rows train and which validate: a split by time, with the rows near its boundary purged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..store.row_range import RowRange


@dataclass(frozen=True)
class Split:
    """The rows of the three parts, each ascending."""

    train: RowRange
    validation: RowRange
    purged: RowRange


def chronological_split(
    rows: int, rejected: np.ndarray | Sequence[int] = (), *, val_ratio: float, horizons: int
) -> Split:
    """Split `rows` rows by time: the latest share `val_ratio` validates; rows near the boundary are left out.

    `rejected` are row numbers, ascending, that are in no part. At least `horizons` rows on each side of the
    boundary are purged, so that no training target looks into validation and no validation row's past targets were
    trained on.

    Raises SettingsError when a part would be empty.
    """
    boundary = rows - max(1, round(rows * val_ratio))
    left, right = max(0, boundary - horizons), min(rows, boundary + horizons)
    split = Split(RowRange(0, left, rejected), RowRange(right, rows, rejected), RowRange(left, right, rejected))
    if not len(split.train) or not len(split.validation):
        empty = "validation" if len(split.train) else "training"
        raise SettingsError(
            f"val_ratio={val_ratio} of {rows} rows leaves no {empty} row after purging {horizons} rows on each side "
            f"of the boundary; use more rows or another val_ratio"
        )
    return split
