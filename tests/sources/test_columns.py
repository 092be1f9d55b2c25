import csv
import decimal
import json

import h5py
import numpy as np
import pyarrow as pa
import pytest

from deeptrade.errors import DataError
from deeptrade.sources.kinds import open_source
from deeptrade.store import compile_store
from tests.support.tables import ARRAYS, PRICES, ROWS, TIMES, read_all, write_hdf5, write_parquet

JSON = [json.dumps(array.tolist()) for array in ARRAYS]
BAD = {
    0: "[[NaN, null], [Infinity, 2], [3, 4]]",
    1: "",
    2: "null",
    3: "[]",
    4: "[[1, 2], [3, 4]]",
    5: "[[1, 2], [3], [4, 5]]",
    6: "[[1, 2], [3, 4], [5, ",
    7: '[[1, 2], [3, "4"], [5, 6]]',
    8: "[[1 2]\n [3 4]\n [5 6]]",
    9: "[[NaN, NaN], [NaN, NaN], [NaN, NaN]]",
    10: " [[1e400, 2], [3, -1E-50], [12345678901234567890, 6]] ",
}
"""Cells by row: a few that are read in an odd way, and one of each fault."""


def mixed_cells():
    """Good cells and, after the eighth row, from which the shape is known, the bad ones."""
    return [*JSON[:8], *BAD.values()]


def write_text(path, cells, prices):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("timestamp", "arr_a", "price"),
                *((1_700_000_000 + row, *pair) for row, pair in enumerate(zip(cells, prices, strict=True))),
            ]
        )
    return path


def equal_contents(first, second):
    np.testing.assert_array_equal(first[0]["arr_a"], second[0]["arr_a"])
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[2], second[2])
    assert first[3] == second[3]


TEXT_TYPES = {
    "string": lambda cells: pa.array(cells, pa.string()),
    "large string": lambda cells: pa.array(cells, pa.large_string()),
    "string view": lambda cells: pa.array(cells, pa.string_view()),
    "dictionary": lambda cells: pa.array(cells).dictionary_encode(),
    "binary": lambda cells: pa.array([cell.encode() for cell in cells], pa.binary()),
    "large binary": lambda cells: pa.array([cell.encode() for cell in cells], pa.large_binary()),
    "json": lambda cells: pa.array(cells, pa.json_()),
}


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_cells_of_json_text_are_read_and_rejected_as_those_of_a_csv(tmp_path, kind):
    cells = mixed_cells()
    prices = [str(100 + row / 7) for row in range(len(cells))]
    expected = read_all(write_text(tmp_path / "m.csv", cells, prices))
    assert len(expected[3]) == 9
    found = read_all(
        write_parquet(
            tmp_path / "m.parquet",
            timestamp=[1_700_000_000 + row for row in range(len(cells))],
            arr_a=TEXT_TYPES[kind](cells),
            price=[float(price) for price in prices],
        )
    )
    equal_contents(found, expected)


@pytest.mark.parametrize("kind", ["variable", "fixed"])
def test_string_datasets_of_hdf5_are_read_as_cells_of_a_csv(tmp_path, kind):
    cells = mixed_cells()
    prices = [repr(100 + row / 7) for row in range(len(cells))]
    prices[3:5] = "", "up"
    expected = read_all(write_text(tmp_path / "m.csv", cells, prices))
    strings = {
        name: values if kind == "variable" else np.array(values, "S")
        for name, values in {
            "arr_a": cells,
            "price": prices,
            "timestamp": [str(1_700_000_000 + row) for row in range(len(cells))],
        }.items()
    }
    equal_contents(read_all(write_hdf5(tmp_path / "m.h5", **strings)), expected)


def test_a_null_is_an_empty_cell(tmp_path):
    cells, prices = [*JSON[:8], None], [*map(str, PRICES[:8]), None]
    found = read_all(write_parquet(tmp_path / "m.parquet", timestamp=TIMES[:9], arr_a=cells, price=prices))
    assert found[3] == [(8, "arr_a", "missing", "the cell is empty")]
    found = read_all(write_parquet(tmp_path / "n.parquet", timestamp=TIMES[:9], arr_a=JSON[:9], price=prices))
    assert np.isnan(found[1]).ravel().tolist() == [False] * 8 + [True]


