import json
import re
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from deeptrade import open_store
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError
from deeptrade.inputs import LocalFile
from deeptrade.sources import tables
from deeptrade.sources.kinds import open_source
from deeptrade.store import compile_store, is_current, verify_store
from deeptrade.store.export import export_parquet
from tests.support.markets import make_market


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of seven rows."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 4 * 7 * 150)


def to_parquet(market, path, *, change=None, **options):
    """Write a market as nested lists of doubles."""
    columns = {"timestamp": [int(cells[0]) for cells in market.cells]}
    for name, values in market.features.items():
        columns[name] = values.tolist()
    for step in range(market.targets.shape[1]):
        columns[f"y_{step + 1}"] = market.targets[:, step].tolist()
    if change:
        change(columns)
    parquet.write_table(pa.table(columns), path, **options)
    return path


def to_hdf5(market, path):
    with h5py.File(path, "w", track_order=True) as file:
        file["timestamp"] = np.array([int(cells[0]) for cells in market.cells])
        for name, values in market.features.items():
            file[name.replace("/", "_")] = values
        for step in range(market.targets.shape[1]):
            file[f"y_{step + 1}"] = market.targets[:, step]
    return path


def feature_files(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.suffix == ".f32"}


def test_csv_parquet_and_hdf5_of_the_same_data_give_identical_files(market, tmp_path):
    expected = feature_files(compile_store(market.path, store=tmp_path / "csv.dtstore"))
    assert len(expected) == 4
    for data in (to_parquet(market, tmp_path / "m.parquet", row_group_size=11), to_hdf5(market, tmp_path / "m.h5")):
        store = compile_store(data, store=tmp_path / f"{data.suffix[1:]}.dtstore")
        assert feature_files(store) == expected
        assert verify_store(store) == []
        with open_store(store) as stored, open_dataset(market.path) as plain:
            np.testing.assert_array_equal(stored.timestamps, plain.timestamps)


def test_a_store_exported_and_compiled_again_is_identical(market, tmp_path):
    market.cells[9][4] = ""
    market.cells[9][1] = json.dumps((market.features["arr_5m"][9] * np.nan).tolist())
    market.write()
    first = compile_store(market.path, store=tmp_path / "a.dtstore", max_bad_rows=0.1)
    path = export_parquet(first, tmp_path / "out" / "a.parquet")
    second = compile_store(path, store=tmp_path / "b.dtstore")
    assert feature_files(second) == feature_files(first)
    assert (second / "timestamps.i64").read_bytes() == (first / "timestamps.i64").read_bytes()


def test_bad_rows_of_a_table_are_named_like_those_of_text(market, tmp_path):
    name, odd = list(market.features)[:2]

    def change(columns):
        columns[name][3] = None
        columns[name][4] = [columns[name][4][0][:-1]]
        columns[odd][5][0][1] = columns[odd][5][0][1][:1]
        columns["arr_ctx"][6] = [[float("nan")] * 4]
        columns["arr_ctx"][7] = [[1.0, None, 3.0, 4.0]]
        columns["y_1"][8] = None
        columns["timestamp"][9] = None

    path = to_parquet(market, tmp_path / "m.parquet", change=change)
    with open_dataset(path, store=tmp_path / "s.dtstore", max_bad_rows=0.2) as data:
        found = [(entry.row, entry.line, entry.byte_offset, entry.column, entry.reason) for entry in data.ledger]
        assert found == [
            (3, 4, -1, name, "missing"),
            (4, 5, -1, name, "shape"),
            (5, 6, -1, odd, "ragged"),
            (6, 7, -1, "arr_ctx", "non_finite"),
            (9, 10, -1, "timestamp", "missing"),
        ]
        np.testing.assert_array_equal(data.read(np.array([7]))["arr_ctx"][0], np.float32([1, np.nan, 3, 4]))
        assert np.isnan(data.read_targets(np.array([8]))[0, 0])


@pytest.mark.parametrize("kind", ["fixed", "time"])
def test_other_spellings_of_the_same_columns_are_read(market, tmp_path, kind):
    def change(columns):
        if kind == "fixed":
            columns["arr_ctx"] = pa.array(columns["arr_ctx"], pa.list_(pa.list_(pa.float32(), 4), 1))
        else:
            columns["timestamp"] = pa.array([t * 1000 for t in columns["timestamp"]], pa.timestamp("ms", "UTC"))

    path = to_parquet(market, tmp_path / "m.parquet", change=change)
    with open_dataset(path, store=tmp_path / "s.dtstore") as data, open_dataset(market.path) as plain:
        np.testing.assert_array_equal(data.read(np.arange(60))["arr_ctx"], plain.read(np.arange(60))["arr_ctx"])
        np.testing.assert_array_equal(data.timestamps, plain.timestamps)


def test_a_table_that_grew_or_changed_is_compiled_again_and_one_that_was_touched_is_not(market, tmp_path):
    path = to_parquet(market, tmp_path / "m.parquet", row_group_size=25)
    store = compile_store(path, store=tmp_path / "s.dtstore")
    to_parquet(market, path, row_group_size=25)
    assert is_current(store, tables.ParquetSource([LocalFile.at(path)], name="m"))
    market.features["arr_ctx"][55] += 1
    to_parquet(market, path, row_group_size=25)
    lines = []
    compile_store(path, store=store, sink=lines.append)
    assert lines[0] == "resuming after row 50: 8 blocks are done"
    fresh = compile_store(path, store=tmp_path / "t.dtstore")
    assert {f.name: f.read_bytes() for f in store.iterdir()} == {f.name: f.read_bytes() for f in fresh.iterdir()}


