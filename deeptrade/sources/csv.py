"""A CSV file (or several in time order) as numbered rows: any row is one seek and one parse.

Opening finds where each record begins; reading maps the file and hands the records to the compiled parser.
Nothing is kept but eight bytes a row and column of the index.
"""

from __future__ import annotations

import glob
import hashlib
import json
import mmap
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import friendly_os_errors
from ..schema import Feature, Schema, infer_columns, unused_columns
from ..settings import data_name
from . import arrays
from .diagnosis import (
    RowFault,
    check_cells,
    decode,
    infer_cell_shape,
    read_cell,
    read_number,
    read_timestamp,
    split_record,
)

_SPAN_BYTES = 64 << 20
_SAMPLE_ROWS = 8
_ACCEPTED = "a CSV file, or a folder or glob of CSV files"


@dataclass(frozen=True)
class Parsed:
    """Records as numbers: `features` float32 (records, *shape) each, `numbers` float32 (records, columns).

    `timestamps` holds each record's timestamp text (empty unless asked for), `non_finite` int64
    (records, features), `faults` why a record could not be read, by its position.
    """

    features: dict[str, np.ndarray]
    numbers: np.ndarray
    timestamps: list[bytes]
    non_finite: np.ndarray
    faults: dict[int, RowFault]


class CsvFile:
    """The bytes of one file: a memory map, or plain reads where `use_mmap` is off."""

    def __init__(self, path: Path, *, use_mmap: bool):
        self.path = path
        with friendly_os_errors(f"reading {path.name}"):
            self._file = open(path, "rb")  # noqa: SIM115 (open as long as the source)
            self.size = os.fstat(self._file.fileno()).st_size
            self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ) if self.size and use_mmap else None
        self._mapped = np.frombuffer(self._map, np.uint8) if self._map else None

    @property
    def mapped(self) -> bool:
        """Whether `view` costs no read."""
        return self._mapped is not None

    def view(self, start: int, stop: int) -> np.ndarray:
        """Return bytes [start, stop) as uint8: a view of the map, or a fresh copy."""
        if self._mapped is not None:
            return self._mapped[start:stop]
        return np.frombuffer(os.pread(self._file.fileno(), stop - start, start), np.uint8)

    def gather(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (bytes, starts, ends) in which the records lie: the whole map, or only those records read."""
        if self._mapped is not None:
            return self._mapped, starts, ends
        lengths = ends - starts
        stops = np.cumsum(lengths)
        buffer = np.empty(int(stops[-1]), np.uint8)
        for start, length, stop in zip(starts, lengths, stops, strict=True):
            os.preadv(self._file.fileno(), [buffer[stop - length : stop].data], start)
        return buffer, stops - lengths, stops

    def close(self) -> None:
        """Give back the map and the file."""
        self._mapped = None
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:  # a reader still holds a view; the map goes with it
                self._map = None
        self._file.close()


class CsvSource:
    """Rows of DeepTrade CSV text, by number from 0 in time order of the files.

    `schema` is inferred from the header and the first rows; `columns` is the header; `number_columns` the
    targets y_1..y_H, or price. Raises DataError for anything that is not such a file.
    """

    def __init__(self, paths: Sequence[Path], *, name: str, use_mmap: bool = True, horizons: int = 10):
        self.name = name
        self._files = [CsvFile(path, use_mmap=use_mmap) for path in paths]
        try:
            headers = [_read_header(file) for file in self._files]
            self.columns, self._data_starts = headers[0][0], [start for _, start in headers]
            for file, (columns, _) in zip(self._files, headers, strict=True):
                if columns != self.columns:
                    raise DataError(f"{file.path.name} has other columns than {self._files[0].path.name}")
            self.file_bytes = sum(file.size for file in self._files)
            names, steps, target_source = infer_columns(self.columns)
            self.number_columns = [f"y_{step}" for step in range(1, steps + 1)] or ["price"]
            features = tuple(self._infer_feature(name) for name in names)
            self.schema = Schema(features, steps or horizons, target_source)
        except BaseException:
            self.close()
            raise
        self.unused_columns = unused_columns(self.columns)
        self.starts = self.ends = self.lines = self.files = np.empty(0, np.int64)

    def __enter__(self) -> CsvSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _infer_feature(self, name: str) -> Feature:
        """The shape most of the first rows agree on, so that one bad row does not decide."""
        column, shapes = self.columns.index(name), Counter[tuple[int, ...]]()
        fault = "no row"
        for text in self._first_records():
            cells = split_record(text).cells
            try:
                if column < len(cells):
                    shapes[infer_cell_shape(cells[column], name)] += 1
            except RowFault as error:
                fault = error.detail
        if not shapes:
            raise DataError(f"column {name!r} holds no JSON array in the first rows ({fault})")
        shape = shapes.most_common(1)[0][0]
        if len(shape) > arrays.MAX_AXES:
            raise DataError(f"column {name!r} has {len(shape)} axes; at most {arrays.MAX_AXES} are accepted")
        return Feature(name, shape)

    def _first_records(self) -> list[bytes]:
        file, start = self._files[0], self._data_starts[0]
        data = file.view(start, file.size if file.mapped else min(file.size, start + _SPAN_BYTES))
        found = _Found.empty(_SAMPLE_ROWS)
        count, _, _ = arrays.find_records(data, 0, len(data), 2, found.starts, found.ends, found.lines)
        if not count:
            raise DataError(f"{file.path.name} has a header but no rows")
        return [data[s:e].tobytes() for s, e in zip(found.starts[:count], found.ends[:count], strict=True)]

    def index(self, *, max_rows: int = 0) -> None:
        """Find every record; the first `max_rows` if set."""
        parts: list[_Found] = []
        rows = 0
        for number, file in enumerate(self._files):
            for found in _find_in_file(file, self._data_starts[number]):
                found.files = np.full(len(found.starts), number, np.int64)
                parts.append(found)
                rows += len(found.starts)
                if max_rows and rows >= max_rows:
                    break
            if max_rows and rows >= max_rows:
                break
        if not rows:
            raise DataError(f"{self.name} has a header but no rows")
        for field in ("starts", "ends", "lines", "files"):
            joined = np.concatenate([getattr(part, field) for part in parts])
            setattr(self, field, joined[:max_rows] if max_rows else joined)

    @property
    def rows(self) -> int:
        """Rows found by `index`."""
        return len(self.starts)

    def locate(self, row: int) -> tuple[int, int]:
        """Return (line from 1, byte offset) of a row within its file."""
        return int(self.lines[row]), int(self.starts[row])

    def ends_with_line_break(self) -> bool:
        """Whether the last file's last byte is a line break; without one its last line may be cut off."""
        file = self._files[-1]
        return file.view(file.size - 1, file.size).tobytes() == b"\n"

    def content_id(self) -> str:
        """Return 'sha256:...' over schema, sizes, first and last MiB and 16 sampled 64 KiB blocks of each file."""
        digest = hashlib.sha256(json.dumps(["csv 1", self.schema.to_json()]).encode())
        for file in self._files:
            digest.update(str(file.size).encode())
            generator = np.random.default_rng(file.size)
            blocks = [(0, 1 << 20), (max(0, file.size - (1 << 20)), file.size)]
            blocks += [(int(at), int(at) + (64 << 10)) for at in generator.integers(0, max(1, file.size), 16)]
            for start, stop in blocks:
                digest.update(file.view(start, min(stop, file.size)).tobytes())
        return f"sha256:{digest.hexdigest()}"

    def record(self, row: int) -> bytes:
        """Return the text of one row, without its line break."""
        return self._files[self.files[row]].view(int(self.starts[row]), int(self.ends[row])).tobytes()

    def parse(self, rows: np.ndarray, features: Sequence[Feature], *, timestamps: bool = False) -> Parsed:
        """Read rows (int64 row numbers, any order) into fresh arrays; bad rows are named in `faults`."""
        count = len(rows)
        plan, lengths, bases = self._plan(features, count)
        out = np.empty(int(bases[-1]), np.float32)
        numbers = np.full((count, len(self.number_columns)), np.nan, np.float32)
        spans = np.zeros((count, 2), np.int64)
        non_finite = np.zeros((count, max(1, len(features))), np.int64)
        trouble = np.full(count, -1, np.int64)
        outputs = (plan, lengths, out, numbers, spans, non_finite, trouble)
        file_of = self.files[rows]
        for number in np.unique(file_of):
            where = np.flatnonzero(file_of == number)
            data, starts, ends = self._files[number].gather(self.starts[rows[where]], self.ends[rows[where]])
            arrays.parse_records(data, starts, ends, where, *outputs)
        values = {
            feature.name: out[base : base + count * feature.size].reshape(count, *feature.shape)
            for feature, base in zip(features, bases[:-1], strict=True)
        }
        parsed = Parsed(values, numbers, [], non_finite, {})
        stamps = [b""] * count
        for position in np.flatnonzero(trouble >= 0):
            try:
                stamps[position] = self._parse_slowly(parsed, int(position), int(rows[position]), features)
                spans[position] = 0
            except RowFault as fault:
                parsed.faults[int(position)] = fault
        if timestamps:
            for position in np.flatnonzero(spans[:, 1]):
                start, stop = self.starts[rows[position]] + spans[position]
                stamps[position] = self._files[file_of[position]].view(int(start), int(stop)).tobytes()
            parsed.timestamps.extend(stamps)
        return parsed

    def _plan(self, features: Sequence[Feature], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernel does with each column: (plan, lengths, bases) as `parse_records` describes them."""
        plan = np.zeros((len(self.columns), 5), np.int64)
        lengths = np.zeros((max(1, len(features)), arrays.MAX_AXES), np.int64)
        bases = np.cumsum([0] + [feature.size * count for feature in features])
        plan[0, 0] = arrays.TEXT
        for slot, name in enumerate(self.number_columns):
            plan[self.columns.index(name), :2] = arrays.NUMBER, slot
        for slot, feature in enumerate(features):
            axes = len(feature.cell_shape)
            lengths[slot, :axes] = feature.cell_shape
            plan[self.columns.index(feature.name)] = arrays.FEATURE, slot, axes, feature.size, bases[slot]
        return plan, lengths, bases

    def _parse_slowly(self, parsed: Parsed, position: int, row: int, features: Sequence[Feature]) -> bytes:
        """Fill one position by the exact path and return its timestamp text; RowFault when the row is bad."""
        record = split_record(self.record(row))
        check_cells(record, self.columns)
        cells = dict(zip(self.columns, record.cells, strict=True))
        decode(cells["timestamp"], "timestamp")
        for slot, feature in enumerate(features):
            values = read_cell(cells[feature.name], feature).reshape(feature.shape)
            parsed.features[feature.name][position] = values
            parsed.non_finite[position, slot] = np.count_nonzero(~np.isfinite(values))
        for slot, name in enumerate(self.number_columns):
            parsed.numbers[position, slot] = read_number(cells[name], name)
        return cells["timestamp"]

    def close(self) -> None:
        """Give back every map and file."""
        for file in self._files:
            file.close()


@dataclass
class _Found:
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray
    files: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> _Found:
        return cls(*(np.empty(rows, np.int64) for _ in range(4)))


def _find_in_file(file: CsvFile, start: int) -> Iterator[_Found]:
    """Records of one file, span by span, so that plain reads stay small."""
    line = 2
    while start < file.size:
        stop = min(file.size, start + _SPAN_BYTES)
        # A mapped span is searched to the end of its last record; a plain read ends with its bytes.
        data = file.view(start, file.size if file.mapped else stop)
        found = _Found.empty(max(1024, (stop - start) // 64))
        count, used, next_line = arrays.find_records(data, 0, stop - start, line, found.starts, found.ends, found.lines)
        if not file.mapped and stop < file.size and used >= len(data):
            # The last record runs past the bytes read: it is read again at the head of the next span.
            count -= 1
            if count <= 0:
                raise DataError(f"{file.path.name} has a line over {_SPAN_BYTES >> 20} MiB; leave out --no_mmap")
            used, next_line = int(found.starts[count]), int(found.lines[count])
        for field in (found.starts, found.ends):
            field[:count] += start
        yield _Found(*(getattr(found, f)[:count].copy() for f in ("starts", "ends", "lines", "files")))
        start, line = start + used, next_line


def _read_header(file: CsvFile) -> tuple[list[str], int]:
    """Return the column names and where the first record begins."""
    if not file.size:
        raise DataError(f"{file.path.name} is empty; expected a CSV with a header and rows")
    head = file.view(0, min(file.size, 1 << 22)).tobytes()
    line, found, _ = head.partition(b"\n")
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or not text.isprintable():
        raise DataError(f"{file.path.name} is not a text file; expected {_ACCEPTED}")
    return [cell.decode() for cell in split_record(text.encode()).cells], len(line) + len(found)


def open_csv(data: str | Path, *, use_mmap: bool = True, horizons: int = 10) -> CsvSource:
    """Open a CSV file, or a folder or glob of CSV files ordered by their first timestamp.

    Raises DataError when there is none, or it is not DeepTrade CSV.
    """
    paths = find_files(data)
    name = data_name(data)
    if len(paths) > 1:
        paths = sorted(paths, key=_first_timestamp)
    return CsvSource(paths, name=name, use_mmap=use_mmap, horizons=horizons)


def find_files(data: str | Path) -> list[Path]:
    """Return the CSV files that `data` names: one file, the *.csv of a folder, or a glob's matches."""
    path = Path(data)
    if path.is_dir():
        paths = sorted(path.glob("*.csv"))
        if not paths:
            raise DataError(f"folder {path.name!r} holds no .csv file; expected {_ACCEPTED}")
        return paths
    if not path.exists():
        matches = sorted(Path(match) for match in glob.glob(str(data))) if glob.has_magic(str(data)) else []
        if not matches:
            raise DataError(f"{data} does not exist; give {_ACCEPTED}, or make one: deeptrade synth {data} --rows 2000")
        return matches
    if path.suffix.lower() in (".gz", ".zip", ".parquet", ".h5", ".hdf5"):
        raise DataError(f"{path.name} is {path.suffix}, which is not read yet; expected {_ACCEPTED}")
    return [path]


def _first_timestamp(path: Path) -> tuple[int, str]:
    with friendly_os_errors(f"reading {path.name}"), open(path, "rb") as file:
        file.readline()
        cell = file.readline().partition(b",")[0].strip(b'"\r\n')
    try:
        return read_timestamp(cell), path.name
    except RowFault:
        return 0, path.name