NUMBER_TYPES = {
    "decimal128": lambda: pa.array([decimal.Decimal(f"{price:.4f}") for price in PRICES], pa.decimal128(12, 4)),
    "decimal256": lambda: pa.array([decimal.Decimal(f"{price:.4f}") for price in PRICES], pa.decimal256(60, 20)),
    "text": lambda: [f" {price:.4f}" for price in PRICES],
    "dictionary": lambda: pa.array([f"{price:.4f}" for price in PRICES]).dictionary_encode(),
    "float32": lambda: pa.array(PRICES, pa.float32()),
}


@pytest.mark.parametrize("kind", NUMBER_TYPES)
def test_prices_of_any_type_are_those_of_the_same_text(tmp_path, kind):
    expected = read_all(write_text(tmp_path / "m.csv", JSON, [f"{price:.4f}" for price in PRICES]))
    found = read_all(write_parquet(tmp_path / "m.parquet", price=NUMBER_TYPES[kind]()))
    np.testing.assert_array_equal(found[1], expected[1])


def test_decimals_are_rounded_once_as_their_text_is(tmp_path):
    odd = [decimal.Decimal("0.1234567890123456789012345678901234567") + row for row in range(ROWS)]
    found = read_all(write_parquet(tmp_path / "m.parquet", price=pa.array(odd, pa.decimal128(38, 36))))
    assert found[1].ravel().tolist() == [float(np.float32(float(str(number)))) for number in odd]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.bool_(), [True, False, None] * 4),
        (pa.int8(), list(range(ROWS))),
        (pa.uint64(), [2**64 - 1, *range(1, ROWS)]),
        (pa.int64(), [None, *range(1, ROWS)]),
        (pa.float16(), np.arange(ROWS, dtype=np.float16)),
    ],
)
def test_numbers_of_other_types_are_targets(tmp_path, kind, values):
    found = read_all(write_parquet(tmp_path / "m.parquet", y_1=pa.array(values, kind)))
    expected = np.array([np.nan if value is None else float(value) for value in values], np.float32)
    np.testing.assert_array_equal(found[1].ravel(), expected)


def test_a_target_that_is_null_throughout_is_missing(tmp_path):
    found = read_all(write_parquet(tmp_path / "m.parquet", y_1=PRICES, y_2=pa.nulls(ROWS)))
    assert np.isnan(found[1][:, 1]).all()


@pytest.mark.parametrize(
    "leaf", [pa.float16(), pa.bool_(), pa.decimal128(30, 4), pa.int64(), pa.uint8(), pa.float32()], ids=str
)
@pytest.mark.parametrize("missing", [False, True])
def test_lists_of_any_numbers_are_read(tmp_path, leaf, missing):
    whole = np.abs(ARRAYS * 8).round().clip(0, 1 if leaf == pa.bool_() else 100)
    cells = whole.astype(int).tolist()
    column = pa.array([*cells[:-1], None if missing else cells[-1]]).cast(pa.list_(pa.list_(leaf)))
    features, _, _, faults = read_all(write_parquet(tmp_path / "m.parquet", arr_a=column))
    np.testing.assert_array_equal(features["arr_a"], np.float32(whole[: ROWS - missing]))
    assert [fault[:3] for fault in faults] == [(ROWS - 1, "arr_a", "missing")] * missing


def tensors(permutation, value):
    axes = list(permutation or (0, 1))
    stored = ARRAYS.transpose(0, *(1 + place for place in np.argsort(axes)))
    kind = pa.fixed_shape_tensor(value, stored.shape[1:], permutation=permutation)
    flat = pa.array(stored.astype(value.to_pandas_dtype()).ravel())
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, 6))


@pytest.mark.parametrize("permutation", [None, [0, 1], [1, 0]])
@pytest.mark.parametrize("value", [pa.float32(), pa.float64(), pa.float16()], ids=str)
def test_a_column_of_tensors_keeps_its_shape(tmp_path, permutation, value):
    path = write_parquet(tmp_path / "m.parquet", arr_a=tensors(permutation, value))
    features, _, _, faults = read_all(path)
    assert faults == []
    np.testing.assert_array_equal(features["arr_a"], ARRAYS.astype(value.to_pandas_dtype()).astype(np.float32))


