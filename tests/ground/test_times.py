from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrade.errors import SettingsError
from deeptrade.times import (
    EXCHANGE_ERA,
    SECOND,
    UnreadableTimeError,
    duration_name,
    duration_text,
    is_number,
    name_period,
    parse_duration,
    parse_periods,
    read_time,
)

MOMENT = datetime(2024, 3, 4, 9, 30, tzinfo=UTC)
NANOSECONDS = 1_709_544_600 * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "1709544600",
        "1709544600.0",
        "1.7095446e9",
        "1709544600000",
        "1709544600000000",
        "1709544600000000000",
        "2024-03-04 09:30",
        "2024-03-04T09:30:00Z",
        "2024-03-04T10:30:00+01:00",
        "20240304T093000",
        "202403040930",
        "20240304093000",
        "20240304093000000",
    ],
)
def test_one_moment_in_every_form(text):
    assert read_time(text) == NANOSECONDS


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("45355.39583333", "a spreadsheet's serial day (2024-03-04)"),
        ("45355", "a spreadsheet's serial day (2024-03-04)"),
        ("28492410", "minutes since 1970 (2024-03-04)"),
        ("474873", "hours since 1970 (2024-03-04)"),
        ("19786.395833", "days since 1970 (2024-03-04)"),
        ("093000", "a time of day without its date"),
        ("93000", "a time of day without its date"),
        ("20241399", "minutes since 1970"),
        ("12", "none of s, ms, us and ns"),
        ("0", "none of s, ms, us and ns"),
        ("120000000000", "none of s, ms, us and ns"),
    ],
)
def test_a_number_that_is_no_epoch_is_refused_with_its_probable_cause(text, cause):
    with pytest.raises(UnreadableTimeError) as found:
        read_time(text)
    assert f"{text!r} is no epoch number" in str(found.value)
    assert cause in str(found.value)


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1e400", "2024-13-01", "03/04/2024", "99999999999999999999"])
def test_text_that_is_no_time_is_refused(text):
    with pytest.raises(UnreadableTimeError, match="neither an ISO 8601 time nor an epoch number"):
        read_time(text)


@pytest.mark.parametrize("text", ["1e9999999999999999999", "1e-9999999999999999999", "-1e99999999"])
def test_an_exponent_that_no_decimal_holds_is_no_time(text):
    with pytest.raises(UnreadableTimeError, match=f"{text}' is neither an ISO 8601 time nor an epoch number"):
        read_time(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("1D", "1d"), ("90min", "90m"), ("90s", "90s"), ("1500ms", "1500ms"), ("1.0000005s", "1000000500ns")],
)
def test_the_name_of_a_duration_is_exact(text, name):
    assert duration_name(parse_duration(text)) == name


def test_a_duration_below_a_second_has_a_name():
    assert [duration_name(length) for length in (250_000_000, 250_000, 250)] == ["250ms", "250us", "250ns"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("20min", "20min"), ("200min", "3h 20min"), ("60min", "1h"), ("36h", "1d 12h"), ("1500ms", "1s 500ms")],
)
def test_a_duration_is_said_as_people_say_it(text, said):
    assert duration_text(parse_duration(text)) == said


def test_a_number_is_told_from_text():
    assert all(map(is_number, ["1", "-1.5", "+.5", "1.", "1e9"]))
    assert not any(map(is_number, ["", ".", "nan", "inf", "1e", "1 2", "12:05", "1\n"]))


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "10000000000"])
def test_times_that_int64_nanoseconds_cannot_hold_are_refused(text):
    with pytest.raises(UnreadableTimeError, match="1678 to 2261"):
        read_time(text)


@pytest.mark.parametrize(
    "text", ["2024-03-04T09:30:00.123456789", "2024-03-04 09:30:00,123456789Z", "20240304T093000.123456789"]
)
def test_nine_digits_of_a_second_are_kept(text):
    assert read_time(text) == NANOSECONDS + 123_456_789


def test_old_times_are_read_from_text():
    assert read_time("1962-01-02") == int(pd.Timestamp("1962-01-02").value)


@given(st.datetimes(datetime(1980, 1, 1), datetime(2031, 12, 31)), st.integers(0, 999))
def test_every_form_of_a_time_gives_what_pandas_reads(moment, nanoseconds):
    expected = pd.Timestamp(moment).value + nanoseconds
    assert read_time(f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03}") == expected
    assert read_time(str(expected)) == expected
    whole = moment.replace(microsecond=0)
    seconds = (whole - datetime(1970, 1, 1)) // timedelta(seconds=1)
    assert EXCHANGE_ERA[0] <= read_time(str(seconds)) == seconds * SECOND < EXCHANGE_ERA[1]
    assert read_time(str(seconds * 1000)) == read_time(whole.strftime("%Y%m%d%H%M%S")) == seconds * SECOND


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-01-01", "period '2024-01-01' is not valid; give FROM/TO"),
        ("/", "period '/' is not valid"),
        ("2024-02-01/2024-01-01", "is not valid; give FROM/TO"),
        ("yesterday/", "period 'yesterday/' cannot be read: 'yesterday' is neither an ISO 8601 time"),
        ("2024-01-01/2024-03-01,2024-02-01/", "overlap at 2024-02-01T00:00:00Z"),
    ],
)
def test_a_period_that_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(SettingsError) as error:
        parse_periods(text)
    assert message in str(error.value)


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**61))
def test_a_period_is_read_back_to_the_nanosecond(begin, length):
    assert parse_periods(name_period((begin, begin + length))) == [(begin, begin + length)]


def test_periods_come_in_order_of_time_and_may_be_open():
    first, second = parse_periods("2024-03-01/, /2024-02-01")
    assert first == (-(2**63), read_time("2024-02-01"))
    assert second == (read_time("2024-03-01"), 2**63 - 1)
    assert name_period(second) == "2024-03-01T00:00:00Z/"
