"""One file per thing users bring, and one function that opens any of them."""

from __future__ import annotations

from pathlib import Path

from .csv import CsvSource, open_csv


def open_source(data: str | Path, *, use_mmap: bool = True, horizons: int = 10) -> CsvSource:
    """Open the data for reading: schema and size are known, rows are found by `index()`.

    `horizons` counts only where targets are computed from a price column.
    Raises DataError: what was given, what is accepted.
    """
    return open_csv(data, use_mmap=use_mmap, horizons=horizons)
