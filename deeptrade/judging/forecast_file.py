"""Forecasts as a file, CSV or Parquet; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import SettingsError
from ..files import atomic_write, user_path


def write_forecasts(forecasts: pd.DataFrame, out: str | Path) -> None:
    """Write what `predict` returned as CSV or Parquet, by the ending of `out`, whole or not at all.

    Columns: timestamp (ISO 8601 in CSV), market where rows name one, row, then those of `forecasts`. Raises
    SettingsError for another ending, before anything is done.
    """
    path = user_path(out)
    check_ending(path)
    table = forecasts.reset_index()
    table = table[["timestamp", *(["market"] if "market" in table else []), "row", *forecasts.columns]]
    with atomic_write(path) as file:
        if path.suffix.lower() == ".csv":
            table["timestamp"] = table["timestamp"].map(pd.Timestamp.isoformat)
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file, index=False)


@dataclass(frozen=True)
class Judged:
    """Forecasts that were judged, beside their targets: rows and times (ns) int64 (rows,), markets names, '' for none,
    forecasts and targets float32 (rows, horizons)."""

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

    def write(self, path: Path) -> None:
        """Write a Parquet file: timestamp, market, row, f_1..f_H, y_1..y_H."""
        numbers = {"f": self.forecasts, "y": self.targets}
        columns = {
            f"{name}_{step}": values for name, table in numbers.items() for step, values in enumerate(table.T, start=1)
        }
        place = {"timestamp": pd.to_datetime(self.times, utc=True), "market": self.markets, "row": self.rows}
        with atomic_write(path) as file:
            pd.DataFrame(place | columns).to_parquet(file, index=False)

    @classmethod
    def read(cls, path: Path) -> Judged:
        """Return what `write` wrote."""
        table = pd.read_parquet(path)
        names = [str(name) for name in table.columns]
        forecasts, targets = (
            table[[name for name in names if name.startswith(prefix)]].to_numpy(np.float32) for prefix in ("f_", "y_")
        )
        times = table["timestamp"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        return cls(table["row"].to_numpy(), times, table["market"].to_numpy(object), forecasts, targets)


def check_ending(path: Path) -> None:
    """Raise SettingsError for a file that `write_forecasts` cannot write."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"out={path.name!r} has no ending that is known; give a .csv or a .parquet file")
