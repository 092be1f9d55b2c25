"""The kinds of data files, and one function that opens any of them as a source."""

from __future__ import annotations

import glob
from pathlib import Path

from ..errors import DataError
from ..files import friendly_os_errors, user_path
from ..settings import AS_THEY_COME, Arrangement, data_name
from .csv import CsvSource, first_timestamp
from .protocol import Source
from .tables import Hdf5Source, ParquetSource, TableSource

_Kind = type[CsvSource] | type[TableSource]

_KINDS: dict[tuple[str, ...], _Kind] = {
    (".csv", ".csv.gz"): CsvSource,
    (".parquet", ".pq"): ParquetSource,
    (".h5", ".hdf5"): Hdf5Source,
}
_ACCEPTED = "a CSV (also .gz), Parquet or HDF5 file, a folder or glob of them, or a compiled store"


def open_source(
    data: str | Path, *, horizons: int = 10, arrangement: Arrangement = AS_THEY_COME, needs_targets: bool = True
) -> Source:
    """Open data for reading; only its schema and size are read yet.

    Several files must be of one kind. They are ordered by their first timestamps. `horizons`
    matters only where targets are computed from a price column; `arrangement` says what becomes of rows that do not
    ascend in time; with `needs_targets` off, data without targets is accepted. Raises DataError for data that is
    missing or of an unknown kind.
    """
    paths = find_files(data)
    kinds = {_kind_of(path) for path in paths}
    if len(kinds) > 1:
        raise DataError(f"{data} matches files of several kinds; expected {_ACCEPTED}")
    kind = kinds.pop()
    if len(paths) > 1 and kind is CsvSource:
        paths = sorted(paths, key=first_timestamp)
    return kind(paths, name=data_name(data), horizons=horizons, arrangement=arrangement, needs_targets=needs_targets)


def find_files(data: str | Path) -> list[Path]:
    """Return the files that `data` names: one file, those of a folder, or a glob's matches."""
    path = user_path(data)
    if not str(data):
        raise DataError(f"no data is given; expected {_ACCEPTED}")
    with friendly_os_errors(f"looking for {path}"):
        return _find_files(path)


def data_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that `open_source` accepts, and compiled stores, sorted by name."""
    endings = tuple(ending for endings in _KINDS for ending in endings)
    folder = user_path(folder)
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not is_hidden(path)
        if (path.is_file() and path.name.lower().endswith(endings)) or path.name.endswith(".dtstore")
    )


def _find_files(path: Path) -> list[Path]:
    if path.is_dir():
        endings = tuple(ending for endings in _KINDS for ending in endings)
        paths = sorted(file for file in path.iterdir() if file.name.lower().endswith(endings) and not is_hidden(file))
        if not paths:
            raise DataError(f"folder {path.name!r} holds no data files; expected {_ACCEPTED}")
        return paths
    if not path.exists():
        found = (Path(match) for match in glob.glob(str(path))) if glob.has_magic(str(path)) else ()
        matches = sorted(match for match in found if not is_hidden(match))
        if not matches:
            raise DataError(f"{path} does not exist; give {_ACCEPTED}; or make one: deeptrade synth {path} --rows 2000")
        return matches
    return [path]


def is_hidden(path: Path) -> bool:
    """Whether a file is no data by its name.

    ._NAME of macOS, .NAME, _SUCCESS or _metadata beside Parquet files, and NAME.ledger.csv that `build` writes.
    """
    return path.name.startswith((".", "_")) or path.name.endswith(".ledger.csv")


def _kind_of(path: Path) -> _Kind:
    """Return the source class for a file's ending; an unknown ending may be CSV text under another name."""
    for endings, kind in _KINDS.items():
        if path.name.lower().endswith(endings):
            return kind
    return CsvSource
