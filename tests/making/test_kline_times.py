import numpy as np
import pandas as pd
import pytest

from deeptrade.making.kline_times import UnreadableColumnError, read_clock, read_times
from deeptrade.times import SECOND, read_time

MINUTE = 60 * SECOND


@pytest.mark.parametrize("kind", ["int64", "str"])
@pytest.mark.parametrize("stamps", [["20240304093000250", "20240304093100000"], ["20240304093000", "20240304093100"]])
def test_stamps_are_read_in_a_column_as_each_alone(stamps, kind):
    found = read_times(pd.Series(stamps).astype(kind))
    assert found.tolist() == [read_time(stamp) for stamp in stamps]


@pytest.mark.parametrize("kind", ["int64", "float64", "str"])
def test_ten_digits_of_date_and_hour_are_that_hour(kind):
    column = pd.Series([2024030409, 2024030410, 2024030423]).astype(kind)
    assert read_times(column).tolist() == [read_time(f"2024-03-04T{hour}:00") for hour in ("09", "10", "23")]


@pytest.mark.parametrize("first", [315_532_800, 1_700_000_000, 1_950_010_100, 1_956_527_999])
def test_epoch_seconds_of_the_era_of_exchanges_stay_epochs(first):
    assert read_times(pd.Series([first, first])).tolist() == [first * SECOND] * 2


@pytest.mark.parametrize(
    ("numbers", "row", "words"),
    [
        (
            [2024030409, 2024030425],
            0,
            "a time in 2034, too late for a market; probably a date as YYYYMMDDHH, which not",
        ),
        ([20240304093000000, 20240304093070000], 0, "probably a date as YYYYMMDDHHMMSSmmm, which not all"),
        ([1_700_000_000, 1_956_528_000], 1, "1956528000 as an epoch number is a time in 2032, too late"),
        ([20_000_000_000, 20_000_000_060], 0, "a time in 2603, too late for a market; its unit is none of s, ms, us"),
        ([1_700_000_000_000, 50_000_000_000_000], 1, "a time in 3554, too late"),
        ([1_700_000_000, -90_000_000_000], 1, "-90000000000 is no epoch"),
        (
            [20240304, 20240230],
            0,
            "20240304 is no epoch in s, ms, us or ns, probably a date as YYYYMMDD, which not all",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["int64", "str"])
def test_numbers_outside_of_the_era_of_exchanges_are_refused_with_their_cause(numbers, row, words, kind):
    with pytest.raises(UnreadableColumnError, match=words) as caught:
        read_times(pd.Series(numbers).astype(kind))
    assert caught.value.row == row
    assert "write times as ISO 8601" in str(caught.value)


def test_fractions_of_epoch_seconds_and_milliseconds_are_kept():
    assert read_times(pd.Series([1_700_000_000.25, 1_700_000_000_000.5])).tolist() == [
        1_700_000_000_250_000_000,
        1_700_000_000_000_500_000,
    ]


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_short_floats_are_no_times(kind):
    with pytest.raises(UnreadableColumnError, match=f"{kind} rounds times .* int64 or float64"):
        read_times(pd.Series(np.arange(3, dtype=kind)))


@pytest.mark.parametrize(
    ("cells", "minutes"),
    [
        ([0, 5, 55, 100, 905, 1205], [0, 5, 55, 60, 545, 725]),
        ([1205.0, 1210.0], [725, 730]),
        ([5.0, 905.0], [5, 545]),
        (["0905", "1205"], [545, 725]),
        (["905", "0005"], [545, 5]),
        ([0, 0], [0, 0]),
        (["000000", "000000"], [0, 0]),
        ([0, 500, 93000, 120500], [0, 5, 570, 725]),
        (["93000", "093000"], [570, 570]),
        ([93000.0, 120500.0], [570, 725]),
        (["09:05", "12:05:00"], [545, 725]),
    ],
)
def test_clock_times_as_numbers_are_hours_and_minutes_unless_one_has_seconds(cells, minutes):
    assert (read_clock(pd.Series(cells)) // MINUTE).tolist() == minutes


def test_clock_times_that_may_be_hours_or_minutes_are_refused():
    with pytest.raises(UnreadableColumnError, match="23 may be an hour or a minute; write times of day as 12:05"):
        read_clock(pd.Series(range(24)))


def test_columns_without_cells_are_no_times():
    assert read_times(pd.Series([], dtype="str")).tolist() == read_clock(pd.Series([], dtype="str")).tolist() == []


def test_a_late_number_far_down_a_column_is_named_by_its_row():
    column = pd.Series(1_700_000_000 + 60 * np.arange(120_000))
    column[110_007] = 20_000_000_000
    with pytest.raises(UnreadableColumnError, match="20000000000 as an epoch number") as caught:
        read_times(column)
    assert caught.value.row == 110_007
