"""Parquet and HDF5 files written the plain way, and what of them is accepted and rejected."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from deeptrade.sources.kinds import open_source

ROWS = 12
TIMES = [1_700_000_000 + 1200 * row for row in range(ROWS)]
ARRAYS = np.random.default_rng(0).normal(size=(ROWS, 3, 2)).round(4)
PRICES = (100 + np.arange(ROWS) * 0.1234).round(4)


def write_parquet(path: Path, **columns) -> Path:
    """Write a small table; columns given replace those of the same names."""
    parquet.write_table(pa.table({"timestamp": TIMES, "arr_a": ARRAYS.tolist(), "price": PRICES, **columns}), path)
    return path


def write_hdf5(path: Path, **datasets) -> Path:
    """Write a small file; datasets given replace those of the same names, None leaves one out."""
    with h5py.File(path, "w", track_order=True) as file:
        for name, values in {"timestamp": TIMES, "arr_a": ARRAYS, "price": PRICES, **datasets}.items():
            if values is not None:
                file[name] = values
    return path


def read_all(path: Path):
    """Return (features, numbers, timestamps, faults as (row, column, reason, detail)) of all blocks of a file."""
    blocks = [task.run() for task in open_source(path).tasks()]
    features = {name: np.concatenate([block.features[name] for block in blocks]) for name in blocks[0].features}
    faults = [(fault.row, fault.column, fault.reason, fault.detail) for block in blocks for fault in block.faults]
    return (
        features,
        np.concatenate([block.numbers for block in blocks]),
        np.concatenate([block.timestamps for block in blocks]),
        faults,
    )
