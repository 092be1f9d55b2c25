"""What one row holds: a timestamp, named float arrays of fixed shape, and one target per horizon."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

from ..errors import DataError, SettingsError
from ..times import is_number

FEATURE_PREFIX = "arr_"
_TARGET = re.compile(r"y_([1-9]\d*)")


@dataclass(frozen=True)
class Feature:
    """One array column: its exact name and the shape written in each cell."""

    name: str
    cell_shape: tuple[int, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row inside the package: a leading axis of length 1 is dropped."""
        if len(self.cell_shape) > 1 and self.cell_shape[0] == 1:
            return self.cell_shape[1:]
        return self.cell_shape

    @cached_property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.cell_shape)

    @property
    def is_sequence(self) -> bool:
        """Whether the first axis is time, oldest step first; vectors have one axis."""
        return len(self.shape) > 1

    @property
    def channels(self) -> int:
        """Numbers per time step of a sequence; for a vector, its length."""
        return self.size // self.shape[0] if self.is_sequence else self.size


MARKET = "market"
"""The column that names a row's market; it follows `timestamp`."""

TargetSource = Literal["columns", "price", "none"]


@dataclass(frozen=True)
class Schema:
    """The features, in column order, where the targets come from, and whether rows name their market.

    `target_source` is 'columns' (y_1..y_H), 'price' (returns of the price column, H steps ahead) or 'none': data to
    forecast.
    """

    features: tuple[Feature, ...]
    horizons: int
    target_source: TargetSource = "columns"
    has_markets: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Feature names, in column order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row's features and targets as float32."""
        return 4 * (sum(feature.size for feature in self.features) + self.horizons)

    def select(self, names: Sequence[str] | None) -> Schema:
        """Return the schema with only the features `names`, in column order; None keeps all.

        Raises SettingsError for a name that is not a feature.
        """
        if names is None or tuple(names) == self.names:
            return self
        for name in names:
            if name not in self.names:
                raise SettingsError(f"features={name!r} is not in the data; {self._hint(name)}")
        if not names:
            raise SettingsError(f"features is empty; {self._hint('')}")
        chosen = tuple(feature for feature in self.features if feature.name in set(names))
        return Schema(chosen, self.horizons, self.target_source, self.has_markets)

    def _hint(self, name: str) -> str:
        near = get_close_matches(name, self.names, n=1)
        return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(self.names)}"

    def to_json(self) -> dict[str, Any]:
        """Return the schema as plain data; `from_json` reverses it."""
        return {
            "features": [{"name": f.name, "cell_shape": list(f.cell_shape)} for f in self.features],
            "horizons": self.horizons,
            "target_source": self.target_source,
            **({"has_markets": True} if self.has_markets else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """Return the schema that `to_json` wrote."""
        features = tuple(Feature(f["name"], tuple(f["cell_shape"])) for f in data["features"])
        return cls(features, data["horizons"], data["target_source"], data.get("has_markets", False))


_KLINES = {"open", "high", "low", "close"}
"""Columns by which files are told that are not yet rows."""


def infer_columns(header: Sequence[str], *, needs_targets: bool = True) -> tuple[tuple[str, ...], int, TargetSource]:
    """Return the feature names, the number of horizons and the target source that a CSV header implies.

    Horizons is 0 if there is only `price`, or no target and none is needed: the caller chooses how many steps ahead.

    Raises DataError naming the column that is missing or repeated.
    """
    if header and all(map(is_number, header)):
        raise DataError(
            "the first line holds numbers, no names of columns; add a header, or run deeptrade build on klines"
        )
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise DataError(f"column {doubled[0]!r} appears twice; every column needs its own name")
    if not header or header[0] != "timestamp":
        first = header[0] if header else ""
        raise DataError(
            f"first column is {first[:60]!r}; expected 'timestamp', then arr_* features, then y_1..y_H; "
            f"{_first_column_advice(first, header)}"
        )
    names = tuple(name for name in header if name.startswith(FEATURE_PREFIX))
    if not names:
        raise DataError(
            f"no feature column among {_shortened(header)}; features are JSON arrays in columns named arr_*, such as "
            f"arr_5m; deeptrade build makes such rows from klines, docs/tutorial.md shows how to from other tables"
        )
    steps = sorted(int(match[1]) for name in header if (match := _TARGET.fullmatch(name)))
    if steps:
        missing = sorted(set(range(1, steps[-1] + 1)) - set(steps))
        if missing:
            raise DataError(f"column 'y_{missing[0]}' is missing; targets must be y_1..y_{steps[-1]} without a gap")
        return names, steps[-1], "columns"
    if "price" in header:
        return names, 0, "price"
    if not needs_targets:
        return names, 0, "none"
    raise DataError(
        f"no targets among {_shortened(header)}; add a 'price' column, from which returns are computed, or y_1..y_H"
    )


def number_columns(steps: int, target_source: TargetSource) -> list[str]:
    """Return the columns that targets come from: y_1..y_H, the price, or none."""
    return ["price"] if target_source == "price" else [f"y_{step}" for step in range(1, steps + 1)]


def _first_column_advice(first: str, header: Sequence[str]) -> str:
    if first.lstrip().startswith("#"):
        is_header = "timestamp" in first or any(name.startswith(FEATURE_PREFIX) for name in header)
        return "remove the '#' before the header" if is_header else "remove the comment lines above the header"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if sign in first:
            return f"separate the columns with commas, not {name}"
    if "timestamp" in header:
        index = " (pandas writes an index unless index=False)" if first in ("", "Unnamed: 0") else ""
        return f"put 'timestamp' first{index}"
    if {name.strip().lower() for name in header} >= _KLINES:
        return "these look like klines: deeptrade build makes rows of them"
    named = f"rename {first[:60]!r} to 'timestamp' if it is the time" if first else "name the first column"
    if any(name.startswith(FEATURE_PREFIX) for name in header):
        return named
    return f"{named}, and put what a model may see into JSON arrays in columns named arr_*: see docs/tutorial.md"


def _shortened(header: Sequence[str]) -> str:
    """Return the column names as text, shortened to a line."""
    names = [repr(name[:40]) for name in header]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def array_shape(value: Any) -> tuple[int, ...]:
    """Return the shape of nested lists of numbers; NaN and None count as numbers.

    Raises ValueError if the lists are ragged or hold anything else.

    >>> array_shape([[1.0, 2.0], [3.0, None]])
    (2, 2)
    """
    try:
        return _array_shape(value)
    except RecursionError:
        raise ValueError("lists are nested too deeply") from None


def _array_shape(value: Any) -> tuple[int, ...]:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return ()
    if not isinstance(value, list):
        raise ValueError(f"holds {value!r:.40}, which is not a number")
    shapes = {_array_shape(item) for item in value}
    if len(shapes) > 1:
        raise ValueError("rows of the array differ in length")
    return (len(value), *(shapes.pop() if shapes else ()))


def unused_columns(header: Iterable[str]) -> list[str]:
    """Return the header's columns that are neither timestamp, feature, target nor price."""
    known = ("timestamp", MARKET, "price")
    return [n for n in header if n not in known and not n.startswith(FEATURE_PREFIX) and not _TARGET.fullmatch(n)]


def needed_columns(header: Iterable[str]) -> list[str]:
    """Return the header's columns that rows are read from: not the unused ones, nor a price beside targets."""
    names = list(header)
    spare = {*unused_columns(names), *(["price"] if any(_TARGET.fullmatch(name) for name in names) else [])}
    return [name for name in names if name not in spare]
