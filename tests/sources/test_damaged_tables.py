import json
import random
import shutil
import warnings

import h5py
import numpy as np
import pyarrow as pa
import pytest

from deeptrade.errors import DataError
from deeptrade.store import compile_store, verify_store
from tests.support.tables import ARRAYS, PRICES, ROWS, TIMES, write_hdf5, write_parquet

MUTATIONS = 60


def write_nested(path):
    return write_parquet(path)


def write_json(path):
    return write_parquet(path, arr_a=[json.dumps(array.tolist()) for array in ARRAYS])


def write_strings(path):
    return write_hdf5(path, arr_a=[json.dumps(array.tolist()) for array in ARRAYS], price=[str(p) for p in PRICES])


def write_chunks(path):
    write_hdf5(path, arr_a=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("arr_a", data=ARRAYS, chunks=(4, 3, 2), compression="gzip")
    return path


def mutate(content, generator):
    """Return the bytes cut off, or with a stretch or a few bytes replaced."""
    content, kind = bytearray(content), generator.random()
    if kind < 0.2:
        return content[: generator.randrange(len(content))]
    count = generator.randrange(8, 64) if kind < 0.5 else 1
    start = generator.randrange(len(content))
    content[start : start + count] = generator.randbytes(count)
    return content


def refusal(path, store):
    """Compile a file and return the line with which it is refused; empty if it is stored. Warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile_store(path, store=store, max_bad_rows=1.0)
        except DataError as error:
            return str(error)
    return ""


@pytest.mark.parametrize(
    ("write", "ending"),
    [(write_nested, "parquet"), (write_json, "parquet"), (write_strings, "h5"), (write_chunks, "h5")],
)
def test_a_damaged_table_is_stored_whole_or_refused_in_one_line(tmp_path, write, ending):
    generator = random.Random(0)
    content = write(tmp_path / f"whole.{ending}").read_bytes()
    damaged, store, refused = tmp_path / f"m.{ending}", tmp_path / "m.dtstore", 0
    for _ in range(MUTATIONS):
        damaged.write_bytes(mutate(content, generator))
        line = refusal(damaged, store)
        assert "\n" not in line
        assert (verify_store(store) == []) if not line else not (store / "manifest.json").exists()
        refused += bool(line)
        shutil.rmtree(store, ignore_errors=True)
    assert 0 < refused < MUTATIONS


VALUES = {
    "null": pa.nulls(ROWS),
    "bool": pa.array([True, None, False] * 4),
    "int8": pa.array(range(ROWS), pa.int8()),
    "uint64": pa.array([2**64 - 1] * ROWS, pa.uint64()),
    "half": pa.array(np.arange(ROWS, dtype=np.float16)),
    "infinite": pa.array([np.inf, -np.inf, np.nan, None] * 3),
    "decimal": pa.array(range(ROWS), pa.int64()).cast(pa.decimal128(38, 10)),
    "wide decimal": pa.array(range(ROWS), pa.int64()).cast(pa.decimal256(76, 10)),
    "text": pa.array(["1.5", "", None, "up", "nan", "1e999"] * 2),
    "bytes": pa.array([b"\xff", b"1", None] * 4),
    "fixed bytes": pa.array([b"ab"] * ROWS, pa.binary(2)),
    "date": pa.array(range(ROWS), pa.int32()).cast(pa.date32()),
    "time": pa.array(range(ROWS), pa.time64("us")),
    "duration": pa.array(range(ROWS), pa.duration("s")),
    "far timestamp": pa.array([2**52] * ROWS, pa.timestamp("s")),
    "dictionary": pa.array(["a", None, "b"] * 4).dictionary_encode(),
    "struct": pa.array([{"a": 1}] * ROWS),
    "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    "empty lists": pa.array([[]] * ROWS, pa.list_(pa.float64())),
    "null lists": pa.array([[None], None] * 6, pa.list_(pa.null())),
    "ragged lists": pa.array([[1.0], [1.0, 2.0], None] * 4),
    "lists of text": pa.array([["1"], None] * 6),
    "lists of bytes": pa.array([[b"1"]] * ROWS),
    "lists of dates": pa.array([[0]] * ROWS, pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
    "lists of structs": pa.array([[{"a": 1}]] * ROWS),
    "deep lists": pa.array([[[[[[[[[[1.0]]]]]]]]]] * ROWS),
}


@pytest.mark.parametrize("name", ["timestamp", "arr_a", "y_1"])
@pytest.mark.parametrize("kind", VALUES)
def test_a_column_of_any_type_is_read_or_refused_in_one_line(tmp_path, name, kind):
    path = write_parquet(tmp_path / "m.parquet", **({"y_1": PRICES, "timestamp": TIMES} | {name: VALUES[kind]}))
    assert "\n" not in refusal(path, tmp_path / "m.dtstore")
