import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from deeptrade import open_store
from deeptrade.data.opening import look_at, open_dataset
from deeptrade.errors import DataError
from deeptrade.inputs import LocalFile
from deeptrade.sources import csv as csv_module
from deeptrade.store import compile_store, is_current, store_path, verify_store
from deeptrade.store.summary import TooManyBadRowsError
from tests.support.markets import make_market
from tests.support.stores import contents, make

pytestmark = pytest.mark.usefixtures("small_blocks")


def test_a_store_holds_what_the_text_holds(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    with open_store(path) as stored, open_dataset(bad_market.path, max_bad_rows=0.1) as plain:
        rows = np.random.default_rng(0).permutation(plain.usable.numbers())
        for name, values in plain.read(rows).items():
            np.testing.assert_array_equal(stored.read(rows)[name], values)
        np.testing.assert_array_equal(stored.targets, plain.targets)
        np.testing.assert_array_equal(stored.timestamps, plain.timestamps)
        assert (stored.rows, stored.ledger, stored.warnings) == (plain.rows, plain.ledger, plain.warnings)
        assert (stored.data_id, stored.nonfinite) == (plain.data_id, plain.nonfinite)
        assert [stored.entry(row, "", "", "") for row in (0, 22, 199)] == [
            plain.entry(row, "", "", "") for row in (0, 22, 199)
        ]
        train = plain.split(0.2).train
        for name, found in plain.statistics(train).items():
            for field in ("mean", "std", "minimum", "maximum"):
                assert getattr(found, field).tobytes() == getattr(stored.statistics(train)[name], field).tobytes()


def test_the_first_rows_of_a_store_are_those_of_the_text(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    for count in (10, 21, 22, 95, 200, 999):
        with (
            open_dataset(path, max_rows=count, max_bad_rows=1.0) as stored,
            open_dataset(bad_market.path, max_rows=count, max_bad_rows=1.0) as plain,
        ):
            assert (stored.rows, stored.ledger, stored.nonfinite) == (plain.rows, plain.ledger, plain.nonfinite)
            assert stored.warnings == plain.warnings
            np.testing.assert_array_equal(stored.targets, plain.targets)
            for name, found in plain.statistics(plain.usable).items():
                assert found.std.tobytes() == stored.statistics(stored.usable)[name].std.tobytes()


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 5}, {"chunk_size": 2}])
def test_equal_data_gives_equal_bytes_whatever_made_them(bad_market, tmp_path, options):
    expected = contents(make(bad_market.path, tmp_path / "a.dtstore"))
    copy = bad_market.write(tmp_path / "copy.csv")
    assert contents(make(copy, tmp_path / "b.dtstore", **options)) == expected


def test_processes_may_read_the_blocks_too(bad_market, tmp_path):
    expected = contents(make(bad_market.path, tmp_path / "a.dtstore"))
    with ProcessPoolExecutor(2) as executor:
        assert contents(make(bad_market.path, tmp_path / "b.dtstore", executor=executor)) == expected