def test_a_missing_tensor_is_a_rejected_row_and_blocks_may_begin_in_the_middle(tmp_path):
    kind = pa.fixed_shape_tensor(pa.float64(), (3, 2))
    storage = pa.array(
        [None if row == 9 else array.ravel().tolist() for row, array in enumerate(ARRAYS)], kind.storage_type
    )
    path = write_parquet(tmp_path / "m.parquet", arr_a=pa.ExtensionArray.from_storage(kind, storage))
    features, _, _, faults = read_all(path)
    assert faults == [(9, "arr_a", "missing", "the cell is empty")]
    np.testing.assert_array_equal(features["arr_a"], np.delete(ARRAYS, 9, 0).astype(np.float32))
    task = next(iter(open_source(path).tasks()))
    rest = task.from_start(5).run()
    np.testing.assert_array_equal(rest.features["arr_a"], features["arr_a"][5:])
    assert [fault.row for fault in rest.faults] == [4]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_are_the_same_moments(tmp_path, unit, zone):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    column = pa.array([time * factor for time in TIMES], pa.timestamp(unit, zone))
    for values in (column, column.dictionary_encode()):
        found = read_all(write_parquet(tmp_path / "m.parquet", timestamp=values))
        assert found[2].tolist() == [time * 10**9 for time in TIMES]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([f"2024-01-{day + 1:02}" for day in range(ROWS)]),
        pa.array([19723 + day for day in range(ROWS)], pa.int32()).cast(pa.date32()),
        pa.array([f"2024-01-{day + 1:02}T00:00:00Z" for day in range(ROWS)]).dictionary_encode(),
        pa.array([b"2024-01-%02d" % (day + 1) for day in range(ROWS)]),
        pa.array([decimal.Decimal(1704067200 + 86400 * day) for day in range(ROWS)], pa.decimal128(20, 0)),
        pa.array([1704067200.0 + 86400 * day for day in range(ROWS)]),
    ],
    ids=["text", "date", "dictionary", "binary", "decimal", "float"],
)
def test_days_of_any_type_are_the_same_moments(tmp_path, values):
    found = read_all(write_parquet(tmp_path / "m.parquet", timestamp=values))
    assert found[2].tolist() == [(1704067200 + 86400 * day) * 10**9 for day in range(ROWS)]


STRUCTS = [{"open": 1.0, "close": 2.0}] * ROWS


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("arr_a", STRUCTS, ("struct", "json.dumps")),
        ("arr_a", [STRUCTS[:2]] * ROWS, ("lists of struct", "json.dumps")),
        ("arr_a", [[["1.0", "2.0"]]] * ROWS, ("lists of text", "json.dumps")),
        ("arr_a", PRICES, ("numbers (double)", "json.dumps")),
        ("arr_a", ["up"] * ROWS, ("text", "json.dumps")),
        ("arr_a", [str(array) for array in ARRAYS], ("text", "json.dumps")),
        ("arr_a", [array.tobytes() for array in ARRAYS], ("not UTF-8", "json.dumps")),
        ("price", STRUCTS, ("struct", "astype('float64')")),
        ("price", [[1.0]] * ROWS, ("lists of numbers", "astype('float64')")),
        ("price", pa.array(TIMES, pa.timestamp("s")), ("times", "astype('float64')")),
        ("timestamp", STRUCTS, ("struct", "ISO 8601")),
        ("timestamp", pa.array([1] * ROWS, pa.time32("s")), ("times", "ISO 8601")),
        ("timestamp", pa.array([True] * ROWS), ("booleans", "ISO 8601")),
        ("timestamp", np.array(TIMES, "f4"), ("float32", "int64 or float64")),
        ("timestamp", pa.array(np.array(TIMES, "f4")).dictionary_encode(), ("float32", "int64 or float64")),
    ],
)
def test_a_column_that_cannot_be_read_is_named_with_its_type_and_how_to_write_it(tmp_path, name, values, words):
    path = write_parquet(tmp_path / "m.parquet", **{name: values})
    with pytest.raises(DataError) as caught:
        open_source(path)
    line = str(caught.value)
    assert f"column {name!r}" in line
    assert all(word in line for word in words), line
    assert "\n" not in line


def test_a_timestamp_that_pandas_wrote_as_index_is_found(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"arr_a": ARRAYS.tolist(), "price": PRICES}, index=pd.to_datetime(TIMES, unit="s"))
    frame.rename_axis("timestamp").to_parquet(tmp_path / "m.parquet")
    assert read_all(tmp_path / "m.parquet")[2].tolist() == [time * 10**9 for time in TIMES]


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2", ">i8", "<u8", "|u1", "?", ">u4"])
def test_datasets_of_any_byte_order_and_width_hold_the_same_numbers(tmp_path, kind):
    whole = np.abs(ARRAYS * 8).round().clip(0, 1 if kind == "?" else 100)
    path = write_hdf5(
        tmp_path / "m.h5", timestamp=np.array(TIMES, ">i8"), arr_a=whole.astype(kind), y_1=whole[:, 0, 0].astype(kind)
    )
    features, numbers, times, faults = read_all(path)
    np.testing.assert_array_equal(features["arr_a"], whole.astype(np.float32))
    np.testing.assert_array_equal(numbers[:, 0], whole[:, 0, 0].astype(np.float32))
    assert (times.tolist(), faults) == ([time * 10**9 for time in TIMES], [])


