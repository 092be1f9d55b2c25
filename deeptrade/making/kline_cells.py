"""The cells of a file's columns, and text cells as numbers: what every kind of file gives to `klines`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import DataError

NULLS = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "N/A", "n/a", "NA", "<NA>", "-nan", "#N/A")
"""Cells that stand for no number: such a bar is a gap. Any other text among numbers is an error."""


@dataclass(frozen=True)
class CutRow:
    """A line that is no row, because it has too few cells or for another cause."""

    row: int
    line: int
    text: str
    cause: str = "cells are missing"


@dataclass
class Cells:
    """Chosen columns: values float64 (rows, columns), NaN for what stands for no number; texts by position, as written.

    `rows` count data rows from 0, int64. `lines` count lines of text from 1, int64; None for files that have no lines.
    `cut` are the lines left out, mostly because cells are missing at their end.
    """

    rows: np.ndarray
    lines: np.ndarray | None
    values: np.ndarray
    texts: dict[int, pd.Series]
    cut: list[CutRow] = field(default_factory=list)


class GrowingTable:
    """A table of numbers that grows in place, so that a long one is never held twice."""

    def __init__(self, columns: int, rows: int):
        self._table, self._rows = np.empty((max(1, rows), columns)), 0

    def add(self, rows: np.ndarray) -> None:
        """Append float64 (rows, columns)."""
        end = self._rows + len(rows)
        if end > len(self._table):
            self._table.resize((end + end // 4, self._table.shape[1]), refcheck=False)
        self._table[self._rows : end] = rows
        self._rows = end

    def table(self) -> np.ndarray:
        """Return all rows, float64 (rows, columns)."""
        return self._table[: self._rows]


def keep_rows(table: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return some rows of a table, by their indices or a mask, in the memory of the table, a column at a time."""
    indices = np.flatnonzero(kept) if kept.dtype == bool else kept
    for column in range(table.shape[1]):
        table[: len(indices), column] = table[indices, column]
    return table[: len(indices)]


def numbers_of(column: Sequence | pd.Series, *, file: str, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return a column of numbers or of their text as float64, NaN for what stands for none.

    Raises DataError that names file, row and column for any other text.
    """
    cells = pd.Series(column)
    if cells.dtype == object or isinstance(cells.dtype, pd.StringDtype):
        cells = cells.map(str, na_action="ignore").str.strip()
    values = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = np.flatnonzero(np.isnan(values) & ~(cells.isna() | cells.isin(NULLS)).to_numpy())
    if len(bad) and not _stray_quotes(cells.iloc[bad], len(cells)):
        row, cell = rows[bad[0]] if rows is not None else bad[0], str(cells.iloc[bad[0]])
        advice = _advice([str(cell) for cell in cells.iloc[bad[:_SAMPLE]]], int(row), share=len(bad) / len(cells))
        raise DataError(f"{file} row {row}: {name}={cell!r:.40} is not a number; {advice}")
    return values


def _stray_quotes(cells: pd.Series, rows: int) -> bool:
    """Whether some cells are no numbers for a quote within them alone, as 4.5" has: a gap, as a cut line is."""
    return len(cells) <= _USUAL * rows and bool(cells.astype("str").str.fullmatch(r'[-+\d.eE]*"[-+\d.eE]*').all())


_FORMS = {
    r"[+-]?\d{1,3},\d{3}": "a comma parts thousands or decimals, which is not told: write 1234.5",
    r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?": "commas part its thousands: write 10000.5, as "
    "pandas.read_csv(..., thousands=',').to_csv(..., index=False) does",
    r"[+-]?\d{1,3}(\.\d{3})*,\d+": "its decimals follow a comma: write 1234.5, as "
    "pandas.read_csv(..., sep=None, decimal=',', thousands='.').to_csv(..., index=False) does",
    r"[+-]?\d+,\d+": "its decimals follow a comma: write 1234.5, as "
    "pandas.read_csv(..., sep=None, decimal=',').to_csv(..., index=False) does",
    r"[+-]?[\d.,]+ ?[KMBkmb]": "K, M and B stand for thousands, millions and billions: write the numbers in full",
    r"[^\d\s]{1,4} ?[+-]?[\d.,]+|[+-]?[\d.,]+ ?[^\d\s]{1,4}": "leave currencies, units and other signs away",
}
"""Forms of numbers that are not read, because a wrong guess is a wrong price, with the next step."""
_SAMPLE, _USUAL = 1000, 0.5


def _advice(cells: Sequence[str], row: int, *, share: float) -> str:
    """The next step for cells that are no numbers, the first of them in `row`."""
    for form, step in _FORMS.items():
        if share > _USUAL and all(re.fullmatch(form, cell) for cell in cells):
            return f"most rows are written so, {step}"
    if row == 0 and len(cells) == 1 and not any(letter.isdigit() for letter in cells[0]):
        return "a second line of names or units? Remove the line"
    return "write numbers as 1234.5, or remove the row (its bar becomes a gap)"