@pytest.mark.parametrize("name", ["bad.parquet", "bad.h5"])
def test_a_broken_table_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(DataError, match=name) as caught:
        open_dataset(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_datasets_of_different_length_are_one_line(tmp_path, market):
    path = to_hdf5(market, tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        del file["y_1"]
        file["y_1"] = np.zeros(59)
    with pytest.raises(DataError, match=r"dataset 'y_1' has 59 rows, others have more"):
        open_dataset(path)


def test_rows_appended_to_the_first_of_two_tables_are_stored(market, tmp_path):
    folder = tmp_path / "months"
    folder.mkdir()
    to_parquet(make_market(tmp_path / "later.csv", start=40), folder / "b.parquet")
    for rows in (20, 27, 28, 40):
        part = make_market(tmp_path / "part.csv", rows=rows)
        to_parquet(part, folder / "a.parquet", row_group_size=20)
        store = compile_store(folder, store=tmp_path / "s.dtstore")
        fresh = compile_store(folder, store=tmp_path / "t.dtstore", fresh=True)
        assert feature_files(store) == feature_files(fresh)


def test_one_large_row_group_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.undo()  # blocks of the usual size
    values = np.random.default_rng(0).random((24_000, 300), np.float32)
    nested = pa.FixedSizeListArray.from_arrays(values.ravel(), 300)
    table = pa.table({"timestamp": np.arange(24_000), "arr_a": nested, "y_1": values[:, 0]})
    parquet.write_table(table, tmp_path / "m.parquet")
    del table, nested, values
    before = pa.total_allocated_bytes()
    source = tables.ParquetSource([LocalFile.at(tmp_path / "m.parquet")], name="m")
    most, rows = 0, 0
    for task in source.tasks():
        most, rows = max(most, pa.total_allocated_bytes() - before), rows + task.place.stop - task.place.start
    assert rows == 24_000
    assert most < 16 << 20


def test_every_parquet_file_that_is_opened_is_closed_also_when_its_reader_ends_early(market, tmp_path, monkeypatch):
    path, opened, open_file = to_parquet(market, tmp_path / "m.parquet"), [], parquet.ParquetFile

    def keep(*arguments, **options):
        opened.append(open_file(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(parquet, "ParquetFile", keep)
    source = tables.ParquetSource([LocalFile.at(path)], name="m")
    assert len(list(source.tasks())) > 3
    tasks = source.tasks()
    next(tasks)
    assert not opened[-1].closed
    tasks.close()
    assert [file.closed for file in opened] == [True] * 4
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve() == path.resolve()]


def test_a_missing_time_changes_no_other(market, tmp_path):
    times = [1_700_000_000_123 + 1200 * row for row in range(60)]
    odd = [None if row == 20 else time for row, time in enumerate(times)]
    path = to_parquet(
        market, tmp_path / "m.parquet", change=lambda c: c.update(timestamp=pa.array(odd, pa.timestamp("ms")))
    )
    with open_dataset(path, store=tmp_path / "s.dtstore", max_bad_rows=0.1) as data:
        assert [(entry.row, entry.reason) for entry in data.ledger] == [(20, "missing")]
        assert data.timestamps.tolist() == [time * 10**6 for row, time in enumerate(times) if row != 20]


def test_columns_that_hold_no_numbers_are_one_line(market, tmp_path):
    path = to_parquet(market, tmp_path / "m.parquet", change=lambda c: c.update(y_1=["up"] * 60))
    with pytest.raises(DataError, match=r"column 'y_1', encoding: 'up' is not a number"):
        open_dataset(path)
    with h5py.File(to_hdf5(market, tmp_path / "m.h5"), "a") as file:
        del file["y_1"]
        file["y_1"] = 1.0
    with pytest.raises(DataError, match=r"dataset 'y_1' is a single value; expected one entry per row"):
        open_dataset(tmp_path / "m.h5")


@pytest.mark.parametrize("kind", ["parquet", "h5"])
def test_a_task_of_a_table_can_start_at_a_later_row(market, tmp_path, kind):
    data = to_parquet(market, tmp_path / "m.parquet") if kind == "parquet" else to_hdf5(market, tmp_path / "m.h5")
    source = open_source(data)
    task = next(iter(source.tasks()))
    whole, rest = task.run(), task.from_start(3).run()
    assert (rest.place.start, rest.place.stop, rest.rows) == (3, whole.place.stop, whole.rows - 3)
    np.testing.assert_array_equal(rest.timestamps, whole.timestamps[3:])
    for name in source.schema.names:
        np.testing.assert_array_equal(rest.features[name], whole.features[name][3:])


@pytest.mark.parametrize("kind", ["parquet", "h5"])
@pytest.mark.parametrize(
    "names", [[f"part.{n}" for n in range(12)], ["Jan-2024", "Apr-2024", "2024-02"], ["b", "a", "c"]]
)
def test_files_of_a_folder_are_taken_in_time_order(tmp_path, kind, names):
    folder = tmp_path / "parts"
    folder.mkdir()
    write = to_parquet if kind == "parquet" else to_hdf5
    for number, name in enumerate(names):
        part = make_market(tmp_path / "part.csv", rows=10, start=10 * number, seed=number)
        write(part, folder / f"{name}.{kind}")
    for hidden in ("._part.0", "_metadata", ".part.1"):
        (folder / f"{hidden}.{kind}").write_bytes(b"no data")
    (folder / "_SUCCESS").write_bytes(b"")
    with open_store(compile_store(folder)) as data:
        assert (np.diff(data.timestamps) > 0).all()
        assert data.rows == 10 * len(names)
    part = make_market(tmp_path / "part.csv", rows=10, start=5)
    write(part, folder / f"again.{kind}")
    with pytest.raises(DataError, match=rf"again\.{kind} begins at .* before {re.escape(names[0])}\.{kind} ends at"):
        compile_store(folder)