def test_arrays_of_variable_length_are_read_row_by_row(tmp_path):
    path = write_hdf5(tmp_path / "m.h5", arr_a=None)
    with h5py.File(path, "a") as file:
        data = file.create_dataset("arr_a", ROWS, h5py.vlen_dtype(np.float64))
        for row in range(ROWS):
            data[row] = ARRAYS[row].ravel()[: 5 if row == 9 else 6]
    features, _, _, faults = read_all(path)
    assert faults == [(9, "arr_a", "shape", "shape 5, expected 6")]
    assert features["arr_a"].shape == (ROWS - 1, 6)


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("arr_a", np.zeros(ROWS, [("open", "f8"), ("close", "f8")]), "struct"),
        ("arr_a", np.zeros((ROWS, 2), complex), "complex numbers"),
        ("arr_a", np.zeros(ROWS), "numbers"),
        ("price", np.zeros(ROWS, [("open", "f8")]), "struct"),
        ("price", np.zeros((ROWS, 1)), "of shape 1"),
        ("timestamp", np.zeros((ROWS, 1)), "of shape 1"),
        ("timestamp", np.zeros(ROWS, complex), "complex numbers"),
        ("timestamp", np.array(TIMES, "f4"), "float32"),
        ("timestamp", np.arange(ROWS).astype("f2"), "float16"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_named_with_its_type(tmp_path, name, values, word):
    path = write_hdf5(tmp_path / "m.h5", **{name: values})
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert f"column {name!r}" in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("arr_a", ARRAYS + 1j, "complex128"),
        ("arr_a", np.full(ARRAYS.shape, b"abc"), "|S3"),
        ("arr_a", np.full(ARRAYS.shape, b"1.5"), "|S3"),
        ("arr_a", np.zeros(ARRAYS.shape, [("open", "f4")]), "'open', '<f4'"),
        ("price", PRICES + 1j, "complex128"),
        ("timestamp", np.array(TIMES, "f4") + 1e6, "float32"),
        ("timestamp", np.array(TIMES)[:, None], "int64"),
    ],
)
def test_a_later_file_of_other_types_is_named_with_its_column_and_type(tmp_path, name, values, word):
    write_hdf5(tmp_path / "1.h5")
    write_hdf5(tmp_path / "2.h5", **{"timestamp": np.array(TIMES) + 10**6, name: values})
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    assert str(caught.value).startswith(f"2.h5: column {name!r} holds ")
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variable_length_arrays_of_complex_numbers_are_refused_in_a_later_file(tmp_path):
    shape = ARRAYS.reshape(ROWS, -1).shape[1]
    write_hdf5(tmp_path / "1.h5", arr_a=ARRAYS.reshape(ROWS, shape))
    write_hdf5(tmp_path / "2.h5", timestamp=np.array(TIMES) + 10**6, arr_a=None)
    with h5py.File(tmp_path / "2.h5", "a") as file:
        data = file.create_dataset("arr_a", ROWS, h5py.vlen_dtype(np.complex128))
        for row in range(ROWS):
            data[row] = np.full(shape, 1 + 1j)
    with pytest.raises(DataError, match=r"2\.h5: column 'arr_a' holds objects"):
        open_source(tmp_path)


@pytest.mark.parametrize("kind", ["<f4", "<i2", "?"])
def test_a_later_file_may_hold_numbers_of_another_width(tmp_path, kind):
    write_hdf5(tmp_path / "1.h5")
    write_hdf5(tmp_path / "2.h5", timestamp=np.array(TIMES) + 10**6, arr_a=ARRAYS.astype(kind))
    features, _, _, faults = read_all(tmp_path)
    np.testing.assert_array_equal(features["arr_a"][ROWS:], ARRAYS.astype(kind).astype(np.float32))
    assert not faults


def test_a_text_column_and_a_list_column_of_the_same_arrays_give_the_same_store(tmp_path):
    stores = [
        compile_store(write_parquet(tmp_path / f"{name}.parquet", arr_a=cells), store=tmp_path / f"{name}.dtstore")
        for name, cells in (("lists", ARRAYS.tolist()), ("text", JSON))
    ]
    first, second = ({path.name: path.read_bytes() for path in store.glob("*.f32")} for store in stores)
    assert first == second
