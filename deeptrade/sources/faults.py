"""The slow exact path: one record at a time with Python's own json, and the reason why a row is rejected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..times import UnreadableTimeError, read_time
from ..units import count_of
from .schema import MARKET, Feature, array_shape
from .spellings import HOW_TO_WRITE, explain_spelling, explain_time, is_shortened

_MISSING = ("", "nan", "null", "none", "na", "n/a")


class RowFault(Exception):
    """Why a row is rejected: one of the ledger's reasons, the column, and the detail."""

    def __init__(self, reason: str, column: str, detail: str):
        super().__init__(f"{reason} in {column!r}: {detail}")
        self.reason, self.column, self.detail = reason, column, detail


@dataclass(frozen=True)
class Record:
    """One CSV record split into cells; `open_quote` means that the text ended inside a quoted cell."""

    cells: list[bytes]
    open_quote: bool


def split_record(text: bytes) -> Record:
    """Return the cells of a record as bytes, without their quotes.

    >>> split_record(b'1,"[2, 3]",4').cells
    [b'1', b'[2, 3]', b'4']
    """
    cells: list[bytes] = []
    position = 0
    while True:
        if text[position : position + 1] == b'"':
            end = _closing_quote(text, position + 1)
            if end < 0:
                return Record([*cells, text[position + 1 :]], open_quote=True)
            cells.append(text[position + 1 : end].replace(b'""', b'"'))
            comma = text.find(b",", end)
        else:
            comma = text.find(b",", position)
            cells.append(text[position : comma if comma >= 0 else len(text)])
        if comma < 0:
            return Record(cells, open_quote=False)
        position = comma + 1


def _closing_quote(text: bytes, position: int) -> int:
    while True:
        position = text.find(b'"', position)
        if position < 0 or text[position + 1 : position + 2] != b'"':
            return position
        position += 2


def check_cells(record: Record, columns: Sequence[str]) -> None:
    """Raise RowFault unless the record has one whole cell per column."""
    count = len(record.cells)
    if record.open_quote or count < len(columns):
        column = columns[min(count - record.open_quote, len(columns) - 1)]
        raise RowFault("cut_off", column, f"the line ends in cell {count} of {len(columns)}")
    if count > len(columns):
        raise RowFault("ragged", columns[-1], f"the line has {count} cells, the header {len(columns)}")


def is_missing(text: str) -> bool:
    """Return whether a cell's text stands for no value: empty, NaN, null and the like."""
    return text.lower() in _MISSING


def decode(cell: bytes, column: str) -> str:
    """Return the cell's text; raises RowFault if it is not UTF-8."""
    try:
        return cell.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RowFault("encoding", column, f"byte {error.start} of the cell is not UTF-8") from None


def read_cell(cell: bytes, feature: Feature) -> np.ndarray:
    """Return a feature cell as float32 of `feature.cell_shape`; null becomes NaN.

    Raises RowFault if the cell is missing, cut off, not JSON, ragged or of another shape.
    """
    value = _load_array(decode(cell, feature.name), feature.name)
    try:
        shape = array_shape(value)
    except ValueError as error:
        raise RowFault("ragged", feature.name, str(error)) from None
    if shape != feature.cell_shape:
        expected = "x".join(map(str, feature.cell_shape))
        given = "x".join(map(str, shape)) or "one number"
        raise RowFault("shape", feature.name, f"shape {given}, expected {expected}")
    try:
        with np.errstate(over="ignore"):
            return np.array(value, np.float64).astype(np.float32)
    except OverflowError:
        raise RowFault("encoding", feature.name, "an integer is too large for float64") from None


def _load_array(text: str, column: str) -> Any:
    if is_missing(text) or text == "[]":
        raise RowFault("missing", column, f"the cell is {text!r}" if text else "the cell is empty")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        ends_early = error.pos >= len(text.rstrip()) or text.count("[") > text.count("]")
        if ends_early and not is_shortened(text):
            raise RowFault("cut_off", column, f"the array ends after {count_of(len(text), 'character')}") from None
        detail = f"not JSON at character {error.pos}: {explain_spelling(text) or error.msg}"
        raise RowFault("cut_off" if ends_early else "encoding", column, detail) from None
    except RecursionError:
        raise RowFault("shape", column, "lists are nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise RowFault("encoding", column, str(error)[:80]) from None
    if isinstance(value, str):
        raise RowFault("encoding", column, f"the array is JSON text within JSON text; {HOW_TO_WRITE}, once")
    return value


def infer_cell_shape(cell: bytes, column: str) -> tuple[int, ...]:
    """Return the shape of the array in a cell; raises RowFault if there is none."""
    value = _load_array(decode(cell, column), column)
    try:
        shape = array_shape(value)
    except ValueError as error:
        raise RowFault("ragged", column, str(error)) from None
    if not shape or 0 in shape:
        raise RowFault("shape", column, "not an array of numbers")
    return shape


def read_number(cell: bytes, column: str) -> float:
    """Return a target or price; an empty cell or NaN is NaN.

    Raises RowFault('encoding') for text that is not a number; underscores, which Python takes, are none.
    """
    text = decode(cell, column)
    if is_missing(text):
        return float("nan")
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise RowFault("encoding", column, f"{text!r:.60} is not a number") from None


def read_market(cell: bytes) -> str:
    """Return the name of a market; raises RowFault for an empty cell, and for bytes that are not UTF-8."""
    name = decode(cell, MARKET)
    if not name:
        raise RowFault("missing", MARKET, "the cell is empty")
    return name


def read_timestamp(cell: bytes) -> int:
    """Return nanoseconds since 1970 UTC of a timestamp cell, as `read_time` reads it.

    Raises RowFault for an empty cell, other text, and times that int64 nanoseconds cannot hold.
    """
    text = decode(cell, "timestamp")
    if is_missing(text):
        raise RowFault("missing", "timestamp", "the cell is empty")
    try:
        return read_time(text)
    except UnreadableTimeError as error:
        form = explain_time(text)
        raise RowFault("encoding", "timestamp", f"{error}{form and '; ' + form}") from None
