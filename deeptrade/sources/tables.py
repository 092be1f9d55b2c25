"""Parquet and HDF5 files as blocks of rows: nested lists or arrays, one column per feature.

A file is read front to back, a few megabytes at a time; workers convert to float32 and check. Positions are in rows,
not bytes: a row's line is its number from 1, its byte offset -1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors
from ..inputs import InputFile, LocalFile, need_local
from ..settings import AS_THEY_COME, Arrangement
from ..units import count_of
from .blocks import BLOCK_BYTES, Place
from .column_types import decoded, refuse_unreadable_times, text_cells
from .columns import infer_feature, read_feature, read_numbers
from .datasets import dataset_columns, linked_files, read_dataset, told_damage
from .faults import RowFault
from .identity import content_id, former_content_ids
from .other_markets import market_columns, refuse_several
from .protocol import CheckedPlace
from .schema import MARKET, Schema, infer_columns, needed_columns, number_columns, unused_columns
from .table_task import TableTask, read_markets, read_times

_SAMPLE_ROWS = 8
_FAR_BYTES = 32 << 20
"""What the stream of a file that is far holds of it."""

_LOOKED_AT_ROWS = 1000
"""Of each end of a file that may be of several markets."""


class TableSource(ABC):
    """Rows of table files of one kind, in order of their first times; see `ParquetSource` and `Hdf5Source`."""

    kind = ""
    seekable = False

    def __init__(
        self,
        files: Sequence[InputFile],
        *,
        name: str,
        horizons: int = 10,
        arrangement: Arrangement = AS_THEY_COME,
        needs_targets: bool = True,
    ):
        self.name, self.files, self.arrangement = name, list(files), arrangement
        if len(self.files) > 1:
            self.files.sort(key=lambda file: (self._first_time(file), file.name))
        self.watched = [*self.files, *self._linked_files()]
        self.seen = [file.seen for file in self.watched]
        self.file_bytes = sum(file.size for file in self.watched)
        heads = [self._open(file) for file in self.files]
        self.columns, self._rows = heads[0][0], [rows for _, rows in heads]
        for file, (columns, _) in zip(self.files, heads, strict=True):
            if sorted(needed_columns(columns)) != sorted(needed_columns(self.columns)):
                raise DataError(
                    f"{file.name} has different columns from {self.files[0].name}; give files with the same columns"
                )
        names, steps, target_source = infer_columns(self.columns, needs_targets=needs_targets)
        self.number_columns = number_columns(steps, target_source)
        if not any(self._rows):
            raise DataError(f"{name} has columns but no rows")
        self.unused_columns = unused_columns(dict.fromkeys(name for columns, _ in heads for name in columns))
        first, *others = np.flatnonzero(self._rows).tolist()
        _, sample = next(self._chunks(first, 0, _SAMPLE_ROWS))
        with self._naming(first):
            features = tuple(infer_feature(name, sample[name]) for name in names)
            for name in self.number_columns:
                read_numbers(sample[name], name, {})
            refuse_unreadable_times(sample["timestamp"])
        has_markets = MARKET in self.columns
        self.schema = Schema(features, steps or horizons, target_source, has_markets)
        for number in others:
            self._refuse_other_types(number)
        self.row_text_bytes = self.file_bytes / sum(self._rows)
        self._block_rows = max(1, BLOCK_BYTES // 4 // self.schema.row_bytes)
        self._text_row_bytes = _text_row_bytes(sample)
        for column in market_columns(self.columns, self.unused_columns):
            holding = [
                file for file, (columns, rows) in zip(self.files, heads, strict=True) if rows and column in columns
            ]
            refuse_several(column, self._cells_of(column, holding))

    @property
    def block_bytes(self) -> int:
        """Bytes of memory that reading one block takes: its columns as float64 at most, and twice as float32.

        Text is held three times: as read, as cells, and as the parser's lines.
        """
        ahead = _FAR_BYTES if any(file.is_far for file in self.files) else 0
        return ahead + self._block_rows * (4 * self.schema.row_bytes + 3 * self._text_row_bytes)

    def estimate_rows(self) -> int:
        """Return the number of rows."""
        return sum(self._rows)

    def content_id(self) -> str:
        """Return 'sha256-2:...' over schema, sizes and samples of the files."""
        return content_id(self.watched, [f"{self.kind} 1", self.schema.to_json(), *self.arrangement.to_json()])

    def former_content_ids(self) -> tuple[str, ...]:
        """Return the ids that earlier versions gave the same content."""
        return former_content_ids(self.watched, [f"{self.kind} 1", self.schema.to_json(), *self.arrangement.to_json()])

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
        for number in range(after.file if after else 0, len(self.files)):
            start = after.stop if after and after.file == number else 0
            for first, columns in self._chunks(number, start, self._block_rows):
                rows = len(columns["timestamp"])
                place = Place(number, first, first + rows)
                yield TableTask(place, self.schema.features, tuple(self.number_columns), columns)

    def check(self, places: Sequence[Place]) -> Iterator[CheckedPlace]:
        """Yield what lies at each place now, in order; stops early where the rows do."""
        for number in range(len(self.files)):
            inside = [place for place in places if place.file == number]
            for place, task in zip(inside, self.tasks(after=Place(number, 0, 0)), strict=False):
                if task.place.file != number or task.place.start != place.start:
                    return
                ends_file = task.place.stop == self._rows[number]
                yield CheckedPlace(task.run().source_hash, ends_block=task.place == place, ends_file=ends_file)

    def _refuse_other_types(self, number: int) -> None:
        """Raise DataError unless the first rows of a file are of types and shapes that the schema's columns can be."""
        _, sample = next(self._chunks(number, 0, _SAMPLE_ROWS))
        rows = len(sample["timestamp"])
        with self._naming(number):
            refuse_unreadable_times(sample["timestamp"])
            read_markets(sample.get(MARKET), rows, {})
            for feature in self.schema.features:
                read_feature(sample[feature.name], feature, rows, {})
            for name in self.number_columns:
                read_numbers(sample[name], name, {})

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Put the name of a file before errors about its columns, where it is one of several."""
        try:
            yield
        except DataError as error:
            if len(self.files) == 1:
                raise
            raise DataError(f"{self.files[number].name}: {error}") from None

    def _first_time(self, file: InputFile) -> int:
        """Return the first time in a file that can be read among its first rows, int64 ns; 0 if there is none."""
        names, rows = self._open(file)
        if "timestamp" not in names or not rows:
            return 0
        faults: dict[int, RowFault] = {}
        times = read_times(decoded(self._end_cells(file, "timestamp", min(rows, _SAMPLE_ROWS))), faults)
        return next((int(time) for row, time in enumerate(times) if row not in faults), 0)

    def _cells_of(self, column: str, files: Sequence[InputFile]) -> Iterator[bytes | None]:
        """Yield the text of an unused column in the first and last rows of files; nothing where it holds no text."""
        for file in files:
            for last in (False, True):
                with suppress(DataError):  # it is not used, so it may be of any type and length, or damaged
                    cells = self._end_cells(file, column, _LOOKED_AT_ROWS, last=last)
                    yield from text_cells(cells) or ()

    def _linked_files(self) -> list[InputFile]:
        """Return the other files that hold numbers of these."""
        return []

    @abstractmethod
    def _open(self, file: InputFile) -> tuple[list[str], int]:
        """Return the columns of one file and its number of rows."""

    @abstractmethod
    def _end_cells(self, file: InputFile, column: str, rows: int, *, last: bool = False) -> Any:
        """Return the first (or last) rows of one column of a file, as `_chunks` gives them."""

    @abstractmethod
    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield (first row, columns) of at most `rows` rows from `start` on, always cut at the same places."""


