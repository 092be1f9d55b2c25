import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from deeptrade.data import dataset as dataset_module
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, DoesNotFitError, SettingsError
from deeptrade.inputs import LocalFile
from deeptrade.memory import ByteBudget
from deeptrade.sources import csv as csv_module
from deeptrade.sources.identity import content_id, former_content_ids
from deeptrade.store.row_range import RowRange
from deeptrade.store.summary import TooManyBadRowsError
from deeptrade.store.targets import returns_ahead
from tests.support.markets import make_market


def test_rows_equal_plain_json_in_any_order(market):
    with open_dataset(market.path) as data:
        rows = np.random.default_rng(0).permutation(data.rows)
        values = data.read(rows)
        for name, expected in market.features.items():
            np.testing.assert_array_equal(values[name], expected[rows, 0].astype(np.float32))
        np.testing.assert_array_equal(data.targets, market.targets.astype(np.float32))
        assert len(data.usable) == data.rows
        assert not data.ledger
        assert not data.warnings


def test_plain_reads_give_the_same_as_the_map(market):
    with open_dataset(market.path) as mapped, open_dataset(market.path, use_mmap=False) as plain:
        assert plain.data_id == mapped.data_id
        rows = np.arange(market.targets.shape[0])[::-1]
        for name, values in mapped.read(rows).items():
            np.testing.assert_array_equal(plain.read(rows)[name], values)


def test_loading_all_rows_gives_the_same_rows(market):
    market.cells[3][1] = "[[[1]]]"
    market.write()
    with (
        open_dataset(market.path, load_all=True, max_bad_rows=0.1) as loaded,
        open_dataset(market.path, max_bad_rows=0.1) as lazy,
    ):
        rows = lazy.usable.numbers()
        for name, values in lazy.read(rows).items():
            np.testing.assert_array_equal(loaded.read(rows)[name], values)


def test_loading_all_rows_is_refused_with_both_numbers_where_they_do_not_fit(market):
    with open_dataset(market.path) as data:
        data.budget = ByteBudget(lambda: 1024)
        with pytest.raises(DoesNotFitError, match=r"needs 8\.7 KiB for 60 rows, 1\.0 KiB are available"):
            data.load()


def test_a_limit_below_what_the_process_holds_already_is_refused_with_the_numbers(market):
    with pytest.raises(DoesNotFitError, match=r"^reading a block of market needs .* MiB, 0 B may be used"):
        open_dataset(market.path, memory_limit=1024)


