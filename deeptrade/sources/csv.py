"""CSV text, one file or several in time order, plain or gzip, cut into blocks of whole records.

A block holds the records that begin in its byte range. Where its first record begins is guessed from the text around
it, so that blocks can be read in parallel. `scan` then checks that each block begins where the one before it ended,
and otherwise reads it again from there (only line breaks inside cells can mislead the guess).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import xxhash

from ..errors import DataError
from ..inputs import InputFile
from ..settings import AS_THEY_COME, Arrangement
from . import kernels
from .blocks import BLOCK_BYTES, Block, Place, make_block
from .faults import RowFault, check_cells, infer_cell_shape, read_market, read_timestamp, split_record
from .identity import content_id, former_content_ids
from .other_markets import market_columns, refuse_several
from .protocol import CheckedPlace
from .records import Parsed, RecordParser, Text
from .schema import MARKET, Feature, Schema, infer_columns, number_columns, unused_columns
from .text import Scratch, TextFile

LONGEST_RECORD = 64 << 20
"""Most bytes in one record: a cell without its closing quote must not pull the rest of the file into memory."""

_LOOK_AHEAD = 256 << 10
_GZIP_LOOK_AHEAD = 4 << 20
_SAMPLE_ROWS = 8
_HEADER_BYTES = 4 << 20
_LOOKED_AT_BYTES, _LOOKED_AT_ROWS = 1 << 20, 1000
"""At most, of each end of a file that may be of several markets: ten rows of the original layout, 4 ms."""

_scratch = Scratch()


@dataclass(frozen=True)
class CsvTask:
    """One block to read: picklable, so that any executor can run it.

    place: its byte range. exact: whether its first record is known to begin at place.start, or has to be found. size:
    of the file when it was opened, in bytes; 0 where `data` is given, which is the text of a gzip stream from
    place.start - 1 on (from place.start if exact).
    """

    file: InputFile
    place: Place
    exact: bool
    size: int
    parser: RecordParser
    features: tuple[Feature, ...]
    chunk_size: int
    data: np.ndarray | None = None

    def from_start(self, start: int) -> CsvTask:
        """Return the task for the same byte range, with its first record at `start`."""
        data = None if self.data is None else self.data[start - self._begin :]
        return replace(self, place=replace(self.place, start=start), exact=True, data=data)

    @property
    def reads(self) -> InputFile | None:
        """The file that `run` reads; None where the task carries its text."""
        return self.file if self.data is None else None

    @property
    def _begin(self) -> int:
        return self.place.start - (not self.exact)

    def run(self) -> Block:
        """Read the text, find the block's records in it, and parse them."""
        begin, look_ahead = self._begin, _LOOK_AHEAD
        while True:
            data, at_end = self._text(begin, look_ahead)
            start = 0 if self.exact else int(kernels.find_line(data, 0, min(len(data), self.place.stop - begin)))
            found = _Found.room_for(self.place.stop - begin - start)
            count, used, lines = kernels.find_records(
                data, start, self.place.stop - begin, 0, found.starts, found.ends, found.lines
            )
            if used < len(data) or at_end:
                break
            look_ahead *= 4
            self._check_length(begin + int(found.starts[max(0, count - 1)]), look_ahead)
        starts, ends, row_lines = (edges[:count] for edges in (found.starts, found.ends, found.lines))
        text = Text(data, starts, ends)
        parsed = _parse_in_chunks(self.parser, text, self.features, self.chunk_size)
        timestamps, faults = np.zeros(count, np.int64), dict(parsed.faults)
        markets = np.full(count, "", object)
        for position, stamp in enumerate(parsed.timestamps):
            if position not in faults:
                try:
                    timestamps[position] = read_timestamp(stamp)
                    if self.parser.has_markets:
                        markets[position] = read_market(parsed.markets[position])
                except RowFault as fault:
                    faults[position] = fault
        return make_block(
            Place(self.place.file, begin + start, begin + max(used, start)),
            lines=int(lines),
            source_hash=xxhash.xxh3_128_hexdigest(data[start:used].data),
            schema_features=self.features,
            features=parsed.features,
            non_finite=parsed.non_finite[:, : len(self.features)],
            numbers=parsed.numbers,
            timestamps=timestamps,
            markets=markets,
            positions=np.stack([row_lines, begin + starts, begin + ends], axis=1),
            faults=faults,
        )

    def _text(self, begin: int, look_ahead: int) -> tuple[np.ndarray, bool]:
        """Return the text from `begin` to somewhat past the block, and whether it reaches the end of the file."""
        if self.data is not None:
            return self.data, len(self.data) < self.place.stop - begin + _GZIP_LOOK_AHEAD
        stop = min(self.size, self.place.stop + look_ahead)
        return self.file.read(begin, stop, _scratch.take(stop - begin)), stop == self.size

    def _check_length(self, start: int, look_ahead: int) -> None:
        most = LONGEST_RECORD if self.data is None else _GZIP_LOOK_AHEAD
        if look_ahead > most:
            raise DataError(
                f"{self.file.name} has a record of over {most >> 20} MiB at byte {start}; "
                f"is a closing quote missing there? Fix the file and run again"
            )


