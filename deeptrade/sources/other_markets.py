"""Columns that name markets under another name than 'market': unused, they would let targets cross markets.

Only the first and last rows of each file are looked at, so that it costs the same for any size: markets that are mixed,
or that follow each other, show there. For the rest, the column's name alone is worth a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import DataError
from .faults import RowFault, decode, is_missing
from .schema import MARKET

_WORDS = "market marketid symbol symbolid ticker tic instrument instrumentid pair currencypair asset assetid"
_NAMES = frozenset(_WORDS.split())
_LONGEST_NAME = 60


def market_columns(header: Iterable[str], unused: Iterable[str]) -> list[str]:
    """Return the unused columns that may name the rows' markets; none where a column 'market' does.

    >>> market_columns(["timestamp", "Symbol", "volume"], ["Symbol", "volume"])
    ['Symbol']
    """
    if MARKET in header:
        return []
    return [name for name in unused if re.sub("[^a-z]", "", name.lower()) in _NAMES]


def refuse_several(column: str, cells: Iterable[bytes | None]) -> None:
    """Raise DataError if cells of an unused column name several markets; numbers, arrays and empty cells name none."""
    first = ""
    for cell in cells:
        name = _market_name(cell or b"", column)
        if name and first and name != first:
            raise DataError(
                f"column {column!r} tells several markets apart ({first!r}, {name!r}), but only a column 'market' is "
                f"read as such: rename {column!r} to 'market' and place it after 'timestamp', or remove it"
            )
        first = first or name


def _market_name(cell: bytes, column: str) -> str:
    """Return the name of a market that a cell holds; empty where it holds none."""
    try:
        text = decode(cell, column)
    except RowFault:
        return ""
    if is_missing(text) or text[0] in "[{" or len(text) > _LONGEST_NAME:
        return ""
    try:
        float(text)
    except ValueError:
        return text
    return ""
