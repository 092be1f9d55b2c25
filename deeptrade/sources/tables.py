"""Parquet and HDF5 files as blocks of rows: nested lists or arrays, one column per feature.

A file is read front to back, a few megabytes at a time; workers convert to float32 and check. Positions are in rows,
not bytes: a row's line is its number from 1, its byte offset -1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError
from ..files import friendly_os_errors
from ..settings import AS_THEY_COME, Arrangement
from ..units import count_of
from .blocks import BLOCK_BYTES, Block, Place, make_block
from .faults import RowFault, read_timestamp
from .identity import content_id, file_stats, former_content_ids
from .kernels import MAX_AXES
from .protocol import CheckedPlace
from .schema import Feature, Schema, array_shape, infer_columns, number_columns, unused_columns

_SAMPLE_ROWS = 8


@dataclass(frozen=True)
class TableTask:
    """One block to check: `columns` holds a numpy array per column, or an Arrow array where lists may be ragged."""

    place: Place
    features: tuple[Feature, ...]
    number_columns: tuple[str, ...]
    columns: Mapping[str, Any]
    exact: bool = True

    def from_start(self, start: int) -> TableTask:
        """Return the task for the same rows from `start` on."""
        columns = {name: values[start - self.place.start :] for name, values in self.columns.items()}
        return replace(self, place=replace(self.place, start=start), columns=columns)

    def run(self) -> Block:
        """Convert and check the rows."""
        rows = self.place.stop - self.place.start
        faults: dict[int, RowFault] = {}
        features = {f.name: _read_feature(self.columns[f.name], f, rows, faults) for f in self.features}
        non_finite = np.stack(
            [np.count_nonzero(~np.isfinite(values.reshape(rows, -1)), axis=1) for values in features.values()], axis=1
        )
        timestamps = _read_times(self.columns["timestamp"], faults)
        numbers = np.empty((rows, len(self.number_columns)), np.float32)
        for place, name in enumerate(self.number_columns):
            numbers[:, place] = _read_numbers(self.columns[name], name)
        lines = np.arange(rows)
        return make_block(
            self.place,
            lines=rows,
            source_hash=_hash(timestamps, numbers, *features.values()),
            schema_features=self.features,
            features=features,
            non_finite=non_finite,
            numbers=numbers,
            timestamps=timestamps,
            positions=np.stack([lines, np.full(rows, -1), np.full(rows, -1)], axis=1),
            faults=faults,
        )


def _hash(*arrays: np.ndarray) -> str:
    digest = xxhash.xxh3_128()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _read_feature(column: Any, feature: Feature, rows: int, faults: dict[int, RowFault]) -> np.ndarray:
    """Return float32 (rows, *shape); missing or ragged rows, or rows of another shape, are noted and left NaN."""
    if isinstance(column, np.ndarray):
        if column.shape[1:] != feature.cell_shape:
            given, expected = ("x".join(map(str, shape)) for shape in (column.shape[1:], feature.cell_shape))
            raise DataError(
                f"column {feature.name!r} has shape {given} here and {expected} before; use one shape for all rows"
            )
        return _single(column).reshape(rows, *feature.shape)
    flat = _flatten(column, feature.cell_shape)
    if flat is not None:
        return _single(flat).reshape(rows, *feature.shape)
    values = np.full((rows, *feature.shape), np.nan, np.float32)
    for row, cell in enumerate(column.to_pylist()):
        try:
            values[row] = _single(np.array(_checked_cell(cell, feature), np.float64)).reshape(feature.shape)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return values


def _single(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def _checked_cell(cell: Any, feature: Feature) -> Any:
    if cell is None or cell == []:
        raise RowFault("missing", feature.name, "the cell is empty")
    try:
        shape = array_shape(cell)
    except ValueError as error:
        raise RowFault("ragged", feature.name, str(error)) from None
    if shape != feature.cell_shape:
        given, expected = ("x".join(map(str, s)) or "one number" for s in (shape, feature.cell_shape))
        raise RowFault("shape", feature.name, f"shape {given}, expected {expected}")
    return cell


def _flatten(column: Any, shape: Sequence[int]) -> np.ndarray | None:
    """Return the numbers of an Arrow list array; None unless every row has exactly this shape."""
    import pyarrow as pa

    for length in shape:
        if column.null_count:
            return None
        if pa.types.is_fixed_size_list(column.type):
            if column.type.list_size != length:
                return None
            column = column.flatten()
            continue
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            return None
        if not (np.diff(column.offsets.to_numpy()) == length).all():
            return None
        column = column.flatten()
    if pa.types.is_nested(column.type):
        return None
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)  # a null number becomes NaN
    return numbers


def _read_numbers(column: Any, name: str) -> np.ndarray:
    values = column if isinstance(column, np.ndarray) else column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu" or values.ndim != 1:
        raise DataError(
            f"column {name!r} holds {values.dtype} of shape {values.shape[1:]}; expected one number per row"
        )
    return _single(values)


def _nanoseconds(times: np.ndarray, unit: str, faults: dict[int, RowFault]) -> np.ndarray:
    """Return int64 ns of int64 times in 's', 'ms', 'us' or 'ns'; those too large for int64 ns are noted."""
    factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    outside = np.abs(times) > (2**63 - 1) // factor
    for place in np.flatnonzero(outside).tolist():
        faults.setdefault(place, RowFault("encoding", "timestamp", "the time is outside the years 1678 to 2261"))
    nanoseconds: np.ndarray = np.where(outside, 0, times) * factor
    return nanoseconds


def _read_times(column: Any, faults: dict[int, RowFault]) -> np.ndarray:
    """Return int64 ns UTC of times, text, or epoch numbers (unit by magnitude)."""
    if not isinstance(column, np.ndarray):
        import pyarrow as pa

        if pa.types.is_timestamp(column.type):
            for place in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                faults.setdefault(place, RowFault("missing", "timestamp", "the cell is empty"))
            return _nanoseconds(column.cast(pa.int64()).fill_null(0).to_numpy(), column.type.unit, faults)
        column = np.array(column.to_pylist(), object)
    times = np.zeros(len(column), np.int64)
    for row, value in enumerate(column.tolist()):
        text = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        try:
            times[row] = read_timestamp(text)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return times


class TableSource(ABC):
    """Rows of table files of one kind, in order of file name; see `ParquetSource` and `Hdf5Source`."""

    kind = ""
    seekable = False

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        name: str,
        horizons: int = 10,
        arrangement: Arrangement = AS_THEY_COME,
        needs_targets: bool = True,
    ):
        self.name, self.paths, self.arrangement = name, list(paths), arrangement
        with friendly_os_errors(f"reading {name}"):
            self.seen = file_stats(self.paths)
        self.file_bytes = sum(size for size, _ in self.seen)
        heads = [self._open(path) for path in self.paths]
        self.columns, self._rows = heads[0][0], [rows for _, rows in heads]
        for path, (columns, _) in zip(self.paths, heads, strict=True):
            if sorted(columns) != sorted(self.columns):
                raise DataError(
                    f"{path.name} has different columns from {self.paths[0].name}; give files with the same columns"
                )
        names, steps, target_source = infer_columns(self.columns, needs_targets=needs_targets)
        self.number_columns = number_columns(steps, target_source)
        if not any(self._rows):
            raise DataError(f"{name} has columns but no rows")
        self.unused_columns = unused_columns(self.columns)
        _, sample = next(self._chunks(int(np.flatnonzero(self._rows)[0]), 0, _SAMPLE_ROWS))
        features = tuple(_infer_feature(name, sample[name]) for name in names)
        for name in self.number_columns:
            _read_numbers(sample[name], name)
        self.schema = Schema(features, steps or horizons, target_source)
        self.row_text_bytes = self.file_bytes / sum(self._rows)
        self._block_rows = max(1, BLOCK_BYTES // 4 // self.schema.row_bytes)

    @property
    def block_bytes(self) -> int:
        """Bytes of memory that reading one block takes: its columns as float64 at most, and twice as float32."""
        return 4 * self._block_rows * self.schema.row_bytes

    def estimate_rows(self) -> int:
        """Return the number of rows."""
        return sum(self._rows)

    def content_id(self) -> str:
        """Return 'sha256-2:...' over schema, sizes and samples of the files."""
        return content_id(self.paths, [f"{self.kind} 1", self.schema.to_json(), *self.arrangement.to_json()])

    def former_content_ids(self) -> tuple[str, ...]:
        """Return the ids that earlier versions gave the same content."""
        return former_content_ids(self.paths, [f"{self.kind} 1", self.schema.to_json(), *self.arrangement.to_json()])

    def first_line(self, file: int) -> int:
        """Return the number of the first row."""
        return 1

    def progress(self, place: Place) -> tuple[int, int]:
        """Return (bytes up to the end of a place, about; bytes in all)."""
        done = sum(self._rows[: place.file]) + place.stop
        return int(done * self.row_text_bytes), self.file_bytes

    def ends_whole(self) -> bool:
        """Return True: a cut-off table cannot be opened at all."""
        return True

    def tasks(self, *, after: Place | None = None, chunk_size: int = 10_000) -> Iterator[TableTask]:
        """Yield one task per block in order, starting after the block at `after`."""
        for number in range(after.file if after else 0, len(self.paths)):
            start = after.stop if after and after.file == number else 0
            for first, columns in self._chunks(number, start, self._block_rows):
                rows = len(columns["timestamp"])
                place = Place(number, first, first + rows)
                yield TableTask(place, self.schema.features, tuple(self.number_columns), columns)

    def check(self, places: Sequence[Place]) -> Iterator[CheckedPlace]:
        """Yield what lies at each place now, in order; stops early where the rows do."""
        for number in range(len(self.paths)):
            inside = [place for place in places if place.file == number]
            for place, task in zip(inside, self.tasks(after=Place(number, 0, 0)), strict=False):
                if task.place.file != number or task.place.start != place.start:
                    return
                ends_file = task.place.stop == self._rows[number]
                yield CheckedPlace(task.run().source_hash, ends_block=task.place == place, ends_file=ends_file)

    @abstractmethod
    def _open(self, path: Path) -> tuple[list[str], int]:
        """Return the columns of one file and its number of rows."""

    @abstractmethod
    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield (first row, columns) of at most `rows` rows from `start` on, always cut at the same places."""


