"""What once went wrong around a store: each of these lost, changed or invented something."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deeptrade import open_store
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, SettingsError
from deeptrade.files import locked_folder
from deeptrade.sources import csv as csv_module
from deeptrade.sources.records import RecordParser
from deeptrade.store import compile as compile_module
from deeptrade.store import compile_store, verify_store
from deeptrade.store.export import export_parquet
from deeptrade.store.writer import StoreWriter
from tests.support.markets import make_market
from tests.support.stores import contents


@pytest.mark.parametrize("row", [0, 29, 59])
@pytest.mark.parametrize("name", ["arr_5m", "arr_ctx"])
def test_a_row_with_too_many_lists_leaves_all_others_as_they_are(market, tmp_path, row, name):
    column = market.header.index(name)
    values = json.loads(market.cells[row][column])
    values = [values[0] + [[7777.0] * 3] * 5] if name == "arr_5m" else values + values
    market.cells[row][column] = json.dumps(values)
    market.write()
    store = compile_store(market.path, store=tmp_path / "s.dtstore", max_bad_rows=0.1)
    with open_store(store) as data:
        assert data.rejected.tolist() == [row]
        for feature in data.schema.features:
            expected = market.features[feature.name][data.usable.numbers(), 0].astype(np.float32)
            np.testing.assert_array_equal(data.read(data.usable.numbers())[feature.name], expected)


def test_a_store_never_takes_the_place_of_anything_else(market, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    app = tmp_path / "app"
    app.mkdir()
    (app / "manifest.json").write_text('{"name": "my web app"}')
    months = tmp_path / "months"
    months.mkdir()
    market.write(months / "one.csv")
    for data, store in (
        (market.path, precious),
        (months, months),
        (months, tmp_path),
        (market.path, app),
        (market.path, market.path),
    ):
        with pytest.raises(DataError, match="choose another place with --store"):
            compile_store(data, store=store)
    assert (precious / "thesis.txt").read_text() == "years"
    assert (months / "one.csv").exists()
    with pytest.raises(SettingsError, match="workers=-1 is not accepted"):
        compile_store(market.path, workers=-1)
    store = compile_store(market.path)
    with pytest.raises(DataError, match="is a store already"):
        compile_store(store)
    (store / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="choose another place"):
        compile_store(market.path, fresh=True)
    assert (store / "notes.txt").exists()


@pytest.mark.parametrize("name", ["manifest.json", "feature_0.f32", "ledger.csv"])
def test_a_store_that_lacks_a_file_is_made_again(market, name):
    store = compile_store(market.path)
    before = contents(store)
    (store / name).unlink()
    compile_store(market.path)
    assert contents(store) == before
    (store / name).write_bytes(before[name][: len(before[name]) // 2])
    if name != "ledger.csv":
        compile_store(market.path)
        assert contents(store) == before


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_a_place_where_no_folder_can_be_made_is_one_line(market):
    with pytest.raises(DataError, match=r"making"):
        compile_store(market.path, store="/proc/x.dtstore")


def test_an_export_goes_to_a_parquet_file_alone(market):
    store = compile_store(market.path)
    with pytest.raises(SettingsError, match=r"use a file name that ends in \.parquet or \.pq"):
        export_parquet(store, market.path)


@pytest.mark.parametrize("block_bytes", [900, 4096, 8 << 20])
def test_rows_appended_to_an_earlier_file_are_stored(market, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(csv_module, "BLOCK_BYTES", block_bytes)
    lines = market.lines()
    folder = tmp_path / "months"
    folder.mkdir()
    (folder / "b.csv").write_bytes(lines[0] + b"".join(lines[40:]))
    for rows in range(20, 39):
        (folder / "a.csv").write_bytes(b"".join(lines[:rows]))
        store = compile_store(folder, store=tmp_path / "s.dtstore")
        fresh = compile_store(folder, store=tmp_path / "t.dtstore", fresh=True)
        assert contents(store) == contents(fresh)
        with open_store(store) as data:
            assert data.rows == rows - 1 + 21


def test_rows_that_come_while_it_waits_for_another_are_stored(market, tmp_path, monkeypatch):
    lines = market.lines()
    market.path.write_bytes(b"".join(lines[:40]))
    plain = compile_module.locked_folder

    def waiting(folder, *, taken):
        market.path.write_bytes(b"".join(lines))
        return plain(folder, taken=taken)

    monkeypatch.setattr(compile_module, "locked_folder", waiting)
    with open_store(compile_store(market.path)) as data:
        assert data.rows == 60


CONTEND = """
import os, pathlib, sys
from deeptrade.files import locked_folder
folder, inside = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
for _ in range(150):
    with locked_folder(folder, taken=lambda: None):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        inside.unlink()
