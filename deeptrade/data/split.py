"""The split into training and validation rows: by time, with the rows near the boundary purged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from ..store.row_range import RowRange
from ..units import count_of


@dataclass(frozen=True)
class Split:
    """The rows of the three parts, each in ascending order."""

    train: RowRange
    validation: RowRange
    purged: RowRange


def chronological_split(
    rows: int, rejected: np.ndarray | Sequence[int] = (), *, val_ratio: float, horizons: int
) -> Split:
    """Return a split of `rows` rows by time: the latest share `val_ratio` is for validation.

    `rejected` are ascending row numbers that belong to no part. The `horizons` rows on each side of the boundary are
    purged, so that no training target reaches into validation and no past target of a validation row was trained on.

    Raises SettingsError when training or validation would be empty.
    """
    boundary = rows - max(1, round(rows * val_ratio))
    left, right = max(0, boundary - horizons), min(rows, boundary + horizons)
    split = Split(RowRange(0, left, rejected), RowRange(right, rows, rejected), RowRange(left, right, rejected))
    if not len(split.train) or not len(split.validation):
        empty = "validation" if len(split.train) else "training"
        raise SettingsError(
            f"val_ratio={val_ratio} of {count_of(rows, 'row')} leaves no {empty} row after purging "
            f"{count_of(horizons, 'row')} on each side of the boundary; use more rows or another val_ratio"
        )
    return split