def _infer_feature(name: str, column: Any) -> Feature:
    """Return the feature with the most common shape in the first rows, so that one bad row does not decide."""
    if isinstance(column, np.ndarray):
        shape = column.shape[1:]
    else:
        shapes = Counter[tuple[int, ...]]()
        for cell in column.to_pylist():
            try:
                shapes[array_shape(cell)] += cell is not None
            except ValueError:
                continue
        shape = shapes.most_common(1)[0][0] if shapes else ()
    if not shape or 0 in shape or len(shape) > MAX_AXES:
        raise DataError(f"column {name!r} holds no arrays of numbers in the first rows; found shape {shape}")
    return Feature(name, tuple(shape))


class ParquetSource(TableSource):
    """Parquet files whose feature columns are nested lists."""

    kind = "parquet"

    def _open(self, path: Path) -> tuple[list[str], int]:
        with self._file(path) as file:
            return list(file.schema_arrow.names), file.metadata.num_rows

    def _file(self, path: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        with friendly_os_errors(f"reading {path.name}"):
            try:
                # Without these two options it holds a whole row group, which may be the whole file.
                return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
            except pa.ArrowException as error:
                line = " ".join(str(error).split())[:200]
                raise DataError(
                    f"{path.name} is not a complete Parquet file ({line}); create or download it again"
                ) from None

    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        import pyarrow as pa

        wanted = [name for name in self.columns if name not in self.unused_columns]
        at = 0
        with self._file(self.paths[number]) as file:
            for group in range(file.metadata.num_row_groups):
                if at + file.metadata.row_group(group).num_rows <= start:
                    at += file.metadata.row_group(group).num_rows
                    continue
                for batch in file.iter_batches(rows, row_groups=[group], columns=wanted):
                    if at >= start:
                        yield at, {name: pa.concat_arrays([batch.column(name)]) for name in batch.schema.names}
                    at += batch.num_rows


class Hdf5Source(TableSource):
    """HDF5 files with one dataset per column; columns in creation order if the file records it."""

    kind = "hdf5"

    def _open(self, path: Path) -> tuple[list[str], int]:
        with self._file(path) as file:
            names = [name for name in file if hasattr(file[name], "shape")]
            columns = ["timestamp"] * ("timestamp" in names) + [name for name in names if name != "timestamp"]
            for name in columns:
                if not file[name].shape:
                    raise DataError(f"{path.name}: dataset {name!r} is a single value; expected one entry per row")
            lengths = {name: len(file[name]) for name in columns}
        if len(set(lengths.values())) > 1:
            short = min(lengths, key=lambda name: lengths[name])
            raise DataError(
                f"{path.name}: dataset {short!r} has {count_of(lengths[short], 'row')}, others have more; fix the file"
            )
        return columns, next(iter(lengths.values()), 0)

    def _file(self, path: Path) -> Any:
        import h5py

        try:
            return h5py.File(path, "r")
        except OSError as error:
            line = " ".join(str(error).split())[:200]
            raise DataError(f"{path.name} cannot be read as HDF5 ({line}); create or download it again") from None

    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with self._file(self.paths[number]) as file:
            wanted = [name for name in self.columns if name not in self.unused_columns]
            while start < self._rows[number]:
                stop = min((start // rows + 1) * rows, self._rows[number])
                yield start, {name: file[name][start:stop] for name in wanted}
                start = stop
