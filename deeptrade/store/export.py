"""A store as a Parquet file for other tools; compiling it gives the same numbers again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SettingsError
from ..sources.remote.files import check_out, written
from ..sources.schema import MARKET, Feature, Schema
from ..units import count_of
from .origin import local_store
from .reader import StoreRows, read_store

_GROUP_BYTES = 64 << 20


def export_parquet(store: str | Path, out: str | Path, *, sink: Callable[[str], None] | None = None) -> str | Path:
    """Write the usable rows of a store to a Parquet file and return its path, or address; whole or not at all.

    Rows are in the order of the store, with their market where they name one. Features are nested lists of float32 in
    the shape of their cells, times are in ns UTC, missing targets are NaN. Targets computed from prices become columns.
    Rejected rows are not in a store, so they are not exported.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    check_out(out)
    if Path(out).suffix.lower() not in (".parquet", ".pq"):
        raise SettingsError(f"out={str(out)!r} is not accepted; use a file name that ends in .parquet or .pq")
    summary, contents = read_store(local_store(store))
    schema, fields = summary.schema, pa.schema(_fields(summary.schema))
    rows = max(1, _GROUP_BYTES // schema.row_bytes)
    count = len(summary.usable)
    with closing(contents), written(out) as file, parquet.ParquetWriter(file, fields) as writer:
        for start in range(0, count, rows):
            places = np.arange(start, min(start + rows, count))
            columns = _columns(contents, places, schema, markets=summary.markets)
            writer.write_batch(pa.record_batch(columns, schema=fields))
    if sink:
        sink(f"{out}: {count_of(count, 'row')}")
    return out


def _fields(schema: Schema) -> list[Any]:
    import pyarrow as pa

    fields = [pa.field("timestamp", pa.timestamp("ns", "UTC"))]
    if schema.has_markets:
        fields.append(pa.field(MARKET, pa.string()))
    for feature in schema.features:
        kind = pa.float32()
        for _ in feature.cell_shape:
            kind = pa.list_(kind)
        fields.append(pa.field(feature.name, kind))
    return fields + [pa.field(f"y_{step + 1}", pa.float32()) for step in range(schema.horizons)]


def _columns(contents: StoreRows, places: np.ndarray, schema: Schema, *, markets: Sequence[str]) -> list[Any]:
    """Return the Arrow arrays of the usable rows at int64 places, one per field."""
    import pyarrow as pa

    values, targets = contents.read(places, schema.features), contents.read_targets(places)
    columns = [pa.array(np.take(contents.timestamps, places), pa.timestamp("ns", "UTC"))]
    if contents.market_codes is not None:
        columns.append(pa.array(np.array(markets, object)[np.take(contents.market_codes, places)], pa.string()))
    columns += [_nested(values[feature.name], feature) for feature in schema.features]
    return columns + [pa.array(targets[:, step]) for step in range(schema.horizons)]


def _nested(values: np.ndarray, feature: Feature) -> Any:
    import pyarrow as pa

    array = pa.array(values.ravel())
    for length in reversed(feature.cell_shape):
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, length, dtype=np.int32), array)
    return array