def test_each_injected_fault_is_one_exact_line_of_the_ledger(market):
    feature, odd = market.header[1], market.header[2]
    window = market.features[feature][0].tolist()
    ragged = json.dumps([[*window[0][:-1], window[0][-1][:-1]]])
    market.cells[5][1] = ragged
    market.cells[9][1] = json.dumps([window[0][:-1]])
    market.cells[14][3] = "[[NaN, NaN, null, Infinity]]"
    market.cells[20][2] = ""
    market.cells[33][1] = json.dumps(window).replace("]]]", "]]")
    market.cells[40][2] = json.dumps(market.features[odd][40].tolist()).replace("1", "\u20ac", 1)
    market.write()
    lines = market.lines()
    lines[41] = lines[41].replace("\u20ac".encode(), b"\xff")
    lines[60] = lines[60][: len(lines[60]) // 2]
    market.path.write_bytes(b"".join(lines))
    with open_dataset(market.path, max_bad_rows=0.2) as data:
        found = [(e.row, e.line, e.byte_offset, e.column, e.reason) for e in data.ledger]
        starts = np.cumsum([0] + [len(line) for line in lines])
        expected = [
            (5, feature, "ragged"),
            (9, feature, "shape"),
            (14, "arr_ctx", "non_finite"),
            (20, odd, "missing"),
            (33, feature, "cut_off"),
            (40, odd, "encoding"),
            (59, feature, "cut_off"),
        ]
        assert found == [(row, row + 2, starts[row + 1], column, reason) for row, column, reason in expected]
        assert data.rejected.tolist() == [row for row, _, _ in expected]
        good = data.usable.numbers()
        np.testing.assert_array_equal(data.read(good)[feature], market.features[feature][good, 0].astype(np.float32))


def test_a_missing_target_and_single_nan_or_null_cost_no_row_and_invent_nothing(market):
    values = market.features["arr_ctx"][7].tolist()
    values[0][1] = float("nan")
    market.cells[7][3] = json.dumps(values)
    market.cells[8][3] = json.dumps([[None, *market.features["arr_ctx"][8, 0, 1:].tolist()]])
    market.cells[9][4] = ""
    market.write()
    with open_dataset(market.path) as data:
        assert not data.ledger
        expected = market.features["arr_ctx"][:, 0].astype(np.float32)
        expected[7, 1] = expected[8, 0] = np.nan
        np.testing.assert_array_equal(data.read(np.arange(60))["arr_ctx"], expected)
        targets = market.targets.astype(np.float32)
        targets[9, 0] = np.nan
        np.testing.assert_array_equal(data.targets, targets)
        assert data.nonfinite["arr_ctx"] == 2
        assert any("1 target is missing" in line for line in data.warnings)


def test_more_bad_rows_than_allowed_stop_with_the_first_named(market):
    market.cells[4][1] = market.cells[6][1] = "[[[1]]]"
    market.write()
    with pytest.raises(
        TooManyBadRowsError, match=r"2 of 60 rows .* allows 0; first: line 6, column 'arr_5m', shape"
    ) as e:
        open_dataset(market.path)
    assert [entry.row for entry in e.value.ledger] == [4, 6]


def test_a_rejected_row_cannot_be_read(market):
    market.cells[4][1] = "[[[1]]]"
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data, pytest.raises(DataError, match="row 4 is rejected"):
        data.read(np.array([3, 4]))


def test_price_stands_in_for_targets(tmp_path):
    market = make_market(tmp_path / "m.csv", horizons=1)
    prices = np.exp(np.random.default_rng(1).normal(0, 0.5, 60).cumsum())
    market.header[-1] = "price"
    for row, price in zip(market.cells, prices, strict=True):
        row[-1] = repr(float(price))
    market.cells[10][-1] = ""
    market.write()
    prices[10] = np.nan
    with open_dataset(market.path, horizons=3) as data:
        series = pd.Series(prices.astype(np.float32).astype(float))
        expected = np.stack([(series.shift(-i) / series - 1).clip(-1, 1) for i in (1, 2, 3)], axis=1)
        np.testing.assert_allclose(data.targets, expected.astype(np.float32), rtol=1e-6)


def test_returns_are_not_computed_from_prices_at_or_below_zero():
    assert np.isnan(returns_ahead(np.float32([1, 0, 2]), 1)).all()


def test_statistics_over_part_of_the_rows_equal_numpy_on_those_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_module, "BLOCK_BYTES", 16 << 10)
    market = make_market(tmp_path / "m.csv", rows=100)
    market.cells[50][1] = "[[[1]]]"
    market.features["arr_5m"][20, 0, 3, 1] = np.nan
    market.cells[20][1] = json.dumps(market.features["arr_5m"][20].tolist())
    market.write()
    rows = np.r_[0:50, 51:70]
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        found = data.statistics(RowRange(0, 70, data.rejected))["arr_5m"]
    values = market.features["arr_5m"][rows, 0].astype(np.float32).astype(np.float64)
    flat = values.reshape(-1, 3)
    np.testing.assert_allclose(found.mean, np.nanmean(flat, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.std, np.nanstd(flat, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.minimum, np.nanmin(flat, axis=0))
    np.testing.assert_allclose(found.maximum, np.nanmax(flat, axis=0))
    relative = (values - values[:, -1:]) / np.abs(values).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.relative_std, np.sqrt(np.nanmean(relative**2, axis=(0, 1))), rtol=1e-5)


def test_statistics_do_not_depend_on_chunk_size(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=300)
    with open_dataset(market.path) as one, open_dataset(market.path, chunk_size=7) as other:
        for name, found in one.statistics(RowRange(0, 200)).items():
            np.testing.assert_array_equal(found.std, other.statistics(RowRange(0, 200))[name].std)


def test_validation_rows_do_not_touch_training_statistics(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=300)
    with open_dataset(market.path) as data:
        train = data.split(0.2).train
        before = data.statistics(train)
    for cells in market.cells[train.stop :]:
        cells[3] = "[[1e9, 1e9, 1e9, 1e9]]"
    market.write()
    with open_dataset(market.path) as data:
        after = data.statistics(train)
    for name, found in before.items():
        assert found.mean.tobytes() == after[name].mean.tobytes()
        assert found.std.tobytes() == after[name].std.tobytes()


def test_several_files_are_one_dataset_in_time_order(tmp_path):
    market = make_market(tmp_path / "whole.csv")
    folder = tmp_path / "months"
    folder.mkdir()
    lines = market.lines()
    (folder / "b.csv").write_bytes(b"".join(lines[:21]))
    (folder / "a.csv").write_bytes(lines[0] + b"".join(lines[21:]))
    for data_path in (folder, str(folder / "*.csv")):
        with open_dataset(data_path) as data:
            np.testing.assert_array_equal(data.targets, market.targets.astype(np.float32))
            rows = np.array([59, 0, 20, 19])
            np.testing.assert_array_equal(
                data.read(rows)["arr_ctx"], market.features["arr_ctx"][rows, 0].astype(np.float32)
            )


def test_a_row_that_goes_back_in_time_or_repeats_one_is_rejected_by_reason(market):
    market.cells[10][0] = market.cells[9][0]
    market.cells[20][0] = market.cells[3][0]
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        assert [(entry.row, entry.line, entry.reason) for entry in data.ledger] == [
            (10, 12, "repeated"),
            (20, 22, "out_of_order"),
        ]
        assert (np.diff(data.timestamps) > 0).all()


def test_max_rows_uses_only_the_first(market):
    with open_dataset(market.path, max_rows=7) as data:
        assert data.rows == 7


def test_the_first_rows_of_prices_are_warned_of_once_by_the_targets_known_to_them(tmp_path, monkeypatch):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=30)
    market.header[-1] = "price"
    for row in market.cells:
        row[-1] = "2.0"
    market.write()
    plain, seen = dataset_module.find_warnings, []

    def find(summary, timestamps, targets, *, notes):
        seen.append(targets.copy())
        return plain(summary, timestamps, targets, notes=notes)

    with open_dataset(market.path, horizons=1) as data:
        monkeypatch.setattr(dataset_module, "find_warnings", find)
        data.first(7)
    (targets,) = seen
    np.testing.assert_array_equal(targets[:, 0], np.float32([*[0] * 6, np.nan]))


