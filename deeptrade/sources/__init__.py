"""One file per thing users bring, and one function that opens any of them."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..settings import data_name
from .csv import CsvSource, first_timestamp

CSV_ENDINGS = (".csv", ".csv.gz")
_ACCEPTED = "a CSV file (plain or .gz), or a folder or glob of them"


def open_source(data: str | Path, *, horizons: int = 10) -> Any:
    """Open the data for reading: schema and size are known, nothing else is read yet.

    Several CSV files are taken in the order of their first timestamps. `horizons` counts only where targets are
    computed from a price column. Raises DataError: what was given, what is accepted.
    """
    paths = find_files(data)
    if len(paths) > 1:
        paths = sorted(paths, key=first_timestamp)
    return CsvSource(paths, name=data_name(data), horizons=horizons)


def find_files(data: str | Path) -> list[Path]:
    """Return the files that `data` names: one file, those of a folder, or a glob's matches."""
    path = Path(data)
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.name.lower().endswith(CSV_ENDINGS))
        if not paths:
            raise DataError(f"folder {path.name!r} holds no .csv file; expected {_ACCEPTED}")
        return paths
    if not path.exists():
        matches = sorted(Path(match) for match in glob.glob(str(data))) if glob.has_magic(str(data)) else []
        if not matches:
            raise DataError(f"{data} does not exist; give {_ACCEPTED}, or make one: deeptrade synth {data} --rows 2000")
        return matches
    if path.suffix.lower() in (".zip", ".parquet", ".h5", ".hdf5"):
        raise DataError(f"{path.name} is {path.suffix}, which is not read yet; expected {_ACCEPTED}")
    return [path]
