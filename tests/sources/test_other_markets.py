"""Columns that name markets under another name: never ignored where they tell several apart."""

import gzip
import json

import numpy as np
import pytest

from deeptrade.errors import DataError
from deeptrade.sources import csv, tables
from deeptrade.sources.kinds import open_source
from deeptrade.store.summary import source_notes
from tests.support.tables import write_hdf5, write_parquet


def cells(markets, *, wide=4):
    """Rows of these markets, one after the other in time."""
    rows = len(markets)
    return {
        "timestamp": 1_709_510_400 + 60 * np.arange(rows),
        "arr_a": np.ones((rows, wide)),
        "price": np.full(rows, 100.0),
        "markets": list(markets),
    }


def write(path, markets, name="symbol", *, wide=4):
    columns = cells(markets, wide=wide)
    columns[name] = columns.pop("markets")
    if path.suffix == ".parquet":
        return write_parquet(path, **columns | {"arr_a": columns["arr_a"].tolist()})
    if path.suffix == ".h5":
        return write_hdf5(path, **columns | {name: np.array(columns[name], "S12")})
    lines = [f"timestamp,{name},arr_a,price"]
    for time, market, array in zip(columns["timestamp"], columns[name], columns["arr_a"].tolist(), strict=True):
        lines.append(f'{time},{market},"{json.dumps(array)}",100.0')
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


KINDS = ("rows.csv", "rows.csv.gz", "rows.parquet", "rows.h5")


@pytest.mark.parametrize("file", KINDS)
@pytest.mark.parametrize("name", ["Market", "symbol", "TICKER", "instrument", "Pair", "asset", "<TICKER>"])
def test_a_column_that_tells_markets_apart_under_another_name_is_refused(tmp_path, file, name):
    path = write(tmp_path / file, ["A", "B"] * 10, name)
    with pytest.raises(
        DataError, match=rf"^column '{name}' tells several markets apart \('A', 'B'\).* rename '{name}' to"
    ):
        open_source(path)


@pytest.mark.parametrize("file", ["rows.csv", "rows.parquet", "rows.h5"])
def test_markets_that_follow_each_other_are_seen_at_the_end_of_the_file(tmp_path, monkeypatch, file):
    monkeypatch.setattr(csv, "_LOOKED_AT_BYTES", 500)
    monkeypatch.setattr(tables, "_LOOKED_AT_ROWS", 5)
    path = write(tmp_path / file, ["A"] * 90 + ["B"] * 10)
    with pytest.raises(DataError, match="'symbol' tells several markets apart"):
        open_source(path)


@pytest.mark.parametrize("ending", ["csv", "parquet", "h5"])
def test_files_of_one_market_each_are_several_markets_together(tmp_path, ending):
    folder = tmp_path / "months"
    folder.mkdir()
    write(folder / f"a.{ending}", ["A"] * 10)
    write(folder / f"b.{ending}", ["B"] * 10)
    with pytest.raises(DataError, match="'symbol' tells several markets apart"):
        open_source(folder)


@pytest.mark.parametrize("file", KINDS)
def test_one_market_under_another_name_is_read_and_told(tmp_path, file):
    source = open_source(write(tmp_path / file, ["BTC"] * 20, "Symbol"))
    assert source.unused_columns == ["Symbol"]
    assert any("'Symbol' is not used; if it tells markets apart, rename it" in note for note in source_notes(source))


@pytest.mark.parametrize("markets", [["1.5", "2.5"], ["", "A"], ["nan", "A"], [" A", "A "]])
def test_numbers_blanks_and_missing_cells_name_no_second_market(tmp_path, markets):
    assert open_source(write(tmp_path / "rows.csv", markets * 5, "asset")).unused_columns == ["asset"]


def test_numbers_of_a_table_under_such_a_name_are_ignored(tmp_path):
    columns = cells([1.5, 2.5] * 5)
    columns["asset"] = np.array(columns.pop("markets"))
    assert open_source(write_hdf5(tmp_path / "rows.h5", **columns)).unused_columns == ["asset"]


def test_beside_a_column_market_any_other_name_is_ignored(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('timestamp,market,symbol,arr_a,price\n1709510400,A,x,"[1]",1\n1709510460,B,y,"[1]",1\n')
    assert open_source(path).schema.has_markets


def test_the_ends_of_long_rows_are_looked_at_too(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "_LOOKED_AT_BYTES", 50)
    with pytest.raises(DataError, match="'symbol' tells several markets apart"):
        open_source(write(tmp_path / "rows.csv", ["A", "B"] * 10, wide=100))
