"""Klines in files that are tables already: Feather, Parquet, and JSON as exchanges and other tools write it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from ..errors import DataError
from ..inputs import InputFile
from .kline_cells import Cells, numbers_of
from .kline_columns import UNNAMED_ORDERS
from .kline_law import lawful

_SAMPLE_ROWS = 40


class ArrowFile:
    """A Feather or Parquet file; an index that pandas stored is a column like the others."""

    naming = "name its columns"

    def __init__(self, file: InputFile):
        self.name, self._file = file.name, file
        with file.open() as content:
            self._is_parquet = content.read(4) == b"PAR1"
        if self._is_parquet:
            with pq.ParquetFile(file.openable()) as parquet:
                schema, self.rows = parquet.schema_arrow, parquet.metadata.num_rows
                first = next(parquet.iter_batches(_SAMPLE_ROWS), None)
        else:
            table = pyarrow.feather.read_table(file.openable(), memory_map=True)
            schema, self.rows = table.schema, len(table)
            first = table.slice(0, _SAMPLE_ROWS)
        if not self.rows or first is None:
            raise DataError(f"{self.name} has columns but no rows; give a file with bars")
        self.names: tuple[str, ...] | None = tuple(_index_name(field) for field in schema)
        self._columns = schema.names
        columns = [[str(cell) for cell in column.to_pylist()] for column in first.columns]
        self.sample = [list(row) for row in zip(*columns, strict=True)]

    def read(self, numbers: Mapping[int, str], texts: Sequence[int]) -> Cells:
        """Return the cells of some columns. Raises DataError for text among numbers."""
        wanted = [self._columns[index] for index in [*numbers, *texts]]
        if self._is_parquet:
            table = pq.read_table(self._file.openable(), columns=wanted)
        else:
            table = pyarrow.feather.read_table(self._file.openable(), columns=wanted, memory_map=True)
        found = Cells(np.arange(len(table)), None, np.empty((len(table), len(numbers))), {})
        for place, (index, name) in enumerate(numbers.items()):
            column = table.column(self._columns[index])
            kind = column.type
            if pa.types.is_decimal(kind):
                found.values[:, place] = _doubles(column).to_numpy()
            elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
                found.values[:, place] = column.cast(pa.float64(), safe=False).to_numpy()
            else:
                found.values[:, place] = numbers_of(column.to_pandas(), file=self.name, name=name)
        for index in texts:
            found.texts[index] = _times(table.column(self._columns[index]))
        return found


def _index_name(field: pa.Field) -> str:
    unnamed = field.name.startswith("__index_level_") and pa.types.is_temporal(field.type)
    return "timestamp" if unnamed else field.name


def _times(column: pa.ChunkedArray) -> pd.Series:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_time(kind):
        column = column.cast(pa.string())
    elif pa.types.is_decimal(kind):
        column = _doubles(column)
    return column.to_pandas()


def _doubles(decimals: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals as float64 through their text: Arrow's own way is not rounded correctly."""
    return decimals.cast(pa.string()).cast(pa.float64())


class JsonFile:
    """JSON with one array or object per bar, or one array per column, also inside the envelope of an exchange; or with
    one bar per line."""

    naming = "save it as CSV with the header"

    def __init__(self, name: str, content: bytes):
        self.name = name
        try:
            rows = _rows(_document(content.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} cannot be read (JSON: {error}); give one array of bars") from None
        if not rows:
            raise DataError(f"{name} holds no array of bars; give [[time, open, high, low, close, volume], ...]")
        self.names: tuple[str, ...] | None = None
        if isinstance(rows[0], dict):
            names = list(dict.fromkeys(str(key) for row in rows if isinstance(row, dict) for key in row))
            self.names = tuple(names)
            rows = [[row.get(key) for key in names] if isinstance(row, dict) else row for row in rows]
        width = len(rows[0])
        odd = next((index for index, row in enumerate(rows) if not isinstance(row, list) or len(row) != width), None)
        if odd is not None:
            raise DataError(f"{name} row {odd}: not {width} cells as in the first row; correct or remove it")
        if self.names is None:
            self.names = _order(rows, name)
        self.rows = len(rows)
        self._columns = list(zip(*rows, strict=True))
        self.sample = [["" if cell is None else str(cell) for cell in row] for row in rows[:_SAMPLE_ROWS]]

    def read(self, numbers: Mapping[int, str], texts: Sequence[int]) -> Cells:
        """Return the cells of some columns. Raises DataError for text among numbers."""
        found = Cells(np.arange(self.rows), None, np.empty((self.rows, len(numbers))), {})
        for place, (index, name) in enumerate(numbers.items()):
            found.values[:, place] = numbers_of(list(self._columns[index]), file=self.name, name=name)
        for index in texts:
            found.texts[index] = pd.Series(list(self._columns[index]))
        return found


_ORDERS = {
    7: ("time", "open", "close", "high", "low", "volume", "turnover"),
    8: ("time", "open", "high", "low", "close", "vwap", "volume", "count"),
    9: ("ts", "open", "high", "low", "close", "vol", "volCcy", "volCcyQuote", "confirm"),
}
"""What the arrays of KuCoin, Kraken and OKX hold. Seven cells are those of KuCoin where the law of bars says so."""
_LAWFUL = 0.99


def _order(rows: list[list], file: str) -> tuple[str, ...] | None:
    """The names of arrays by their length, None for those that are known without. Raises DataError for others."""
    width = len(rows[0])
    if width in (8, 9):
        return _ORDERS[width]
    if width == 7:
        try:
            cells = np.array([row[1:6] for row in rows], np.float64)
        except (TypeError, ValueError):
            return None
        is_kucoin = lawful(cells[:, [0, 2, 3, 1, 4]]).mean() >= _LAWFUL > lawful(cells).mean()
        return _ORDERS[width] if is_kucoin else None
    if width not in UNNAMED_ORDERS:
        raise DataError(
            f"{file} holds arrays of {width} cells in an order that is not known; save them as CSV with a header, such "
            f"as open_time,open,high,low,close,volume"
        )
    return None


def _document(text: str) -> Any:
    """The JSON document, or a list of those that stand each on a line of its own."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        first, _, more = text.strip().partition("\n")
        if not error.msg.startswith("Extra data") or not more.lstrip()[:1] or more.lstrip()[:1] != first[:1]:
            raise
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error}") from None
    return found


def _rows(content: Any) -> list:
    """The bars in a JSON document: the array itself, or the one that an envelope like {"data": [...]} holds."""
    if isinstance(content, list):
        return content if content and isinstance(content[0], (list, dict)) else []
    if not isinstance(content, dict):
        return []
    arrays = {key: value for key, value in content.items() if isinstance(value, list)}
    flat = {key: value for key, value in arrays.items() if value and not isinstance(value[0], (list, dict))}
    if len(flat) >= 5 and len({len(value) for value in flat.values()}) == 1:
        return [dict(zip(flat, cells, strict=True)) for cells in zip(*flat.values(), strict=True)]
    for value in content.values():
        if isinstance(value, (list, dict)) and (found := _rows(value)):
            return found
    return []
