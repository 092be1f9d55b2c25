"""Forecasts beside what came of them, as a training leaves them for the rooms that judge; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import Dataset
from ..errors import DataError
from ..files import atomic_write


@dataclass(frozen=True)
class Judged:
    """Forecasts beside their targets, in order of time: rows and times (ns) int64 (rows,), markets names, '' for none,
    forecasts and targets float32 (rows, horizons), NaN where not known.
    """

    rows: np.ndarray
    times: np.ndarray
    markets: np.ndarray
    forecasts: np.ndarray
    targets: np.ndarray

    def is_on_rows_of(self, other: Judged) -> bool:
        """Whether both were judged on the same rows, by their times, markets and targets."""
        return (
            np.array_equal(self.times, other.times)
            and np.array_equal(self.markets, other.markets)
            and np.array_equal(self.targets, other.targets, equal_nan=True)
        )

    def mean_with(self, others: Sequence[Judged]) -> Judged:
        """Return the mean of these forecasts and those of others on the same rows; NaN where one is not known."""
        forecasts = np.mean([one.forecasts for one in (self, *others)], axis=0, dtype=np.float64)
        return replace(self, forecasts=np.asarray(forecasts, np.float32))

    def to_frame(self) -> pd.DataFrame:
        """Return a table: timestamp, market, row, f_1..f_H, y_1..y_H."""
        numbers = {"f": self.forecasts, "y": self.targets}
        columns = {
            f"{name}_{step}": values for name, table in numbers.items() for step, values in enumerate(table.T, start=1)
        }
        place = {"timestamp": pd.to_datetime(self.times, utc=True), "market": self.markets, "row": self.rows}
        return pd.DataFrame(place | columns)

    def write(self, path: Path) -> None:
        """Write the table as a Parquet file."""
        with atomic_write(path) as file:
            self.to_frame().to_parquet(file, index=False)

    @classmethod
    def read(cls, path: Path) -> Judged:
        """Return what `write` wrote; DataError where the file cannot be read."""
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise DataError(f"{path} cannot be read ({line}); run the training again with --fresh") from None
        names = [str(name) for name in table.columns]
        forecasts, targets = (
            table[[name for name in names if name.startswith(prefix)]].to_numpy(np.float32) for prefix in ("f_", "y_")
        )
        times = table["timestamp"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        return cls(table["row"].to_numpy(), times, table["market"].to_numpy(object), forecasts, targets)

    @classmethod
    def of(cls, dataset: Dataset, rows: np.ndarray, forecasts: np.ndarray) -> Judged:
        """Return forecasts (rows, horizons) of these rows of a dataset, int64 (rows,), beside their targets."""
        return cls(rows, dataset.read_times(rows), dataset.read_markets(rows), forecasts, dataset.read_targets(rows))

    @classmethod
    def concat(cls, parts: Sequence[Judged]) -> Judged:
        """Return the rows of all parts, one part after the other."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, some: np.ndarray) -> Judged:
        """Return some of the rows, by their positions or as a mask."""
        return Judged(self.rows[some], self.times[some], self.markets[some], self.forecasts[some], self.targets[some])
