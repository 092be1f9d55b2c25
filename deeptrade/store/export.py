"""A store as a Parquet file, for other tools; it compiles to the same numbers again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..errors import SettingsError
from ..files import atomic_write, user_path
from ..schema import Feature
from .reader import open_store

_GROUP_BYTES = 64 << 20


def export_parquet(store: str | Path, out: str | Path, *, sink: Callable[[str], None] | None = None) -> Path:
    """Write the usable rows of a store to a Parquet file and return its path; whole or not at all.

    Features are nested lists of float32 in the shape of their cells, times are in ns UTC, missing targets are NaN.
    Targets that come from prices are columns here. Rejected rows are not in a store, so not in its export.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    out = user_path(out)
    if out.suffix.lower() not in (".parquet", ".pq"):
        raise SettingsError(f"out={str(out)!r} is not accepted; give a file that ends in .parquet")
    with open_store(store) as data:
        rows = max(1, _GROUP_BYTES // data.schema.row_bytes)
        with atomic_write(out) as file, parquet.ParquetWriter(file, pa.schema(_fields(data))) as writer:
            for start in range(0, len(data.usable), rows):
                writer.write_batch(_batch(data, data.usable.numbers(start, start + rows)))
        if sink:
            sink(f"{out}: {len(data.usable)} rows")
    return out


def _fields(data: Dataset) -> Any:
    import pyarrow as pa

    fields = [pa.field("timestamp", pa.timestamp("ns", "UTC"))]
    for feature in data.schema.features:
        kind = pa.float32()
        for _ in feature.cell_shape:
            kind = pa.list_(kind)
        fields.append(pa.field(feature.name, kind))
    return fields + [pa.field(f"y_{step + 1}", pa.float32()) for step in range(data.schema.horizons)]


def _batch(data: Dataset, row_ids: np.ndarray) -> Any:
    import pyarrow as pa

    values, targets = data.read(row_ids), data.read_targets(row_ids)
    columns = [pa.array(data.read_times(row_ids), pa.timestamp("ns", "UTC"))]
    columns += [_nested(values[feature.name], feature) for feature in data.schema.features]
    columns += [pa.array(targets[:, step]) for step in range(data.schema.horizons)]
    return pa.record_batch(columns, schema=pa.schema(_fields(data)))


def _nested(values: np.ndarray, feature: Feature) -> Any:
    import pyarrow as pa

    array = pa.array(values.ravel())
    for length in reversed(feature.cell_shape):
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, length, dtype=np.int32), array)
    return array
