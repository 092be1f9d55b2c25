"""Rows that the user lets sort or merge: the store equals that of the file in order, and nothing is lost."""

import csv
import json

import numpy as np
import pytest

from deeptrade import compile_store, open_store
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, SettingsError
from deeptrade.sources import csv as csv_source
from deeptrade.store import verify_store
from deeptrade.store.layout import _checksum_of, read_manifest
from tests.support.markets import make_market


@pytest.fixture(params=[900, 1 << 23], ids=["many blocks", "one block"])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", request.param)


def numbers_of(store):
    """The bytes of a store's rows; positions differ where the file's order does."""
    names = [path.name for path in store.iterdir() if path.name.startswith(("feature", "target", "timestamps"))]
    return {name: (store / name).read_bytes() for name in names}


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("order", ["reversed", "shuffled"])
@pytest.mark.parametrize("target", ["columns", "price"])
def test_a_sorted_store_holds_what_the_store_of_the_sorted_file_holds(tmp_path, order, target):
    market = make_market(tmp_path / "m.csv", horizons=1 if target == "price" else 2)
    if target == "price":
        market.header[-1] = "price"
        for row, cells in enumerate(market.cells):
            cells[-1] = str(100 + row % 7)
    expected = numbers_of(compile_store(market.write(), store=tmp_path / "expected.dtstore"))
    rows = list(range(60))[::-1] if order == "reversed" else np.random.default_rng(0).permutation(60).tolist()
    market.cells = [market.cells[row] for row in rows]
    store = compile_store(market.write(), store=tmp_path / "sorted.dtstore", sort=True)
    assert numbers_of(store) == expected
    assert verify_store(store) == []
    with open_store(store) as data:
        assert data.entry(0, "", "", "").line == 2 + rows.index(0)
        statistics = data.statistics(data.usable)
        np.testing.assert_allclose(
            statistics["arr_ctx"].mean, market.features["arr_ctx"].reshape(60, -1).mean(axis=0), rtol=1e-6
        )


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize(("duplicates", "kept"), [("first", 0), ("last", 1)])
def test_of_two_rows_of_one_time_the_one_asked_for_stays(tmp_path, duplicates, kept):
    first, second = make_market(tmp_path / "1.csv", seed=1), make_market(tmp_path / "2.csv", seed=2, rows=40, start=50)
    folder = tmp_path / "months"
    folder.mkdir()
    first.write(folder / "a.csv")
    second.write(folder / "b.csv")
    with pytest.raises(DataError, match=r"b\.csv begins at .* before a\.csv ends at"):
        open_dataset(folder)
    with open_dataset(folder, duplicates=duplicates) as data:
        assert [entry.reason for entry in data.ledger] == ["repeated"] * 10
        assert {entry.detail[:13] for entry in data.ledger} == {f"file {2 - kept} of 2: "[:13]}
        assert data.rows == 100
        expected = np.concatenate(
            [first.features["arr_ctx"][: 60 - 10 * kept], second.features["arr_ctx"][10 * (1 - kept) :]]
        )
        np.testing.assert_array_equal(data.read(data.usable.numbers())["arr_ctx"], expected.astype(np.float32)[:, 0])
        assert (np.diff(data.timestamps) > 0).all()
        lines = (folder / "ab"[1 - kept : 2 - kept]).with_suffix(".csv").read_text().splitlines()
        stamps = {lines[entry.line - 1].split(",")[0] for entry in data.ledger}
        assert stamps == {cells[0] for cells in second.cells[:10]}


def test_rows_rejected_for_their_cells_stay_in_the_ledger_of_a_sorted_store(tmp_path):
    market = make_market(tmp_path / "m.csv")
    market.cells[7][1] = ""
    market.cells.reverse()
    store = compile_store(market.write(), sort=True, max_bad_rows=0.1)
    with open_store(store) as data:
        (entry,) = data.ledger
        assert (entry.row, entry.line, entry.reason) == (52, 54, "missing")
        assert (np.diff(data.timestamps) > 0).all()
        assert len(data.usable) == 59