def test_nothing_is_left_over_and_nothing_tells_of_the_machine(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    files = contents(path)
    assert "journal.jsonl" not in files
    assert {entry.name for entry in tmp_path.iterdir()} == {"market.csv", "s.dtstore", ".s.dtstore.seen"}
    for content in files.values():
        assert str(tmp_path).encode() not in content
    assert files["ledger.csv"].count(b"\n") == 1 + 3


@pytest.mark.parametrize("use_mmap", [True, False])
def test_a_flipped_bit_is_named_by_verify_and_raises_on_first_touch(bad_market, tmp_path, use_mmap):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    assert verify_store(path) == []
    for name in sorted(set(contents(path)) - {"manifest.json", "ledger.csv"}):
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        sound = (path / name).read_bytes()
        (path / name).write_bytes(content)
        (damage,) = verify_store(path)
        assert damage.startswith(f"{name}, block ")
        with open_store(path, use_mmap=use_mmap) as data, pytest.raises(DataError, match=f"{name} is damaged in block"):
            rows = data.usable.numbers()
            data.read(rows)
            data.read_targets(rows)
            data.read_times(rows)
            data.statistics(data.usable)
            for row in rows:
                data.entry(row, "", "", "")
        (path / name).write_bytes(sound)


def test_a_changed_ledger_is_named_by_verify(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    (path / "ledger.csv").write_bytes((path / "ledger.csv").read_bytes().replace(b"shape", b"shaqe"))
    assert verify_store(path) == ["ledger.csv differs from the manifest"]


def test_a_file_that_was_cut_is_one_line(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    os.truncate(path / "targets.f32", 100)
    with pytest.raises(DataError, match=r"targets\.f32 has 100 bytes instead of \d+; make it again: .*--fresh"):
        open_store(path)


def test_touching_the_data_rebuilds_nothing_and_an_edit_is_found(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    os.utime(bad_market.path)
    make(bad_market.path, path)
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
    lines = bad_market.lines()
    lines[100] = lines[100].replace(b"0.0", b"0.1")
    bad_market.path.write_bytes(b"".join(lines))
    assert not is_current(path, csv_source(bad_market.path))
    make(bad_market.path, path)
    with open_store(path) as data, open_dataset(bad_market.path, max_bad_rows=0.1) as plain:
        np.testing.assert_array_equal(data.targets, plain.targets)
    assert contents(path) == contents(make(bad_market.path, tmp_path / "new.dtstore"))


def csv_source(path):
    return csv_module.CsvSource([LocalFile.at(path)], name="market")


def test_an_edit_with_size_and_time_as_before_is_found_by_a_full_check(bad_market, tmp_path):
    path = make(bad_market.path, tmp_path / "s.dtstore")
    status = bad_market.path.stat()
    content = bytearray(bad_market.path.read_bytes())
    content[-3] ^= 1
    bad_market.path.write_bytes(content)
    os.utime(bad_market.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = contents(path)
    make(bad_market.path, path)
    assert contents(path) == before
    make(bad_market.path, path, full_check=True)
    assert contents(path) != before


@pytest.mark.parametrize("rows", [2, 17, 199])
@pytest.mark.parametrize("cut", [0, 1, 30])
def test_appended_rows_are_all_that_is_parsed(bad_market, tmp_path, rows, cut, monkeypatch):
    lines = bad_market.lines()
    whole = b"".join(lines)
    head = b"".join(lines[: 1 + rows])
    bad_market.path.write_bytes(head[: len(head) - cut])
    path = make_any(bad_market.path, tmp_path / "s.dtstore")
    bad_market.path.write_bytes(whole)
    parsed = []
    plain = csv_module.CsvTask.run
    monkeypatch.setattr(csv_module.CsvTask, "run", lambda task: parsed.append(task) or plain(task))
    make_any(bad_market.path, path)
    assert min(task.place.start for task in parsed) >= len(head) - (8 << 10)
    assert contents(path) == contents(make_any(bad_market.path, tmp_path / "new.dtstore"))


def make_any(data, store):
    return compile_store(data, store=store, max_bad_rows=1 - 1e-9)


def test_the_store_of_price_data_has_the_targets_of_the_text_also_when_rows_are_appended(tmp_path):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=120)
    market.header[-1] = "price"
    for number, row in enumerate(market.cells):
        row[-1] = repr(100.0 + number % 7)
    market.cells[60][1] = "[[[1]]]"
    market.write()
    path = make(market.path, tmp_path / "s.dtstore")
    market.cells += [[str(int(market.cells[-1][0]) + 1200), *market.cells[3][1:]]]
    market.write()
    make(market.path, path)
    with open_store(path) as stored, open_dataset(market.path, max_bad_rows=0.1) as plain:
        np.testing.assert_array_equal(stored.targets, plain.targets)
        assert stored.schema == plain.schema
    assert verify_store(path) == []


def test_a_gzip_file_and_a_folder_of_files_compile_to_the_same_rows(bad_market, tmp_path):
    import gzip

    lines = bad_market.lines()
    folder = tmp_path / "months"
    folder.mkdir()
    (folder / "b.csv.gz").write_bytes(gzip.compress(b"".join(lines[:121])))
    (folder / "a.csv").write_bytes(lines[0] + b"".join(lines[121:]))
    (tmp_path / "all.csv.gz").write_bytes(gzip.compress(b"".join(lines)))
    one = contents(make(bad_market.path, tmp_path / "one.dtstore"))
    for data in (folder, tmp_path / "all.csv.gz"):
        path = make(data, tmp_path / f"{data.name}.dtstore")
        found = contents(path)
        for name in one:
            if name.endswith(".f32") or name == "timestamps.i64":
                assert found[name] == one[name]
        before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
        for file in folder.iterdir():
            os.utime(file)
        make(data, path)
        assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
        with open_dataset(data, store=path, max_bad_rows=0.1) as dataset:
            assert dataset.rows == 200


def test_a_torn_gzip_file_is_one_line(bad_market, tmp_path):
    import gzip

    content = gzip.compress(bad_market.path.read_bytes())
    (tmp_path / "torn.csv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"torn\.csv\.gz is not complete gzip data"):
        make(tmp_path / "torn.csv.gz", tmp_path / "s.dtstore")


def test_too_many_bad_rows_stop_before_a_store_is_there_and_a_higher_share_costs_no_parsing(bad_market, tmp_path):
    with pytest.raises(TooManyBadRowsError, match="3 of 200 rows are rejected"):
        compile_store(bad_market.path, store=tmp_path / "s.dtstore")
    assert not (tmp_path / "s.dtstore").exists()
    lines = []
    make(bad_market.path, tmp_path / "s.dtstore", sink=lines.append)
    assert "; 0 rows parsed in " in lines[-1]


def test_where_the_store_goes(tmp_path, monkeypatch):
    assert store_path(tmp_path / "market.csv.gz") == tmp_path / "market.dtstore"
    assert store_path(tmp_path / "2023-*.csv") == tmp_path / "2023-.dtstore"
    assert store_path(tmp_path / "market.csv", tmp_path / "x") == tmp_path / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert store_path(tmp_path / "market.csv").is_relative_to(tmp_path / "cache")


def test_a_head_is_looked_at_without_reading_rows(bad_market, tmp_path):
    head = look_at(bad_market.path)
    assert head.content_hash == ""
    assert 150 < head.rows < 250
    path = make(bad_market.path, tmp_path / "s.dtstore")
    stored = look_at(bad_market.path, store=path)
    assert (stored.schema, stored.data_id, stored.rows) == (head.schema, head.data_id, 200)
    assert stored.content_hash.startswith("xxh3:")
