"""What is said of data: warnings of what was accepted, and the way out of what was not."""

from datetime import UTC, datetime

import numpy as np
import pytest

from deeptrade import open_store
from deeptrade.store import compile_store
from deeptrade.store.ledger import LedgerEntry
from deeptrade.store.summary import TooManyBadRowsError, refuse_too_many, time_warnings
from deeptrade.times import read_time
from tests.support.tables import write_hdf5

MINUTES = 1_709_510_400 + 60 * np.arange(1500)
"""One-minute bars of a day from 2024-03-04, epoch seconds."""


def told(numbers):
    return list(time_warnings(np.array([read_time(str(number)) for number in numbers])))


def spelled(times, form):
    return [datetime.fromtimestamp(int(time), UTC).strftime(form) for time in times]


@pytest.mark.parametrize("step", [1, 60, 300, 3600])
def test_ticks_of_dotnet_are_named_with_the_date_they_mean(step):
    ticks = 638_450_000_000_000_000 + step * 10_000_000 * np.arange(1500)
    (line,) = told(ticks)
    assert ".NET ticks of 100 ns since the year 1 (2024-03-02)" in line
    assert "begin on 1990-03-26" in line


@pytest.mark.parametrize("factor", [1, 1000])
def test_seconds_since_2001_are_named_with_the_date_they_mean(factor):
    (line,) = told((MINUTES - 978_307_200) * factor)
    assert "seconds since 2001, as Apple counts (2024-03-04)" in line
    assert "NET" not in line


@pytest.mark.parametrize("year", [-20, -9, 0])
@pytest.mark.parametrize("step", [60, 300, 3600, 86_400])
def test_dates_written_yymmddhhmm_are_named(year, step):
    times = 1_709_510_400 + year * 31_557_600 + step * np.arange(200)
    (line,) = told(int(digits) for digits in spelled(times, "%y%m%d%H%M"))
    assert "dates written yymmddHHMM" in line
    assert f"for {datetime.fromtimestamp(int(times[0]), UTC):%Y-%m-%d %H:%M}" in line


@pytest.mark.parametrize("step", [1, 5, 10, 30, 60, 100, 300, 900, 3600, 14_400, 86_400])
@pytest.mark.parametrize("start", [1_010_101_010, 1_503_040_000, 1_709_510_400, 1_212_310_000])
def test_good_epochs_have_no_warning(start, step):
    for factor in (1, 1000, 10**6, 10**9):
        assert told((start + step * np.arange(200)) * factor) == []


def test_daily_rows_of_the_last_century_have_no_warning():
    assert told(spelled(473_385_600 + 86_400 * np.arange(3000), "%Y-%m-%d")) == []


def test_other_times_that_are_too_close_are_still_told():
    assert "0.01 seconds apart" in told(1_709_510_400_000 + 10 * np.arange(100))[0]


def entries(count, reason, column, detail="'x' is bad"):
    return [LedgerEntry(row, row + 2, 0, column, reason, detail) for row in range(count)]


@pytest.mark.parametrize(
    ("column", "reason", "words"),
    [
        ("timestamp", "encoding", "write times as ISO 8601, such as 2024-03-04T09:30:00Z, or as epoch numbers"),
        ("price", "encoding", "write plain numbers in column 'price', such as 1234.5"),
        ("market", "missing", "write the name of a market in every row"),
        ("arr_a", "encoding", "write JSON arrays of numbers in column 'arr_a'"),
        ("arr_a", "shape", "write arrays of one shape"),
        ("arr_a", "non_finite", "write numbers in column 'arr_a'"),
    ],
)
def test_where_every_row_fails_alike_the_accepted_form_is_told_not_max_bad_rows(column, reason, words):
    with pytest.raises(TooManyBadRowsError, match=r"first: line 2, .*'x' is bad; all rows are rejected") as caught:
        refuse_too_many(entries(9, reason, column), 9, 0.01)
    assert words in str(caught.value)
    assert "raise --max_bad_rows" not in str(caught.value)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (["out_of_order"], "--sort takes rows by time, or fix the file"),
        (["repeated"], "--duplicates first or last keeps one row of each time, or fix"),
        (["out_of_order", "repeated"], "--sort takes rows by time and --duplicates first or last keeps"),
    ],
)
def test_rows_out_of_order_or_repeated_name_the_options_that_take_them(reasons, words):
    ledger = [entry for reason in reasons for entry in entries(10, reason, "timestamp")]
    with pytest.raises(TooManyBadRowsError, match=words):
        refuse_too_many([*ledger, *entries(2, "shape", "arr_a")], 100, 0.01)


def test_where_rows_are_left_more_may_be_allowed():
    with pytest.raises(TooManyBadRowsError, match=r"fix the file or raise --max_bad_rows$"):
        refuse_too_many(entries(9, "shape", "arr_a"), 100, 0.01)
    with pytest.raises(TooManyBadRowsError, match=r"fix the file$"):
        refuse_too_many([*entries(5, "shape", "arr_a"), *entries(5, "missing", "arr_a")], 10, 0.01)


@pytest.mark.parametrize("sign", [-1, 0])
def test_prices_of_zero_or_below_are_named(tmp_path, sign):
    prices = 100.0 + np.arange(12)
    prices[:8] *= sign
    with open_store(compile_store(write_hdf5(tmp_path / "m.h5", price=prices))) as data:
        assert any("of 12 rows have no return" in line and "'price' must be above 0" in line for line in data.warnings)
    with open_store(compile_store(write_hdf5(tmp_path / "n.h5"))) as data:
        assert not any("above 0" in line for line in data.warnings)


@pytest.mark.parametrize("detail", ["...; write ISO 8601 times", "...; write cells with json.dumps(array.tolist())"])
def test_an_advice_that_a_row_gives_is_not_repeated(detail):
    with pytest.raises(TooManyBadRowsError, match=r"all rows are rejected for this reason$"):
        refuse_too_many(entries(9, "encoding", "timestamp", detail), 9, 0.01)
