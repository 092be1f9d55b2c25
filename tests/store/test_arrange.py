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