def test_the_id_follows_the_content(market, tmp_path):
    copy = market.write(tmp_path / "copy.csv")
    with open_dataset(market.path) as one, open_dataset(copy) as same:
        assert one.data_id == same.data_id
    market.cells[30][-1] = "0.125"
    market.write(copy)
    with open_dataset(market.path) as one, open_dataset(copy) as other:
        assert one.data_id != other.data_id


def test_the_ids_of_these_bytes_are_these_for_ever(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 20_000)
    assert (
        content_id([LocalFile.at(path)], ["csv 1"])
        == "sha256-2:b6b49ac5abbd0821880d93713f75d289f65b26482592974a503047207221a765"
    )
    (former,) = former_content_ids([LocalFile.at(path)], ["csv 1"])
    assert former == "sha256:f36f3a77dc1816f99dca5b23db1809c2591ca368e0d2e67d4f26076230c36ec3"


def test_a_chunk_bound_by_bytes_is_told(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=30_000, shapes={"arr_a": (60,)})
    lines = []
    with open_dataset(market.path, sink=lines.append):
        pass
    assert lines[1].startswith("chunk_size=10000 lowered to about ")
    assert lines[1].endswith("rows: at most 8.0 MiB of text is parsed at once")


BAD_FILES = {
    "empty": (b"", "is empty; expected a CSV"),
    "header only": (b"timestamp,arr_a,y_1\n", "has a header but no rows"),
    "no targets and no price": (
        b'timestamp,arr_a\n1,"[1]"\n',
        "no targets among 'timestamp', 'arr_a'; add a 'price' column",
    ),
    "missing target column": (b'timestamp,arr_a,y_1,y_3\n1,"[1]",1,1\n', "column 'y_2' is missing"),
    "missing timestamp": (b'arr_a,y_1\n"[1]",1\n', "first column is 'arr_a'; expected 'timestamp'"),
    "semicolons": (b"timestamp;arr_a;y_1\n1;[1];1\n", "separate the columns with commas, not semicolons"),
    "an index of pandas": (b',timestamp,arr_a,y_1\n0,1,"[1]",1\n', "unless index=False"),
    "a time of another name": (b'date,arr_a,y_1\n1,"[1]",1\n', "rename 'date' to 'timestamp' if it is the time"),
    "no feature": (b"timestamp,price\n1,1\n", "no feature column among 'timestamp', 'price'; "),
    "klines": (b"open_time,open,high,low,close,volume\n1,1,1,1,1,1\n", "these look like klines: deeptrade build"),
    "no header": (b"1690848000000,1.38,1.38,1.37\n", "first line holds numbers, no names of columns; add a header"),
    "a table": (b"date,close,factor\n2024-01-01,1,1\n", "JSON arrays in columns named arr_*: see docs/tutorial.md"),
    "doubled column": (b'timestamp,arr_a,arr_a,y_1\n1,"[1]","[1]",1\n', "column 'arr_a' appears twice"),
    "no array": (b'timestamp,arr_a,y_1\n1,"x",1\n', "column 'arr_a' holds no JSON array"),
    "binary": (bytes(range(256)) * 20, "is not a text file"),
    "a zip": (b"PK\x03\x04" + b"\0" * 100, "is not a text file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_no_data_are_one_clear_line(tmp_path, case):
    content, expected = BAD_FILES[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_empty_folder_are_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # data beside the working folder would be offered
    with pytest.raises(DataError, match=r"does not exist; give a CSV \(also"):
        open_dataset(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"holds no data files; expected"):
        open_dataset(tmp_path)


def test_a_feature_that_is_not_there_is_named_with_the_nearest(market):
    with open_dataset(market.path) as data, pytest.raises(SettingsError, match="did you mean 'arr_5m'"):
        data.read(np.arange(2), ["arr_5min"])


def test_reading_needs_no_tensorflow(market):
    code = (
        "import sys, deeptrade, numpy as np\n"
        f"data = deeptrade.open_dataset({str(market.path)!r})\n"
        "data.read(np.arange(3))\n"
        f"deeptrade.profile({str(market.path)!r})\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("price", ["Infinity", "1e300", "-Infinity"])
def test_an_infinite_price_gives_no_target(tmp_path, price):
    market = make_market(tmp_path / "m.csv", horizons=1, rows=8)
    market.header[-1] = "price"
    for row in market.cells:
        row[-1] = "2.0"
    market.cells[4][-1] = price
    market.write()
    with open_dataset(market.path, horizons=1) as data:
        np.testing.assert_array_equal(data.targets[:, 0], np.float32([0, 0, 0, *[np.nan] * 2, 0, 0, np.nan]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_rows": -5}, "max_rows=-5 is not accepted; use at least 0"),
        ({"chunk_size": 0}, "chunk_size=0 is not accepted; use at least 1"),
        ({"max_bad_rows": -1.0}, "max_bad_rows=-1.0 is not accepted; use at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(market, options, words):
    with pytest.raises(SettingsError, match=words):
        open_dataset(market.path, **options)


def test_a_rejected_row_of_several_files_names_its_file(tmp_path):
    market = make_market(tmp_path / "whole.csv")
    market.cells[30][1] = "[[[1]]]"
    market.write()
    folder = tmp_path / "months"
    folder.mkdir()
    lines = market.lines()
    (folder / "1.csv").write_bytes(b"".join(lines[:21]))
    (folder / "2.csv").write_bytes(lines[0] + b"".join(lines[21:]))
    with open_dataset(folder, max_bad_rows=0.1) as data:
        (entry,) = data.ledger
        assert (entry.row, entry.line) == (30, 12)
        assert entry.detail == "file 2 of 2: shape 1x1x1, expected 1x7x3"


@pytest.mark.parametrize("stamp", ["20231301120000000000", "0001-01-01T00:00:00", "9999-12-31", "10000000000"])
def test_a_time_that_int64_cannot_hold_costs_its_row(market, stamp):
    market.cells[3][0] = stamp
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        assert [(entry.row, entry.column, entry.reason) for entry in data.ledger] == [(3, "timestamp", "encoding")]


def test_eight_digits_are_a_date(market):
    market.cells[0][0] = "20230101"
    market.write()
    with open_dataset(market.path) as data:
        assert data.timestamps[0] == 1_672_531_200 * 10**9