def _text_row_bytes(sample: Mapping[str, Any]) -> int:
    """Return the bytes of text in one row, the largest of the sample."""
    columns = [cells for column in sample.values() if (cells := text_cells(column)) is not None]
    return max((sum(len(cell or b"") for cell in cells) for cells in zip(*columns, strict=True)), default=0)


class ParquetSource(TableSource):
    """Parquet files; a column of features holds nested lists, tensors or JSON text."""

    kind = "parquet"

    def _open(self, file: InputFile) -> tuple[list[str], int]:
        with self._opened(file) as table, _told_damage(file.name, "its schema"):
            names = sorted(table.schema_arrow.names, key=lambda name: name != "timestamp")  # an index comes last
            return names, table.metadata.num_rows

    def _opened(self, file: InputFile) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        with friendly_os_errors(f"reading {file.name}"):
            try:
                # Without these two options it holds a whole row group, which may be the whole file.
                return parquet.ParquetFile(file.openable(), buffer_size=1 << 20, pre_buffer=False)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                if getattr(error, "errno", None):  # the system's error, not one of the file's content
                    raise
                line = " ".join(str(error).split())[:200]
                raise DataError(
                    f"{file.name} is not a complete Parquet file ({line}); create or download it again"
                ) from None

    def _end_cells(self, file: InputFile, column: str, rows: int, *, last: bool = False) -> Any:
        import pyarrow as pa

        with self._opened(file) as table, _told_damage(file.name, f"column {column!r}"):
            groups = [n for n in range(table.metadata.num_row_groups) if table.metadata.row_group(n).num_rows]
            for batch in table.iter_batches(rows, row_groups=groups[-1:] if last else groups, columns=[column]):
                cells = pa.concat_arrays([batch.column(column)])
                if not last:
                    return cells
            return cells if groups else pa.array([])

    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        import pyarrow as pa

        wanted = needed_columns(self.columns)
        at, file = 0, self.files[number]
        with self._opened(file) as table:
            for group in range(table.metadata.num_row_groups):
                if at + table.metadata.row_group(group).num_rows <= start:
                    at += table.metadata.row_group(group).num_rows
                    continue
                for batch in _batches(table, rows, group, wanted, file.name):
                    if at >= start:
                        yield at, {name: pa.concat_arrays([batch.column(name)]) for name in batch.schema.names}
                    at += batch.num_rows
        if at != self._rows[number]:
            raise DataError(
                f"{file.name} holds {count_of(at, 'row')}, its schema says {self._rows[number]}; write the file again"
            )