"""


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    command = [sys.executable, "-c", CONTEND, str(tmp_path / "made"), str(tmp_path / "inside")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert not (tmp_path / "made").exists()


def test_going_on_keeps_the_journal_where_nothing_can_be_written(market, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_module, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(compile_module, "finish", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compile_store(market.path, store=tmp_path / "s.dtstore")
    journal = tmp_path / ".s.dtstore.partial" / "journal.jsonl"
    before = journal.read_bytes()
    assert before.count(b"\n") > 5
    monkeypatch.setattr(StoreWriter, "_append", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compile_store(market.path, store=tmp_path / "s.dtstore")
    assert journal.read_bytes() == before


def test_what_was_seen_of_the_data_is_tied_to_the_store_it_was_seen_with(market, tmp_path, monkeypatch):
    store, status = tmp_path / "s.dtstore", market.path.stat()
    content = market.path.read_bytes()
    compile_store(market.path, store=store)
    market.path.write_bytes(content.replace(b"0.0", b"0.1"))
    monkeypatch.setattr(compile_module, "note_seen", lambda *arguments: None)  # killed before the note
    compile_store(market.path, store=store)
    monkeypatch.undo()
    market.path.write_bytes(content)
    os.utime(market.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with open_dataset(market.path, store=store, compiled=True) as data:
        np.testing.assert_array_equal(data.targets, market.targets.astype(np.float32))


@pytest.mark.parametrize("name", ["manifest.json", "ledger.csv"])
def test_a_flipped_bit_in_what_describes_a_store_is_found(market, tmp_path, name):
    market.cells[5][1] = "[[[1]]]"
    market.write()
    store = compile_store(market.path, store=tmp_path / "s.dtstore", max_bad_rows=0.1)
    sound = (store / name).read_bytes()
    for place in range(len(sound) // 7, len(sound), len(sound) // 7):
        content = bytearray(sound)
        content[place] ^= 1
        if content.split() == sound.split():
            continue
        (store / name).write_bytes(content)
        with pytest.raises(DataError):
            open_store(store)
        if name == "ledger.csv":
            assert verify_store(store) == ["ledger.csv differs from the manifest"]
    (store / name).write_bytes(sound)
    assert verify_store(store) == []


def test_a_store_behind_a_link_stays_behind_it(market, tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "s.dtstore"
    link.symlink_to(tmp_path / "disk" / "real.dtstore")
    for _ in range(2):
        compile_store(market.path, store=link, fresh=True)
        assert link.is_symlink()
        assert verify_store(tmp_path / "disk" / "real.dtstore") == []


def test_targets_from_prices_look_no_further_than_the_first_rows_asked_for(tmp_path):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=60)
    market.header[-1] = "price"
    for number, row in enumerate(market.cells):
        row[-1] = repr(100.0 + number % 7)
    market.cells[25][1] = "[[[1]]]"
    market.write()
    store = compile_store(market.path, store=tmp_path / "s.dtstore", max_bad_rows=0.1)
    for rows in (1, 24, 30, 59, 60):
        with (
            open_dataset(store, max_rows=rows, max_bad_rows=0.5) as stored,
            open_dataset(market.path, store=tmp_path / "none.dtstore", max_rows=rows, max_bad_rows=0.5) as plain,
        ):
            np.testing.assert_array_equal(stored.targets, plain.targets)
            np.testing.assert_array_equal(stored.read_targets(stored.usable.numbers()), stored.targets)
            assert np.isnan(stored.targets[-1]).all()
            assert stored.warnings == plain.warnings


def test_reading_a_closed_store_is_refused(market, tmp_path):
    for use_mmap in (True, False):
        data = open_store(compile_store(market.path), use_mmap=use_mmap)
        assert data.read(np.empty(0, np.int64))["arr_ctx"].shape == (0, 4)
        data.close()
        with pytest.raises(DataError, match=r"is closed; open the store again"):
            data.read(np.arange(3))


@pytest.mark.parametrize("cell", ["[[" + "9" * 400 + ", 1, 1, 1]]", "[[" + "9" * 5000 + "]]", "[" * 600 + "]" * 600])
@pytest.mark.parametrize("row", [0, 30])
def test_an_odd_cell_costs_its_row_alone(market, cell, row):
    market.cells[row][market.header.index("arr_ctx")] = cell
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        assert [(entry.row, entry.column) for entry in data.ledger] == [(row, "arr_ctx")]


def test_plain_reads_of_text_take_the_fast_path(market, monkeypatch):
    for number, cells in enumerate(market.cells):
        cells[-1] = f"0.0{number % 7 + 1}"
    market.write()
    with open_dataset(market.path, use_mmap=False) as data:
        monkeypatch.setattr(RecordParser, "_parse_slowly", lambda *arguments: 1 / 0)
        assert data.read(np.arange(60))["arr_ctx"].shape == (60, 4)


def test_files_come_in_the_order_of_their_times_whatever_their_first_lines(market, tmp_path):
    lines = market.lines()
    folder = tmp_path / "months"
    folder.mkdir()
    (folder / "a.csv").write_bytes(lines[0] + b"\n" + b"".join(lines[31:]))
    (folder / "b.csv").write_bytes(b"".join(lines[:31]))
    (folder / "0.csv").write_bytes(lines[0])
    with open_dataset(folder, store=tmp_path / "s.dtstore", compiled=True) as data:
        np.testing.assert_array_equal(data.targets, market.targets.astype(np.float32))
        assert not data.warnings


def test_the_lock_is_given_back_when_the_work_fails(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / "made", taken=lambda: 1 / 0):
            raise ZeroDivisionError
    assert not (tmp_path / "made").exists()


def test_a_store_that_is_cut_off_while_it_is_mapped_is_an_error_and_ends_no_process(market, tmp_path):
    store = compile_store(market.path)
    with open_store(store) as data:
        reader = data.batches(batch_size=8, split="all")
        reader.batch(0)
        os.truncate(store / "feature_0.f32", 40)
        with pytest.raises(DataError, match=r"feature_0\.f32 has become shorter"):
            reader.batch(1)
