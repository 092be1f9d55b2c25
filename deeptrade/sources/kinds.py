"""The kinds of data files, and one function that opens any of them as a source."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from ..errors import DataError
from ..files import friendly_os_errors, is_address, user_path
from ..inputs import InputFile, LocalFile
from ..settings import AS_THEY_COME, Arrangement, data_name
from .csv import CsvSource, first_timestamp
from .protocol import Source
from .remote.address import Address
from .remote.files import find, is_glob
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
    files = find_files(data)
    kinds = {_kind_of(file.name) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{data} matches files of several kinds; expected {_ACCEPTED}")
    kind = kinds.pop()
    if len(files) > 1 and kind is CsvSource:
        files = sorted(files, key=first_timestamp)
    return kind(files, name=data_name(data), horizons=horizons, arrangement=arrangement, needs_targets=needs_targets)


def find_files(data: str | Path) -> list[InputFile]:
    """Return the files that `data` names, a path or an address: one file, those of a folder, or a glob's matches."""
    if not str(data):
        raise DataError(f"no data is given; expected {_ACCEPTED}")
    if is_address(data):
        return _find_remote(Address.of(data))
    path = user_path(data)
    with friendly_os_errors(f"looking for {path}"):
        return [LocalFile.at(found) for found in _find_files(path)]


def find_klines(path: str) -> list[str | InputFile]:
    """Return a path as it is, for `build` to look at, and the files of an address; DataError where there are none."""
    if not is_address(path):
        return [path]
    address = Address.of(path)
    found = [file for file in find(address) if not is_hidden(file.name)]
    if not found:
        raise DataError(f"{address} does not exist; give files of klines, or a folder or glob of them")
    return list(found)


def data_files(folder: str | Path) -> list[Path]:
    """Return the files of a folder that `open_source` accepts, and compiled stores, sorted by name."""
    folder = user_path(folder)
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not is_hidden(path.name)
        if (path.is_file() and path.name.lower().endswith(_endings())) or path.name.endswith(".dtstore")
    )


def _find_remote(address: Address) -> list[InputFile]:
    found = find(address)
    if [file.address for file in found] == [address]:
        return list(found)
    files = [file for file in found if not is_hidden(file.name)]
    if not is_glob(address):
        files = [file for file in files if file.name.lower().endswith(_endings())]
    if not files:
        raise DataError(f"{address} does not exist, or holds no data files; give {_ACCEPTED}")
    return list(files)


def _endings() -> tuple[str, ...]:
    return tuple(ending for endings in _KINDS for ending in endings)


def _find_files(path: Path) -> list[Path]:
    if path.is_dir():
        paths = sorted(f for f in path.iterdir() if f.name.lower().endswith(_endings()) and not is_hidden(f.name))
        if not paths:
            raise DataError(f"folder {path.name!r} holds no data files; expected {_ACCEPTED}")
        return paths
    if not path.exists():
        found = (Path(match) for match in glob.glob(str(path))) if glob.has_magic(str(path)) else ()
        matches = sorted(match for match in found if not is_hidden(match.name))
        if not matches:
            raise DataError(_is_missing(path))
        return matches
    return [path]


def _is_missing(path: Path) -> str:
    """Say that there is no such data: first what was probably meant, only then how to make some."""
    near = None
    with suppress(OSError):  # a folder that cannot be read
        near = neighbour(path)
    ways = f"give {_ACCEPTED}; or make one: deeptrade synth {path} --rows 2000"
    return f"{path} does not exist; " + (f"did you mean {str(near)!r}? If not, {ways}" if near else ways)


def neighbour(path: Path) -> Path | None:
    """Return the data that was probably meant by a path that does not exist; None where there is none near.

    It is data of the same name, of a like name, or the only data there: where the path leads, in a folder of a like
    name, then in the working folder and in the one above it, as notebooks often lie in a folder beside the data.
    """
    for place in dict.fromkeys(_places_near(path)):
        files = data_files(place)
        found = {entry.name: entry for entry in [*files, *filter(data_files, _folders(place))]}
        alike = [name for name in found if data_name(name) == data_name(path)]
        near = alike or get_close_matches(path.name, found, n=1) or [file.name for file in files if len(files) == 1]
        if near:
            return found[path.name if path.name in near else near[0]]
    return None


def _places_near(path: Path) -> Iterator[Path]:
    above = [Path(), Path("..")]
    for place in above[:1] if path.is_absolute() else above:
        folder = place / path.parent
        if folder.is_dir():
            yield folder
        names = {entry.name: entry for entry in _folders(folder.parent)}
        yield from (names[name] for name in get_close_matches(folder.name, names, n=1))
    yield from above


def _folders(place: Path) -> list[Path]:
    entries = place.iterdir() if place.is_dir() else ()
    return sorted(entry for entry in entries if entry.is_dir() and not is_hidden(entry.name))


def is_hidden(name: str) -> bool:
    """Whether a file is no data by its name.

    ._NAME of macOS, .NAME, _SUCCESS or _metadata beside Parquet files, and NAME.ledger.csv that `build` writes.
    """
    return name.startswith((".", "_")) or name.endswith(".ledger.csv")


def _kind_of(name: str) -> _Kind:
    """Return the source class for a file's ending; an unknown ending may be CSV text under another name."""
    for endings, kind in _KINDS.items():
        if name.lower().endswith(endings):
            return kind
    return CsvSource
