"""Why different bars open at one time: a column that is not read may tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..errors import DataError
from ..inputs import InputFile
from .kline_columns import Roles, find_roles, plain_name
from .kline_files import KlineFile, open_klines

_NAMES = {
    "clock": "hour hours hh time clock minute minutes timeofday hourofday",
    "length": "interval timeframe tf period per resolution granularity frequency freq bar",
    "market": "exchange venue market source symbol ticker pair instrument contract type coin currency code",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_MOST_COLUMNS, _MOST_VALUES = 4, 1000


class TwoBarsError(DataError):
    """Different bars of one time; `file` is the one that holds both, '' where two files do."""

    def __init__(self, found: str, advice: str, file: str = ""):
        super().__init__(f"{found}; {advice}")
        self.found, self.file = found, file


def explained(error: TwoBarsError, files: Sequence[InputFile]) -> DataError:
    """Return the error with the column that tells the bars of its file apart, where one does."""
    file = next((file for file in files if file.name == error.file), None)
    advice = "" if file is None else _advice(open_klines(file))
    return DataError(f"{error.found}; {advice}") if advice else error


def _advice(file: KlineFile) -> str:
    roles = find_roles(file.names, file.sample, file.name)
    key = [index for index in (roles.time, roles.clock, roles.symbol) if index is not None]
    columns = _candidates(roles)
    cells = pd.DataFrame(file.read({roles.channels["close"]: "close"}, [*key, *columns]).texts).astype("str")
    again = cells[cells.duplicated(key, keep=False)]
    for index in columns:
        values = again[index].unique()
        if 1 < len(values) <= _MOST_VALUES and not again.duplicated([*key, index]).any():
            return _next_step(roles.names[index], roles.names[roles.time], [repr(value) for value in values[:3]])
    return ""


def _candidates(roles: Roles) -> list[int]:
    """Columns left out that may tell bars apart, those of known names first."""
    unread = [index for index, name in enumerate(roles.names) if name in roles.left_out]
    return sorted(unread, key=lambda index: plain_name(roles.names[index]) not in _KINDS)[:_MOST_COLUMNS]


def _next_step(name: str, time: str, values: Sequence[str]) -> str:
    kind = _KINDS.get(plain_name(name), "")
    found = f"column {name!r}, which is not read, tells them apart ({', '.join(values)})"
    if kind == "clock":
        return f"{found}: write it into column {time!r}, as in 2024-03-04 13:00"
    if kind == "length":
        return f"{found}: give the rows of one length, in a file of their own"
    return f"{found}: give the rows of one, in a file of their own, or put both names into a column 'symbol'"
