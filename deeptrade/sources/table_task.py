"""One block of rows of a Parquet or HDF5 file, converted to float32 and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError
from .blocks import Block, Place, make_block
from .column_types import decoded, text_cells
from .columns import read_feature, read_numbers
from .faults import RowFault, read_market, read_timestamp
from .schema import MARKET, Feature


@dataclass(frozen=True)
class TableTask:
    """One block to check: `columns` holds a numpy array per column, or an Arrow array where lists may be ragged."""

    place: Place
    features: tuple[Feature, ...]
    number_columns: tuple[str, ...]
    columns: Mapping[str, Any]
    exact: bool = True
    reads: None = None

    def from_start(self, start: int) -> TableTask:
        """Return the task for the same rows from `start` on."""
        columns = {name: values[start - self.place.start :] for name, values in self.columns.items()}
        return replace(self, place=replace(self.place, start=start), columns=columns)

    def run(self) -> Block:
        """Convert and check the rows."""
        rows = self.place.stop - self.place.start
        faults: dict[int, RowFault] = {}
        features = {f.name: read_feature(self.columns[f.name], f, rows, faults) for f in self.features}
        non_finite = np.stack(
            [np.count_nonzero(~np.isfinite(values.reshape(rows, -1)), axis=1) for values in features.values()], axis=1
        )
        numbers = np.empty((rows, len(self.number_columns)), np.float32)
        for place, name in enumerate(self.number_columns):
            numbers[:, place] = read_numbers(self.columns[name], name, faults)
        timestamps = read_times(decoded(self.columns["timestamp"]), faults)
        markets = read_markets(self.columns.get(MARKET), rows, faults)
        lines = np.arange(rows)
        return make_block(
            self.place,
            lines=rows,
            source_hash=_hash(timestamps, numbers, *features.values(), *_as_bytes(markets)),
            schema_features=self.features,
            features=features,
            non_finite=non_finite,
            numbers=numbers,
            timestamps=timestamps,
            markets=markets,
            positions=np.stack([lines, np.full(rows, -1), np.full(rows, -1)], axis=1),
            faults=faults,
        )


def _hash(*arrays: np.ndarray) -> str:
    digest = xxhash.xxh3_128()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _nanoseconds(times: np.ndarray, unit: str, faults: dict[int, RowFault]) -> np.ndarray:
    """Return int64 ns of int64 times in 's', 'ms', 'us' or 'ns'; those too large for int64 ns are noted."""
    factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    outside = np.abs(times) > (2**63 - 1) // factor
    for place in np.flatnonzero(outside).tolist():
        faults.setdefault(place, RowFault("encoding", "timestamp", "the time is outside the years 1678 to 2261"))
    nanoseconds: np.ndarray = np.where(outside, 0, times) * factor
    return nanoseconds


def read_times(column: Any, faults: dict[int, RowFault]) -> np.ndarray:
    """Return int64 ns UTC of times, text, or epoch numbers (unit by magnitude)."""
    if not isinstance(column, np.ndarray):
        import pyarrow as pa

        if pa.types.is_timestamp(column.type):
            for place in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                faults.setdefault(place, RowFault("missing", "timestamp", "the cell is empty"))
            return _nanoseconds(column.cast(pa.int64()).fill_null(0).to_numpy(), column.type.unit, faults)
        column = np.array(column.to_pylist(), object)
    times = np.zeros(len(column), np.int64)
    for row, value in enumerate(column.tolist()):
        text = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        try:
            times[row] = read_timestamp(text)
        except RowFault as fault:
            faults.setdefault(row, fault)
    return times


def read_markets(column: Any, rows: int, faults: dict[int, RowFault]) -> np.ndarray:
    """Return the names of the rows' markets, objects (rows,), '' without such a column; missing ones are noted."""
    names = np.full(rows, "", object)
    cells = None if column is None else text_cells(column)
    if column is not None and cells is None:
        raise DataError("column 'market' holds no text; write the markets' names as text")
    for row, cell in enumerate(cells or ()):
        try:
            names[row] = read_market(cell or b"")
        except RowFault as fault:
            faults.setdefault(row, fault)
    return names


def _as_bytes(markets: np.ndarray) -> list[np.ndarray]:
    """Return what a hash should know of the markets: nothing where rows name none."""
    return [np.frombuffer("\0".join(markets).encode(), np.uint8)] if any(markets) else []