def _batches(table: Any, rows: int, group: int, columns: Sequence[str], name: str) -> Iterator[Any]:
    """Yield batches of a row group; raises DataError where it cannot be read."""
    with _told_damage(name, f"row group {group}"):
        yield from table.iter_batches(rows, row_groups=[group], columns=columns)


@contextmanager
def _told_damage(name: str, part: str) -> Iterator[None]:
    """Raise DataError, one line, for what Arrow raises where a file is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: {part} cannot be read ({line}); write the file again") from None


class Hdf5Source(TableSource):
    """HDF5 files with one dataset per column; columns in creation order if the file records it."""

    kind = "hdf5"

    def _open(self, file: InputFile) -> tuple[list[str], int]:
        path = _path(file)
        with self._opened(path) as tables:
            return dataset_columns(tables, path)

    def _linked_files(self) -> list[InputFile]:
        found: dict[Path, None] = {}
        for path in map(_path, self.files):
            with self._opened(path) as tables:
                found.update(dict.fromkeys(linked_files(tables, path)))
        return [LocalFile.at(path) for path in found]

    def _opened(self, path: Path) -> Any:
        import h5py

        try:
            return h5py.File(path, "r")
        except OSError as error:
            line = " ".join(str(error).split())[:200]
            raise DataError(f"{path.name} cannot be read as HDF5 ({line}); create or download it again") from None

    def _end_cells(self, file: InputFile, column: str, rows: int, *, last: bool = False) -> Any:
        path = _path(file)
        with self._opened(path) as tables:
            start = 0
            if last:
                with told_damage(path, f"dataset {column!r}"):
                    start = max(0, len(tables[column]) - rows)
            return read_dataset(tables, column, start, start + rows, path)

    def _chunks(self, number: int, start: int, rows: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        path = _path(self.files[number])
        with self._opened(path) as tables:
            wanted = needed_columns(self.columns)
            while start < self._rows[number]:
                stop = min((start // rows + 1) * rows, self._rows[number])
                yield start, {name: read_dataset(tables, name, start, stop, path) for name in wanted}
                start = stop


def _path(file: InputFile) -> Path:
    return need_local(file, "an HDF5 file")
