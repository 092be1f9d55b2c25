"""Forecasts as a file, CSV or Parquet; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import SettingsError
from ..sources.remote.files import check_out, written


def write_forecasts(forecasts: pd.DataFrame, out: str | Path) -> None:
    """Write what `predict` returned as CSV or Parquet, by the ending of `out`, whole or not at all.

    `out` is a path or an address. Columns: timestamp (ISO 8601 in CSV), market where rows name one, row, then those of
    `forecasts`. Raises SettingsError for another ending, before anything is done.
    """
    check_ending(out)
    table = forecasts.reset_index()
    table = table[["timestamp", *(["market"] if "market" in table else []), "row", *forecasts.columns]]
    with written(out) as file:
        if Path(out).suffix.lower() == ".csv":
            table["timestamp"] = table["timestamp"].map(pd.Timestamp.isoformat)
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file, index=False)


def check_ending(out: str | Path) -> None:
    """Raise SettingsError for a file that `write_forecasts` cannot write."""
    check_out(out)
    path = Path(out)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"out={path.name!r} has no ending that is known; give a .csv or a .parquet file")
