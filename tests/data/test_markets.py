"""Several markets in one dataset: one instant splits all, nothing crosses from one to another, each can be chosen."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from deeptrade import compile_store, open_dataset, open_store, profile
from deeptrade.cli import main
from deeptrade.errors import DataError, SettingsError
from deeptrade.judging.evaluate import evaluate
from deeptrade.profiles.examination import examine
from deeptrade.report import tables
from deeptrade.sources import csv as csv_source
from deeptrade.store import verify_store
from deeptrade.store.export import export_parquet
from deeptrade.training.assembly import lasting_statistics
from tests.support.markets import make_market

NAMES = ("BTCUSDT", "ETH/USDT", "köln")


def market_of(path, name, number, *, rows=60, start=0, price=True):
    """A file of one market, its name in a column after the time; prices are 100 (1 + number) + row."""
    market = make_market(path, rows=rows, horizons=1, seed=number, start=start)
    if price:
        market.header[-1] = "price"
    market.header.insert(1, "market")
    for row, cells in enumerate(market.cells):
        if price:
            cells[-1] = str(100.0 * (1 + number) + row)
        cells.insert(1, name)
    market.write()
    return market


@pytest.fixture
def several(tmp_path):
    """Three markets of 60, 60 and 40 rows, the last beginning twenty steps later."""
    sizes = {"BTCUSDT": (60, 0), "ETH/USDT": (60, 0), "köln": (40, 20)}
    return {
        name: market_of(tmp_path / f"{number}.csv", name, number, rows=rows, start=start)
        for number, (name, (rows, start)) in enumerate(sizes.items())
    }


def stacked(several, path):
    """All rows, one market after the other."""
    lines = [line for market in several.values() for line in market.lines()[1:]]
    path.write_bytes(next(iter(several.values())).lines()[0] + b"".join(lines))
    return path


def interleaved(several, path):
    """All rows in order of time, then of market."""
    lines = [line for market in several.values() for line in market.lines()[1:]]
    order = sorted(range(len(lines)), key=lambda at: (lines[at].split(b",")[0], at))
    path.write_bytes(next(iter(several.values())).lines()[0] + b"".join(lines[at] for at in order))
    return path


def table_of(store):
    with open_store(store) as data:
        rows = data.usable.numbers()
        table = pd.DataFrame({"time": data.timestamps, "market": data.read_markets(rows)})
        table["first"] = data.read(rows)["arr_ctx"][:, 0]
        for step in range(data.schema.horizons):
            table[f"y_{step + 1}"] = data.targets[:, step]
        return table.sort_values(["time", "market"], ignore_index=True)


@pytest.mark.parametrize("block_bytes", [900, 1 << 23])
def test_every_market_gets_the_targets_it_has_alone_however_the_rows_are_mixed(
    several, tmp_path, monkeypatch, block_bytes
):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", block_bytes)
    alone = [table_of(compile_store(market.path)) for market in several.values()]
    expected = pd.concat(alone).sort_values(["time", "market"], ignore_index=True)
    for mix in (stacked, interleaved):
        store = compile_store(mix(several, tmp_path / f"{mix.__name__}.csv"))
        assert verify_store(store) == []
        pd.testing.assert_frame_equal(table_of(store), expected)
        with open_store(store) as data:
            assert (np.diff(data.timestamps) >= 0).all()
            assert data.markets == NAMES
            assert data.ledger == []
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, market in enumerate(several.values()):
        market.write(folder / f"{number}.csv")
    pd.testing.assert_frame_equal(table_of(compile_store(folder)), expected)


def test_parquet_names_markets_too(several, tmp_path):
    csv = stacked(several, tmp_path / "m.csv")
    frame = pd.read_csv(csv)
    columns = {name: frame[name].tolist() for name in frame if not name.startswith("arr_")}
    columns |= {name: [json.loads(cell) for cell in frame[name]] for name in frame if name.startswith("arr_")}
    for text in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table(columns)
        table = table.set_column(table.schema.names.index("market"), "market", table["market"].cast(text))
        parquet.write_table(table, tmp_path / "m.parquet")
        found = table_of(compile_store(tmp_path / "m.parquet", store=tmp_path / "p.dtstore", fresh=True))
        pd.testing.assert_frame_equal(found, table_of(compile_store(csv, store=tmp_path / "c.dtstore")))


def test_one_instant_splits_all_markets_and_each_can_be_chosen(several, tmp_path):
    with open_dataset(stacked(several, tmp_path / "m.csv"), compiled=True) as data:
        split = data.split(0.4)
        times, names = data.read_times, data.read_markets
        last, first = times(split.train.numbers()).max(), times(split.validation.numbers()).min()
        horizon = data.schema.horizons * 1200 * 10**9
        assert last + horizon < first
        assert set(names(split.train.numbers())) == set(names(split.validation.numbers())) == set(NAMES)
        some = data.split(0.4, markets=["ETH/USDT"])
        assert set(names(some.train.numbers())) == {"ETH/USDT"}
        assert times(some.validation.numbers()).min() == first
        rows = [some.train.numbers(), some.validation.numbers(), some.purged, some.unused]
        assert sorted(np.concatenate(rows).tolist()) == list(range(160))
        statistics = data.statistics(some.train)["arr_ctx"]
        expected = several["ETH/USDT"].features["arr_ctx"].reshape(60, -1)[: len(some.train)]
        np.testing.assert_allclose(statistics.mean, expected.mean(axis=0), rtol=1e-5)
        with pytest.raises(
            SettingsError, match="markets='DOGE' is not in the data; choose from BTCUSDT, ETH/USDT, köln"
        ):
            data.split(markets=["DOGE"])


def test_rows_out_of_order_are_rejected_within_their_market(several, tmp_path):
    several["BTCUSDT"].cells[7], several["BTCUSDT"].cells[8] = several["BTCUSDT"].cells[8], several["BTCUSDT"].cells[7]
    several["köln"].cells[5][0] = several["köln"].cells[4][0]
    for market in several.values():
        market.write()
    with open_store(compile_store(stacked(several, tmp_path / "m.csv"), max_bad_rows=0.1)) as data:
        assert [(entry.line, entry.reason) for entry in data.ledger] == [(10, "out_of_order"), (127, "repeated")]


@pytest.mark.parametrize("cell", ["", "  "])
def test_a_row_without_its_market_is_rejected(several, tmp_path, cell):
    several["BTCUSDT"].cells[3][1] = cell
    several["BTCUSDT"].write()
    with open_store(compile_store(stacked(several, tmp_path / "m.csv"), max_bad_rows=0.1)) as data:
        assert [(entry.line, entry.column, entry.reason) for entry in data.ledger] == [(5, "market", "missing")]


def test_two_markets_without_names_are_refused_with_the_way_to_name_them(tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("BTC", "ETH"):
        make_market(folder / f"{name}.csv")
    with pytest.raises(
        DataError, match=r"ETH\.csv begins at .* before BTC\.csv ends at .*need a 'market' column after"
    ):
        compile_store(folder)


def test_files_of_one_market_that_overlap_are_refused_by_its_name(several, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    several["BTCUSDT"].write(folder / "a.csv")
    market_of(folder / "b.csv", "BTCUSDT", 0, start=30)
    with pytest.raises(DataError, match=r"b\.csv begins at .* of BTCUSDT, before a\.csv ends at"):
        compile_store(folder)
    with open_store(compile_store(folder, duplicates="last")) as data:
        assert len(data.usable) == 90


def test_rows_appended_for_a_new_market_give_the_store_of_a_fresh_compile(several, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 900)
    path = tmp_path / "m.csv"
    for count in (1, 2, 3):
        stacked(dict(list(several.items())[:count]), path)
        store = compile_store(path, store=tmp_path / "grown.dtstore")
    fresh = compile_store(path, store=tmp_path / "fresh.dtstore")
    for file in fresh.iterdir():
        assert file.read_bytes() == (store / file.name).read_bytes(), file.name


def test_the_profile_tells_the_markets_apart(several, tmp_path):
    del several["ETH/USDT"].cells[20:25]
    several["ETH/USDT"].write()
    found = profile(stacked(several, tmp_path / "m.csv"))
    assert [(one["name"], one["rows"], one["gap_count"]) for one in found["markets"]] == [
        ("BTCUSDT", 60, 0),
        ("ETH/USDT", 55, 1),
        ("köln", 40, 0),
    ]
    for one, market in zip(found["markets"], several.values(), strict=True):
        windows = np.array([market.features["arr_5m"][row] for row in range(one["rows"])])
        first = one["features"][0]
        np.testing.assert_allclose(first["mean"], windows.mean(axis=(0, 1, 2)), rtol=0.02)
    assert tables.markets(found)["rows"].tolist() == ["60", "55", "40"]
    assert tables.features(found)["market"].unique().tolist() == list(NAMES)
    (gap,) = found["gaps"]
    assert (gap["market"], gap["missing_rows"]) == ("ETH/USDT", 5)
    assert found["step_seconds"] == 1200


def test_each_market_of_a_profile_is_what_its_file_alone_gives(several, tmp_path):
    stuck = several["BTCUSDT"]
    for row in range(20, 32):  # the feed of one market stops while the others go on
        stuck.cells[row][4] = stuck.cells[20][4]
    stuck.write()
    found = profile(stacked(several, tmp_path / "m.csv"))
    assert [one["features"][2]["longest_still_rows"] for one in found["markets"]] == [12, 1, 1]
    assert found["features"][2]["longest_still_rows"] == 12
    finding = tables.alerts(found)["finding"]
    assert finding.str.contains("no channel of arr_ctx of BTCUSDT changes over 12 consecutive rows").any()
    for one, market in zip(found["markets"], several.values(), strict=True):
        alone = profile(market.path)["markets"][0]
        for mine, other in zip(one.pop("features"), alone.pop("features"), strict=True):
            for key in ("name", "shared_steps"):
                assert mine.pop(key) == other.pop(key)
            assert mine.keys() == other.keys()
            assert all(mine[key] == pytest.approx(other[key], rel=1e-5, abs=1e-6) for key in mine)
        assert one == alone


def test_an_exported_store_names_its_markets_and_compiles_to_the_same_rows(several, tmp_path):
    store = compile_store(stacked(several, tmp_path / "m.csv"))
    exported = export_parquet(store, tmp_path / "m.parquet")
    again = compile_store(exported, store=tmp_path / "again.dtstore")
    with open_store(store) as one, open_store(again) as other:
        rows = one.usable.numbers()
        np.testing.assert_array_equal(one.read_markets(rows), other.read_markets(rows))
        np.testing.assert_array_equal(one.timestamps, other.timestamps)
        np.testing.assert_array_equal(one.targets, other.targets)


def test_a_channel_without_numbers_at_the_start_has_no_drift(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=100)
    for cells in market.cells[:25]:  # as an indicator that warms up
        values = json.loads(cells[-3])
        values[0][1] = float("nan")
        cells[-3] = json.dumps(values)
    market.write()
    with open_dataset(market.path) as data:
        drift = examine(data, data.usable, data.statistics(data.usable))["arr_ctx"].drift
        lasting = lasting_statistics(data, data.usable, ["arr_ctx"])["arr_ctx"]
    assert drift[1] == 0
    assert np.abs(drift).max() < 2
    assert np.isfinite(lasting.std).all()


@pytest.mark.parametrize("ends", [30, 60])
def test_the_instant_does_not_hang_on_the_markets_that_are_used(several, tmp_path, ends):
    del several["BTCUSDT"].cells[ends:]
    several["BTCUSDT"].write()
    with open_dataset(stacked(several, tmp_path / "m.csv"), compiled=True) as data:
        instant = data.read_times(data.split(0.4).validation.numbers()).min()
        for names in (["ETH/USDT"], ["köln"], ["ETH/USDT", "köln"]):
            assert data.read_times(data.split(0.4, markets=names).validation.numbers()).min() == instant


def test_a_market_that_ends_early_does_not_hold_the_rest_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 900)
    several = {
        "gone": market_of(tmp_path / "1.csv", "gone", 0, rows=3),
        "lives": market_of(tmp_path / "2.csv", "lives", 1, rows=200),
    }
    several["gone"].cells[-1][0] = str(int(several["gone"].cells[-1][0]) + 10 * 1200)
    several["gone"].write()
    with open_store(compile_store(interleaved(several, tmp_path / "m.csv"))) as data:
        assert len(data.usable) == 203


def test_fit_predict_and_evaluate_take_several_markets(several, tmp_path, capsys):
    csv, out = stacked(several, tmp_path / "m.csv"), tmp_path / "run"
    command = ["fit", "--csv", str(csv), "--out", str(out), "--model_size=tiny", "--max_steps=2", "--skip_rl"]
    command.append("--val_ratio=0.4")
    assert main([*command, "--markets", "BTCUSDT,köln"]) == 0, capsys.readouterr().err
    result = json.loads((out / "result.json").read_text())
    rows = result["rows"]
    assert rows["read"] == 160 == sum(rows.values()) - rows["read"]
    assert main(["predict", str(out), str(csv), "--out", str(tmp_path / "f.parquet")]) == 0
    forecasts = pd.read_parquet(tmp_path / "f.parquet")
    assert list(forecasts.columns[:3]) == ["timestamp", "market", "row"]
    assert forecasts.groupby("market").size().to_dict() == {"BTCUSDT": 60, "ETH/USDT": 60, "köln": 40}
    judged = evaluate(out)
    found = json.loads((out / "evaluation.json").read_text())
    assert judged.markets == ["BTCUSDT", "köln"]
    assert found["decision"]["rows"] == rows["validation"]
    errors = [judged.of("mae", name)[0].value for name in judged.markets]
    assert min(errors) <= judged.of("mae")[0].value <= max(errors)
    assert tables.scores_by_market(judged)["market"].unique().tolist() == ["BTCUSDT", "köln"]
    assert main([*command, "--markets", "BTCUSDT"]) == 2
    assert "holds a run with markets='BTCUSDT,köln', given 'BTCUSDT'" in capsys.readouterr().err
