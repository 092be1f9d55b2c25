"""Which datasets of an HDF5 file are columns; a dataset that is one by its name has to have an entry per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..units import count_of
from .schema import needed_columns


def dataset_columns(file: Any, path: Path) -> tuple[list[str], int]:
    """Return the names of all that lies at the top of an open HDF5 file, 'timestamp' first, and the number of rows.

    Raises DataError for a column that is no dataset with an entry per row; what is no column by its name is not opened.
    """
    with told_damage(path, "its list of datasets"):
        names = list(file)
        if "timestamp" not in names:
            _refuse_other_layout(file, path)
    names = ["timestamp"] * ("timestamp" in names) + [name for name in names if name != "timestamp"]
    lengths = {}
    for name in needed_columns(names):
        with told_damage(path, f"dataset {name!r}"):
            lengths[name] = _length(file, name, path)
    if len(set(lengths.values())) > 1:
        short = min(lengths, key=lambda name: lengths[name])
        raise DataError(
            f"{path.name}: dataset {short!r} has {count_of(lengths[short], 'row')}, others have more; fix the file"
        )
    return names, next(iter(lengths.values()), 0)


def linked_files(file: Any, path: Path) -> list[Path]:
    """Return the other files that columns of an open HDF5 file lie in, by a link or as parts of a virtual dataset."""
    import h5py

    found = []
    with told_damage(path, "its list of datasets"):
        names = needed_columns(list(file))
    for name in names:
        with suppress(KeyError, OSError, RuntimeError, ValueError):  # `dataset_columns` says what cannot be opened
            link, item = file.get(name, getlink=True), file[name]
            if isinstance(link, h5py.ExternalLink):
                found.append(path.parent / link.filename)
            if isinstance(item, h5py.Dataset):
                found += [path.parent / source for source in _source_files(item)]
    return [other for other in found if other.exists()]


def read_dataset(file: Any, name: str, start: int, stop: int, path: Path) -> Any:
    """Return rows [start, stop) of a dataset as a numpy array; raises DataError where they cannot be read."""
    with told_damage(path, f"rows {start} to {stop} of dataset {name!r}"):
        return file[name][start:stop]


@contextmanager
def told_damage(path: Path, part: str) -> Iterator[None]:
    """Raise DataError, one line, for what the HDF5 library raises where a file is damaged or needs a missing filter."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path.name}: {part} cannot be read ({line}); write the file again, without compression or with gzip"
        ) from None


def _length(file: Any, name: str, path: Path) -> int:
    """Return the number of rows of a column."""
    import h5py

    try:
        item = file[name]
    except (KeyError, OSError, RuntimeError):
        raise DataError(f"{path.name}: dataset {name!r} {_broken(file, name, path)}") from None
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"{path.name}: {name!r} is a group; expected a dataset with one entry per row")
    if item.shape is None:
        raise DataError(f"{path.name}: dataset {name!r} is empty; expected one entry per row")
    if not item.shape:
        raise DataError(f"{path.name}: dataset {name!r} is a single value; expected one entry per row")
    missing = [source for source in _source_files(item) if not (path.parent / source).exists()]
    if missing:
        raise DataError(
            f"{path.name}: dataset {name!r} is virtual, and {missing[0]!r}, which holds its numbers, is not there; "
            f"put it beside the file, or write the dataset itself"
        )
    return len(item)


def _source_files(dataset: Any) -> Sequence[str]:
    """Return the other files that a virtual dataset is made of; where one is not there, HDF5 makes up its numbers."""
    if not dataset.is_virtual:
        return []
    files = (source.file_name for source in dataset.virtual_sources())
    return [file for file in files if file != "." and "%" not in file]


def _broken(file: Any, name: str, path: Path) -> str:
    """Say where a link that cannot be followed leads to."""
    import h5py

    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        there = (path.parent / link.filename).exists()
        state = "holds no such dataset" if there else "is not there"
        return (
            f"is a link to {link.path!r} in {link.filename!r}, which {state}; "
            f"put that file beside {path.name}, or copy the dataset into it"
        )
    if isinstance(link, h5py.SoftLink):
        return f"is a link to {link.path!r}, which is not in the file; mend the link, or copy the dataset in its place"
    return "cannot be opened; write the file again"


def _refuse_other_layout(file: Any, path: Path) -> None:
    """Raise DataError for a file whose columns lie in a group, or that pandas wrote in a layout of its own."""
    import h5py

    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Group):
            continue
        if "pandas_type" in file[name].attrs:
            raise DataError(
                f"{path.name} was written by pandas' to_hdf, whose layout is its own; write it with to_parquet"
            )
        if "timestamp" in file[name]:
            raise DataError(
                f"{path.name} has its columns in group {name!r}; write them as datasets at the top of the file"
            )