def _parse_in_chunks(parser: RecordParser, text: Text, features: Sequence[Feature], chunk_size: int) -> Parsed:
    """Return the parsed records; at most `chunk_size` are parsed at once."""
    if len(text) <= chunk_size:
        return parser.parse([(text, np.arange(len(text)))], features, timestamps=True)
    parts = []
    for start in range(0, len(text), chunk_size):
        chunk = Text(text.data, text.starts[start : start + chunk_size], text.ends[start : start + chunk_size])
        parts.append((start, parser.parse([(chunk, np.arange(len(chunk)))], features, timestamps=True)))
    return Parsed(
        {f.name: np.concatenate([part.features[f.name] for _, part in parts]) for f in features},
        np.concatenate([part.numbers for _, part in parts]),
        [stamp for _, part in parts for stamp in part.timestamps],
        [market for _, part in parts for market in part.markets],
        np.concatenate([part.non_finite for _, part in parts]),
        {start + position: fault for start, part in parts for position, fault in part.faults.items()},
    )


@dataclass
class _Found:
    starts: np.ndarray
    ends: np.ndarray
    lines: np.ndarray

    @classmethod
    def room_for(cls, text_bytes: int) -> _Found:
        """Return room for as many records as the text can hold: each takes at least two bytes."""
        return cls(*(np.empty(max(16, text_bytes // 2 + 1), np.int64) for _ in range(3)))


class CsvSource:
    """Rows of DeepTrade CSV files; the files are in time order.

    schema: inferred from the header and the first rows. columns: the header. number_columns: the targets y_1..y_H, or
    price. Raises DataError for any other text.
    """

    kind = "csv"

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
        self.seen = [file.seen for file in files]
        self.watched = self.files
        self._texts = [TextFile(file) for file in files]
        headers = [_read_header(file) for file in self._texts]
        self.columns, self._data_starts = headers[0][0], [start for _, start in headers]
        for file, (columns, _) in zip(self._texts, headers, strict=True):
            if columns != self.columns:
                raise DataError(
                    f"{file.name} has different columns from {self._texts[0].name}; give files with the same columns"
                )
        self.file_bytes = sum(file.size for file in self._texts)
        names, steps, target_source = infer_columns(self.columns, needs_targets=needs_targets)
        self.number_columns = number_columns(steps, target_source)
        self.parser = RecordParser(tuple(self.columns), tuple(self.number_columns))
        records = self._first_records()
        self.schema = Schema(
            tuple(self._infer_feature(name, records) for name in names),
            steps or horizons,
            target_source,
            has_markets=MARKET in self.columns,
        )
        self.row_text_bytes = sum(map(len, records)) / len(records)
        self.unused_columns = unused_columns(self.columns)
        for column in market_columns(self.columns, self.unused_columns):
            refuse_several(column, self._cells_of(column))

    @property
    def block_bytes(self) -> int:
        """Bytes of memory that reading one block takes: its text, its numbers, and their copy without rejected rows.

        The text of a file that is far is held twice: as it comes, and in one piece.
        """
        ahead = _GZIP_LOOK_AHEAD if any(text.compressed for text in self._texts) else _LOOK_AHEAD
        text = max(BLOCK_BYTES, int(self.row_text_bytes)) + ahead
        numbers = 2 * int(text / self.row_text_bytes + 1) * (self.schema.row_bytes + 64)
        return text * (1 + any(file.is_far for file in self.files)) + numbers

    @property
    def seekable(self) -> bool:
        """Whether any row can be read on its own: not of a gzip stream, nor from afar."""
        return not any(text.file.is_far or text.compressed for text in self._texts)

    def estimate_rows(self) -> int:
        """Return an estimate of the number of rows, from the length of the first ones."""
        return max(1, int(sum(file.text_size for file in self._texts) / self.row_text_bytes))

    def content_id(self) -> str:
        """Return 'sha256-2:...' over schema, sizes and samples of the files."""
        return content_id(self.files, ["csv 1", self.schema.to_json(), *self.arrangement.to_json()])

    def former_content_ids(self) -> tuple[str, ...]:
        """Return the ids that earlier versions gave the same content."""
        return former_content_ids(self.files, ["csv 1", self.schema.to_json(), *self.arrangement.to_json()])

    def first_line(self, file: int) -> int:
        """Return the line number, from 1, of a file's first record."""
        return 2

    def progress(self, place: Place) -> tuple[int, int]:
        """Return (bytes of text up to the end of a place, bytes in all), estimates where files are gzip."""
        sizes = [file.text_size for file in self._texts]
        return sum(sizes[: place.file]) + min(place.stop, sizes[place.file]), sum(sizes)

    def tasks(self, *, after: Place | None = None, chunk_size: int = 10_000) -> Iterator[CsvTask]:
        """Yield one task per block in order, starting after the block at `after`.

        Blocks end at multiples of BLOCK_BYTES, so they are the same wherever reading starts.
        """
        first = after.file if after else 0
        for number in range(first, len(self._texts)):
            start = after.stop if after and number == first else self._data_starts[number]
            yield from self._file_tasks(number, start, chunk_size)

    def _file_tasks(self, number: int, start: int, chunk_size: int) -> Iterator[CsvTask]:
        file = self._texts[number]
        task = CsvTask(
            file.file, Place(number, start, 0), True, file.size, self.parser, self.schema.features, chunk_size
        )
        if not file.compressed:
            for place, exact in _block_places(number, start, file.size):
                yield replace(task, place=place, exact=exact)
            return
        places, ahead = _block_places(number, start), _block_places(number, start)
        wanted = ((p.start - (not exact), p.stop + _GZIP_LOOK_AHEAD) for p, exact in ahead)
        for (place, exact), (_, data) in zip(places, file.ranges(wanted), strict=False):
            yield replace(task, place=place, exact=exact, data=data, size=0)

    def check(self, places: Sequence[Place]) -> Iterator[CheckedPlace]:
        """Yield what lies at each place now, in order; stops early where the text does."""
        for number, file in enumerate(self._texts):
            inside = [place for place in places if place.file == number]
            wanted = [(place.start, place.stop + 1) for place in inside]
            if file.compressed:
                texts = (data for _, data in file.ranges(wanted))
            else:
                texts = (file.file.read(min(a, file.size), min(b, file.size)) for a, b in wanted)
            for place, data in zip(inside, texts, strict=False):
                size = place.stop - place.start
                if len(data) < size:
                    return
                ends_file, text = len(data) == size, data[:size]
                ends_range = place.stop >= _block_end(place.start) and text[-1:].tobytes() == b"\n"
                source_hash = xxhash.xxh3_128_hexdigest(text.data)
                yield CheckedPlace(source_hash, ends_block=ends_file or ends_range, ends_file=ends_file)

    def ends_whole(self) -> bool:
        """Return whether every plain file ends with a line break; without one its last line may be cut off."""
        plain = [file for file in self._texts if not file.compressed]
        return all(file.file.read(file.size - 1, file.size).tobytes() == b"\n" for file in plain)

    def _first_records(self) -> list[bytes]:
        """Return the first records of the first file that has any."""
        for file, start in zip(self._texts, self._data_starts, strict=True):
            records = self._records_of(file, start)
            if records:
                return records
        raise DataError(f"{self.name} has a header but no rows")

    def _records_of(self, file: TextFile, start: int) -> list[bytes]:
        size = _HEADER_BYTES
        while True:
            head = file.head(start + size)
            data = head[start:]
            found = _Found.room_for(2 * _SAMPLE_ROWS)
            edges = (part[:_SAMPLE_ROWS] for part in (found.starts, found.ends, found.lines))
            count, used, _ = kernels.find_records(data, 0, len(data), 2, *edges)
            if used < len(data) or len(head) < start + size or size > LONGEST_RECORD:
                break
            size *= 4
        return [data[s:e].tobytes() for s, e in zip(found.starts[:count], found.ends[:count], strict=True)]

    def _cells_of(self, column: str) -> Iterator[bytes]:
        """Yield the cells of a column in the first and last records of every file."""
        position, size = self.columns.index(column), max(_LOOKED_AT_BYTES, int(4 * self.row_text_bytes))
        for file, data_start in zip(self._texts, self._data_starts, strict=True):
            texts = [file.head(data_start + size)[data_start:]]
            if not file.compressed and file.size - size > data_start:
                data = file.file.read(file.size - size, file.size)
                texts.append(data[int(kernels.find_line(data, 0, len(data))) :])
            for data in texts:
                found = _Found.room_for(len(data))
                count, _, _ = kernels.find_records(data, 0, len(data), 0, found.starts, found.ends, found.lines)
                first = 0 if data is texts[0] else max(0, count - _LOOKED_AT_ROWS)
                near = slice(first, min(count, first + _LOOKED_AT_ROWS))
                for start, end in zip(found.starts[near], found.ends[near], strict=True):
                    record = split_record(data[start:end].tobytes())
                    if len(record.cells) == len(self.columns) and not record.open_quote:
                        yield record.cells[position]

    def _infer_feature(self, name: str, records: Sequence[bytes]) -> Feature:
        """Return the feature with the most common shape in the first rows, so that one bad row does not decide."""
        column, shapes = self.columns.index(name), Counter[tuple[int, ...]]()
        fault = "no row"
        for text in records:
            record = split_record(text)
            try:
                if column < len(record.cells):
                    shapes[infer_cell_shape(record.cells[column], name)] += 1
                else:
                    check_cells(record, self.columns)
            except RowFault as error:
                fault = error.detail
        if not shapes:
            raise DataError(f"column {name!r} holds no JSON array in the first rows ({fault})")
        shape = shapes.most_common(1)[0][0]
        if len(shape) > kernels.MAX_AXES:
            raise DataError(f"column {name!r} has {len(shape)} axes; at most {kernels.MAX_AXES} are accepted")
        return Feature(name, shape)


def _block_places(file: int, start: int, size: int | None = None) -> Iterator[tuple[Place, bool]]:
    """Yield the byte ranges of blocks from `start` up to `size`, or without end; only the first start is exact."""
    exact = True
    while size is None or start < size:
        stop = _block_end(start)
        yield Place(file, start, stop if size is None else min(stop, size)), exact
        start, exact = stop, False


def _block_end(start: int) -> int:
    return (start // BLOCK_BYTES + 1) * BLOCK_BYTES


def _read_header(file: TextFile) -> tuple[list[str], int]:
    """Return the column names and the byte offset of the first record."""
    if not file.size:
        raise DataError(f"{file.name} is empty; expected a CSV with a header and rows")
    line, found, _ = file.head(_HEADER_BYTES).tobytes().partition(b"\n")
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        text = "\0"
    if any(unicodedata.category(letter) == "Cc" and letter != "\t" for letter in text):
        raise DataError(f"{file.name} is not a text file; expected a CSV with a header and rows")
    return [cell.decode() for cell in split_record(text.encode()).cells], len(line) + len(found)


def first_timestamp(file: InputFile) -> tuple[int, str]:
    """Return the first readable time in a CSV (0 if there is none) and its name: the sort key of files."""
    text = TextFile(file)
    lines = text.head(_HEADER_BYTES).tobytes().split(b"\n")[1:] if text.size else []
    for line in lines:
        with suppress(RowFault):
            return read_timestamp(line.partition(b",")[0].strip(b'"\r')), file.name
    return 0, file.name
