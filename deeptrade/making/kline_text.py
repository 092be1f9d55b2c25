"""Klines as text with a separator: where the header is, and the cells of chosen columns in bounded memory."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from ..errors import DataError
from ..times import is_number
from ..units import count_of
from .kline_cells import NULLS, Cells, CutRow, GrowingTable, numbers_of
from .kline_columns import price_names
from .kline_lines import LineReader, has_open_quote

_UTF8 = "utf-8-sig"
"""Not pyarrow's own decoder: that one prints a traceback for bad bytes in a row of too few cells."""
_SEPARATORS = (",", "\t", ";", "|")
_HEAD_LINES = 40
_BLOCK_BYTES = 1 << 20
_FEWEST_CELLS = 5
_MOST_CUT = 0.1


class TextFile:
    """A file of text whose cells are split by commas, tabs, semicolons or bars; comments may stand above the header.

    `opener` gives its bytes anew; `head` are the first of them; `size` is that of the whole.
    """

    naming = "put a header above the first line"

    def __init__(self, name: str, opener: Callable[[], IO[bytes]], head: bytes, *, size: int):
        self.name, self._opener = name, opener
        self._encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else _UTF8
        text = _decoded(head, self._encoding)
        if "\0" in text:
            raise DataError(f"{name} is not a text file; give klines as CSV, JSON, Feather or Parquet")
        lines = text.splitlines()[:_HEAD_LINES]
        self._separator = _separator(lines)
        split = [_split(line, self._separator) for line in lines]
        header, first = _header(split, name)
        names, first = (None, first) if header is None else _complete(split, header)
        self.names = None if names is None else tuple(names)
        self._header = "" if header is None else lines[header]
        closed = [not has_open_quote(line, self._separator) for line in lines[first:]]
        self.sample = [row for row, is_closed in zip(split[first:], closed, strict=True) if is_closed and any(row)]
        if not self.sample:
            raise DataError(f"{name} has a header but no rows; give a file with bars")
        self._first_line = first
        self._width = self._check_width()
        self.rows = int(size / max(8.0, float(np.mean([len(line) + 1 for line in lines[first:]]))))

    def _check_width(self) -> int:
        """Cells per row; an empty one at the end, as a trailing comma makes it, is dropped from the names."""
        widths = [len(row) for row in self.sample]
        width = max(set(widths), key=widths.count)
        if self.names is None or width == len(self.names):
            return width
        if width == len(self.names) + 1 and all(len(row) < width or not row[-1] for row in self.sample):
            return width
        raise DataError(
            f"{self.name} has {len(self.names)} names in its header but {width} cells in its rows; "
            f"give every column a name, or remove the cells without one"
        )

    def read(self, numbers: Mapping[int, str], texts: Sequence[int]) -> Cells:
        """Return the cells of some columns. Raises DataError for text among numbers and for rows of too many cells."""
        try:
            return self._cells(numbers, texts, strings=False)
        except pa.ArrowInvalid:  # a number is none: the cells as text tell which
            return self._cells(numbers, texts, strings=True)

    def _cells(self, numbers: Mapping[int, str], texts: Sequence[int], *, strings: bool) -> Cells:
        short: list[CutRow] = []
        values = GrowingTable(len(numbers), self.rows)
        chunks: dict[int, list[pa.Array]] = {index: [] for index in texts}
        filled: list[np.ndarray] = []
        first = 0
        for batch in self._batches([*numbers, *texts], set() if strings else set(numbers), short):
            columns = {index: batch.column(str(index)) for index in [*numbers, *texts]}
            filled.append(~_all_empty(columns.values(), len(batch)))
            columns = {index: column.filter(pa.array(filled[-1])) for index, column in columns.items()}
            places = np.arange(first, first + int(filled[-1].sum()))
            cells = [
                numbers_of(columns[index].to_pandas(), file=self.name, name=name, rows=places)
                for index, name in numbers.items()
            ]
            values.add(np.column_stack(cells))
            for index in texts:
                chunks[index].append(columns[index])
            first = int(places[-1]) + 1 if len(places) else first
        rows, lines, cut = self._places(np.concatenate(filled or [np.empty(0, bool)]), short)
        found = {index: pa.chunked_array(chunks[index], pa.string()).to_pandas().astype("str") for index in texts}
        return Cells(rows, lines, values.table(), found, cut)

    def _places(self, filled: np.ndarray, short: Sequence[CutRow]) -> tuple[np.ndarray, np.ndarray, list[CutRow]]:
        """Numbers of the rows that are whole, their lines, and the rows that are cut; blank lines are no rows."""
        lines = np.arange(self._first_line + 1, self._first_line + 1 + len(filled) + len(short))
        lines = np.delete(lines, [one.line - 1 - self._first_line for one in short])[filled]
        cut = [one for one in short if one.text.strip()]
        order = np.sort(np.concatenate([lines, [one.line for one in cut]]).astype(np.int64))
        if len(cut) > _MOST_CUT * len(order):
            raise DataError(
                f"{self.name} line {cut[0].line}: {cut[0].text!r:.60}: {cut[0].cause}, {self._width} cells are "
                f"expected ({count_of(len(cut), 'such line')}); correct or remove them"
            )
        cut = [replace(one, row=int(np.searchsorted(order, one.line))) for one in cut]
        return np.searchsorted(order, lines), lines, cut

    def _batches(self, columns: Sequence[int], floats: set[int], short: list[CutRow]):
        long: list[tuple[int, int]] = []

        def handle(row: pa_csv.InvalidRow) -> str:  # an error raised here would be lost
            if row.actual_columns > row.expected_columns:
                long.append((row.number, row.actual_columns))
            else:
                short.append(CutRow(-1, row.number, *lines.noted.get(row.number, (row.text,))))
            return "skip"

        kinds = {str(index): pa.float64() if index in floats else pa.string() for index in columns}
        with self._opener() as file:
            lines = LineReader(
                file,
                encoding=self._encoding,
                separator=self._separator,
                header=self._header,
                first_line=self._first_line + 1,
            )
            reader = pa_csv.open_csv(
                lines,
                read_options=pa_csv.ReadOptions(
                    use_threads=False,  # with threads rows have no numbers
                    column_names=[str(index) for index in range(self._width)],
                    skip_rows=self._first_line,
                    block_size=_BLOCK_BYTES,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self._separator, ignore_empty_lines=False, invalid_row_handler=handle
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=kinds, include_columns=list(kinds), null_values=list(NULLS), strings_can_be_null=False
                ),
            )
            for batch in reader:
                if long:
                    break
                yield batch
        if long:
            line, cells = min(long)
            raise DataError(
                f"{self.name} line {line}: {cells} cells, {self._width} are expected; correct or remove the line"
            )