def test_prices_of_a_sorted_file_give_no_target_across_a_rejected_row(tmp_path):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=30)
    market.header[-1] = "price"
    for row, cells in enumerate(market.cells):
        cells[-1] = str(100.0 + row)
    market.cells[7][1] = ""
    market.cells.reverse()
    with open_store(compile_store(market.write(), sort=True, max_bad_rows=0.1, horizons=2)) as data:
        times = (data.timestamps // 10**9 - 1_700_000_000) // 1200
        prices = dict(zip(times.tolist(), 100.0 + times, strict=True))
        for time, row in zip(times.tolist(), data.targets, strict=True):
            for step, value in enumerate(row.tolist(), start=1):
                path = [prices.get(time + one) for one in range(step + 1)]
                expected = np.nan if None in path else path[-1] / path[0] - 1
                assert value == pytest.approx(expected, nan_ok=True, rel=1e-6)


def test_a_store_of_other_choices_is_not_taken_for_the_same_data(tmp_path):
    market = make_market(tmp_path / "m.csv")
    market.cells[5], market.cells[6] = market.cells[6], market.cells[5]
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as plain:
        assert len(plain.ledger) == 1
    with open_dataset(market.path, sort=True) as arranged:
        assert arranged.ledger == []
        assert arranged.data_id != plain.data_id
    manifest = read_manifest(tmp_path / "m.dtstore")
    assert manifest.source["reading"]["arrangement"] == {"sort": True, "duplicates": "error"}


def test_rows_appended_to_a_sorted_file_give_the_store_of_a_fresh_compile(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 900)
    market = make_market(tmp_path / "m.csv")
    whole = list(market.cells)
    for cells in (whole[40:], whole[40:] + whole[:20], whole[40:] + whole[:40]):
        market.cells = cells
        market.write()
        store = compile_store(market.path, store=tmp_path / "grown.dtstore", sort=True)
    fresh = compile_store(market.path, store=tmp_path / "fresh.dtstore", sort=True)
    for path in fresh.iterdir():
        assert path.read_bytes() == (store / path.name).read_bytes()


def test_another_word_for_duplicates_is_refused(market):
    with pytest.raises(SettingsError, match="duplicates='both' is not accepted; choose from error, first, last"):
        compile_store(market.path, duplicates="both")


def test_a_store_of_an_earlier_version_with_rows_out_of_order_is_made_again(tmp_path, monkeypatch):
    market = make_market(tmp_path / "m.csv")
    market.cells[5], market.cells[6] = market.cells[6], market.cells[5]
    market.write()
    with monkeypatch.context() as patch:
        patch.setattr("deeptrade.sources.time_order.TimeOrder.check", lambda self, blocks: blocks)
        store = compile_store(market.path)
    content = json.loads((store / "manifest.json").read_text())
    del content["source"]["in_time_order"], content["checksum"]
    content["checksum"] = _checksum_of(content)
    (store / "manifest.json").write_text(json.dumps(content))
    compile_store(market.path, max_bad_rows=0.1)
    with open(store / "ledger.csv", newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["out_of_order"]


BEGIN = 1_700_000_000


def write_rows(path, rows):
    """A file of (minute, market) rows; the feature tells both."""
    lines = [f'{BEGIN + 60 * minute},{market},"[{minute}.0,{ord(market)}.0]",0.1\n' for minute, market in rows]
    path.write_text("timestamp,market,arr_a,y_1\n" + "".join(lines))
    return path


def same_files(one, other):
    return [path.name for path in sorted(one.iterdir()) if path.read_bytes() != (other / path.name).read_bytes()] == []


GROUPED = [(minute, market) for market in "AB" for minute in range(300)]
INTERLEAVED = [(minute, market) for minute in range(300) for market in "AB"]


@pytest.mark.parametrize(
    ("rows", "more", "options"),
    [
        (GROUPED, [(minute, "B") for minute in range(300, 420)], {}),
        (INTERLEAVED, [(minute, market) for minute in range(300, 420) for market in "AB"], {}),
        ([*GROUPED[:-1], (900, "B")], [(minute, "B") for minute in range(901, 990)], {}),
        (GROUPED[::-1], [(minute, "A") for minute in range(300, 420)], {"sort": True}),
        (GROUPED[150:300] + GROUPED[:149], [(minute, "A") for minute in range(400, 500)], {"sort": True}),
    ],
    ids=["grouped", "interleaved", "a gap at the end", "sorted, reversed", "sorted, one market"],
)
def test_a_store_whose_rows_were_put_in_order_grows_to_the_bytes_of_a_fresh_one(
    tmp_path, monkeypatch, rows, more, options
):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 2000)
    path, grown = write_rows(tmp_path / "d.csv", rows), tmp_path / "grown.dtstore"
    compile_store(path, store=grown, **options)
    write_rows(path, [*rows, *more])
    compile_store(path, store=grown, **options)
    assert same_files(grown, compile_store(path, store=tmp_path / "fresh.dtstore", **options))
    assert len(read_manifest(grown).blocks) > 5
    assert read_manifest(grown).usable == len(rows) + len(more)


@pytest.mark.parametrize("options", [{}, {"sort": True}])
def test_a_changed_end_of_such_a_file_loses_no_row(tmp_path, monkeypatch, options):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 2000)
    path, store = write_rows(tmp_path / "d.csv", GROUPED), tmp_path / "s.dtstore"
    compile_store(path, store=store, **options)
    text = path.read_text()
    path.write_text(text[:-1000] + text[-1000:].replace(",0.1\n", ",0.2\n"))
    compile_store(path, store=store, **options)
    assert same_files(store, compile_store(path, store=tmp_path / "fresh.dtstore", **options))
    assert read_manifest(store).usable == len(GROUPED)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("duplicates", ["first", "last"])
def test_merged_files_of_several_markets_end_with_the_same_bytes_after_an_interruption(
    tmp_path, monkeypatch, share, duplicates
):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 4000)
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "a.csv", [(t, m) for t in range(200) for m in "AB" if m == "A" or t < 50 or t > 190])
    write_rows(folder / "b.csv", [(t, "A") for t in range(1, 900)] + [(t, "B") for t in range(50, 400)])
    size = sum(file.stat().st_size for file in folder.iterdir())

    def stop(done, total):
        if done > share * size:
            raise _Stop

    given = {"duplicates": duplicates, "workers": 1}
    whole = compile_store(folder, store=tmp_path / "whole.dtstore", **given)
    with pytest.raises(_Stop):
        compile_store(folder, store=tmp_path / "stopped.dtstore", progress=stop, **given)
    assert same_files(whole, compile_store(folder, store=tmp_path / "stopped.dtstore", **given))


def test_the_next_file_of_a_merge_does_not_make_the_last_row_of_one_an_outlier(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "a.csv", [(minute, "A") for minute in (*range(51), 60)])
    write_rows(folder / "b.csv", [(minute, "A") for minute in range(51, 200)])
    store = compile_store(folder, duplicates="first")
    with open(store / "ledger.csv", newline="") as file:
        (entry,) = csv.DictReader(file)
    assert (entry["reason"], entry["detail"][:11]) == ("repeated", "file 2 of 2")
    assert read_manifest(store).usable == 200