def _decoded(head: bytes, encoding: str) -> str:
    if encoding == "utf-16":
        return head[: len(head) // 2 * 2].decode(encoding, errors="replace")
    return head.decode(encoding, errors="replace")


def _split(line: str, separator: str) -> list[str]:
    if has_open_quote(line, separator):
        return [cell.strip(' "') for cell in line.split(separator)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def _separator(lines: Sequence[str]) -> str:
    """The separator that splits most lines into enough cells; of several the one listed first."""
    counts = [sum(len(_split(line, one)) >= _FEWEST_CELLS for line in lines) for one in _SEPARATORS]
    return _SEPARATORS[counts.index(max(counts))]


def _header(split: Sequence[Sequence[str]], name: str) -> tuple[int | None, int]:
    """Index of the header (None: there is none) and of the first line below it."""
    for index, cells in enumerate(split):
        if _is_bar(cells):
            above = split[index - 1] if index else ()
            return (index - 1, index) if _are_names(above, len(cells)) else (None, index)
        if price_names(cells) >= 3:
            return index, index + 1
        if len(cells) >= _FEWEST_CELLS and _counts([cell for cell in cells if cell]):
            raise DataError(
                f"{name}: the header {','.join(cells):.40} numbers the columns and names none; name them "
                f"(open_time,open,high,low,close,volume), or remove the line"
            )
    wide = [index for index, cells in enumerate(split) if len(cells) >= _FEWEST_CELLS]
    first = wide[0] if wide else 0
    return first, first + 1


def _are_names(cells: Sequence[str], width: int) -> bool:
    """Whether a line above the first bar is a header, though its names are not known."""
    return len(cells) == width and all(cell[:1].isalpha() or cell[:1] in "<_" for cell in cells)


def _is_bar(cells: Sequence[str]) -> bool:
    """Whether most cells of a line are numbers and the line does not just number its columns."""
    filled = [cell for cell in cells if cell]
    numbers = sum(is_number(cell) or cell in ("nan", "NaN") for cell in filled)
    return numbers >= 4 and 2 * numbers > len(filled) and not _counts(filled)


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    return list(cells) in ([str(number + first) for number in range(len(cells))] for first in (0, 1))


def _complete(split: Sequence[Sequence[str]], header: int) -> tuple[list[str], int]:
    """Names of the columns and the index of the first row; yfinance writes three lines: prices, tickers, the time."""
    names = [cell.lstrip("#").strip() for cell in split[header]]
    below = split[header + 1 : header + 3]
    if names[0].lower() == "price" and len(below) == 2 and below[0][:1] == ["Ticker"] and not any(below[1][1:]):
        return [below[1][0], *names[1:]], header + 3
    while names and not names[-1]:
        names.pop()
    return names, header + 1


def _all_empty(columns, rows: int) -> np.ndarray:
    """Whether every chosen cell of a row is empty, as in a blank line: bool (rows,)."""
    empty = np.ones(rows, bool)
    for column in columns:
        cells = column.to_pandas()
        empty &= (cells.isna() | (cells == "") if isinstance(cells.dtype, pd.StringDtype) else cells.isna()).to_numpy()
    return empty
