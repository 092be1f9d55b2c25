"""Open times as every origin writes them, a whole column at once, to nanoseconds since 1970 UTC or a reason why not."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import DataError
from ..times import EXCHANGE_ERA, SECOND, is_number, iso_time

_DAY = 86_400 * SECOND
_SLICE_ROWS = 50_000
_LAST_TIME = int(np.datetime64("2100", "ns").astype(np.int64))
_WRONG_UNIT = 31 * _DAY
_CEILINGS = np.array([1e11, 1e14, 1e17])
_FACTORS = np.array([SECOND, 1_000_000, 1_000, 1])
"""Below each ceiling an epoch number is in seconds, ms, us, else ns: as `times.read_time` takes them."""

_CLOCK = (
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<half>[AaPp][Mm])?|(?P<hour2>\d{2})(?P<minute2>\d{2})(?P<second2>\d{2})?|"
    r"(?P<hour3>\d{1,2})-(?P<half3>[AaPp][Mm]))"
)
_ZONE = r" ?(?P<zone>Z|(?:UTC|GMT)?[+-]\d{2}:?\d{2}|UTC|GMT)?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATES = (
    r"(?P<year>\d{4})[-./](?P<month>\d{1,2})[-./](?P<day>\d{1,2})",
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
    r"(?P<one>\d{1,2})[/-](?P<two>\d{1,2})[/-](?P<year>\d{4}|\d{2})",
    r"(?P<name>[A-Za-z]{3,9})\.? (?P<day>\d{1,2}),? (?P<year>\d{4})",
    r"(?P<day>\d{1,2})[- ](?P<name>[A-Za-z]{3,9})[- ](?P<year>\d{4})",
)
_FORMS = tuple(f"^{date}(?:[T ,;]+{_CLOCK})?{_ZONE}$" for date in _DATES)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}:?\d{2})?")
_POINT_ZERO = r"\.0$"
_MIDNIGHT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]00:00(:00(\.0{1,9})?)?[+-]\d{2}:?\d{2}")
_STAMPS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S"}
"""How numbers of so many digits spell dates; the last three of 17 are milliseconds."""
_STAMP_FORMS = {8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS", 17: "YYYYMMDDHHMMSSmmm"}


class UnreadableColumnError(ValueError):
    """A column that holds no times: `row` is the first cell that is none (-1: the column as a whole)."""

    def __init__(self, message: str, row: int = -1):
        super().__init__(message)
        self.row = row


def read_times(column: pd.Series) -> np.ndarray:
    """Return int64 ns since 1970 UTC from a column of times, numbers or text; times without an offset are UTC.

    Epoch numbers are in s, ms, us or ns by magnitude and lie in EXCHANGE_ERA; YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM,
    YYYYMMDDHHMMSS and YYYYMMDDHHMMSSmmm are dates. Text is ISO 8601 or another form of a date, one for the whole
    column, with a clock or without. Where all are midnights of a place with an offset, as daily bars have them, they
    are the dates themselves.

    Raises UnreadableColumnError for other text, for numbers that are no epoch, for floats of less than 64 bits, and for
    dates like 04/03/2024 where no day above 12 says which part is the day.
    """
    if not len(column):
        return np.empty(0, np.int64)
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        times = _of_timestamps(column)
    elif column.dtype.kind in "iuf":
        if str(column.dtype) in ("float16", "float32"):
            raise UnreadableColumnError(
                f"{column.dtype} rounds times by up to a minute or more; write the times from their origin as int64 or "
                f"float64, for these are rounded already"
            )
        _all_there(column)
        times = _of_numbers(column.to_numpy())
    else:
        times = _of_text(column.astype("str"))
    if len(times) and times.min() >= 0 and times.max() < _WRONG_UNIT:
        raise UnreadableColumnError(
            f"{iso_time(int(times[0]))} and all others lie in January 1970, probably epoch numbers that were read in "
            f"the wrong unit; write the numbers themselves"
        )
    late = np.flatnonzero(times >= _LAST_TIME)
    if len(late):
        raise UnreadableColumnError(f"{iso_time(int(times[late[0]]))} is no time of a market", int(late[0]))
    return times


def read_clock(column: pd.Series) -> np.ndarray:
    """Return int64 ns since midnight from a column of clock times: 12:05, 12:05:30, 1205, 120530 or such numbers.

    Numbers lose their leading zeros: they are HHMM where none of the column has more than four digits, else HHMMSS.

    Raises UnreadableColumnError for anything else, and for a column of 1 to 23, which may be hours or minutes.
    """
    text = column.astype("str")
    if not len(text):
        return np.empty(0, np.int64)
    longest, largest = _in_slices(text, _clock_digits).reshape(-1, 2).max(axis=0).tolist()
    if longest <= 2 and 0 < largest < 24:
        raise UnreadableColumnError(f"{largest} may be an hour or a minute; write times of day as 12:05")

    def read(part: pd.Series) -> np.ndarray:
        part = part.str.replace(_POINT_ZERO, "", regex=True)
        digits = part.str.fullmatch(r"\d{1,6}")
        part = part.where(~digits, part.str.zfill(4 if longest <= 4 else 6))
        return _clock(_extract(part, f"^{_CLOCK}$", "a time of day such as 12:05 or 120500"))

    return _in_slices(text, read)


def _clock_digits(part: pd.Series) -> np.ndarray:
    """The most digits of a clock time that is a number, and the largest such number: int64 (2,); 0 where none is."""
    part = part.str.replace(_POINT_ZERO, "", regex=True)
    numbers = part[part.str.fullmatch(r"\d{1,6}")]
    if numbers.empty:
        return np.zeros(2, np.int64)
    return np.array([numbers.str.len().max(), pd.to_numeric(numbers).max()], np.int64)


def is_clock(text: str) -> bool:
    """Whether a cell is a time of day alone."""
    return re.fullmatch(_CLOCK + r"|\d{1,6}(\.0)?", text.strip()) is not None


def is_time(text: str) -> bool:
    """Whether a cell looks like a time with its date, in any of the forms of text."""
    return any(re.fullmatch(form, text.strip()) for form in _FORMS)


def _all_there(column: pd.Series) -> None:
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise UnreadableColumnError("the time is missing", int(missing[0]))


def _of_timestamps(column: pd.Series) -> np.ndarray:
    _all_there(column)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        local = column.dt.tz_localize(None)
        column = local if (local == local.dt.normalize()).all() else column
    utc = pd.to_datetime(column, utc=True)
    return np.array(utc.dt.tz_localize(None).astype("datetime64[ns]").to_numpy().view(np.int64))


def _of_text(text: pd.Series) -> np.ndarray:
    """Times of a column of text, read in slices: Python's own text takes ten times the room of the column."""
    try:
        return _of_numbers(pa.array(text).cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid:
        pass  # not all are whole numbers
    first = str(text.iloc[0]).strip() if len(text) and pd.notna(text.iloc[0]) else ""
    if is_number(first):
        return _of_numbers(_in_slices(text, _numbers))
    if _MIDNIGHT.fullmatch(first) and text.str.strip().str.fullmatch(_MIDNIGHT.pattern).all():
        text, first = text.str.strip().str.slice(0, 10), first[:10]
    if _ISO.fullmatch(first):
        try:
            return _in_slices(text, lambda part: _of_timestamps(pd.to_datetime(part, format="ISO8601", utc=True)))
        except (ValueError, TypeError):
            pass  # another form below, or the cell that is wrong
    form = next((form for form in _FORMS if re.match(form, first)), None)
    if form is None:
        raise UnreadableColumnError(_neither(first) if first else "the time is missing", 0)
    parts = _in_slices(text, lambda part: _parts(_extract(part, form, "a time in the form of the first row")))
    return _dates(parts, text) + parts[:, _CLOCK_PART]


def _in_slices(text: pd.Series, read: Callable[[pd.Series], np.ndarray]) -> np.ndarray:
    """What `read` gives for slices of the column, as one array; errors count rows from the column's start."""
    found = []
    for start in range(0, len(text), _SLICE_ROWS):
        part = text.iloc[start : start + _SLICE_ROWS].str.strip()
        try:
            empty = np.flatnonzero(part.isna() | (part == ""))
            if len(empty):
                raise UnreadableColumnError("the time is missing", int(empty[0]))
            found.append(read(part))
        except UnreadableColumnError as error:
            raise UnreadableColumnError(str(error), error.row + start) from None
    return np.concatenate(found)


def _numbers(text: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.isna().any():
        row = int(np.flatnonzero(numbers.isna())[0])
        raise UnreadableColumnError(_neither(text.iloc[row]), row)
    return numbers.to_numpy(np.float64)


def _neither(cell: str) -> str:
    return f"{cell!r:.60} is neither an ISO 8601 time nor an epoch number"


def _of_numbers(values: np.ndarray) -> np.ndarray:
    """Epoch numbers or digits of a date (int64 or float64) as int64 ns."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UnreadableColumnError("the time is missing", int(np.flatnonzero(~np.isfinite(values))[0]))
        if (values == np.round(values)).all() and np.abs(values).max() < 2**53:
            values = values.astype(np.int64)
    if values.dtype.kind in "iu" and (stamps := _of_stamps(values)) is not None:
        return stamps
    large = np.flatnonzero(np.abs(values.astype(np.float64)) >= 2**63)
    if len(large):
        raise UnreadableColumnError(f"{values[large[0]]} is no epoch number", int(large[0]))
    times = np.empty(len(values), np.int64)
    for start in range(0, len(values), _SLICE_ROWS):
        part = values[start : start + _SLICE_ROWS]
        factors = _FACTORS[np.searchsorted(_CEILINGS, np.abs(part.astype(np.float64)), side="right")]
        late = part >= EXCHANGE_ERA[1] / factors
        outside = np.flatnonzero(late | (part < EXCHANGE_ERA[0] / factors))
        if len(outside):  # told before the product, which int64 may not hold
            place = int(outside[0])
            row = start + place
            why = _why_too_late(values[row], int(factors[place])) if late[place] else _why_no_epoch(values, row)
            raise UnreadableColumnError(why, row)
        times[start : start + len(part)] = _scaled(part, factors)
    return times


def _scaled(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * factors
    whole = np.floor(values)  # a product of floats would lose nanoseconds
    rest = (values - whole) * factors
    rest = np.where(factors == SECOND, np.round(rest, -3), np.round(rest))
    return whole.astype(np.int64) * factors + rest.astype(np.int64)


def _of_stamps(values: np.ndarray) -> np.ndarray | None:
    """Numbers like 20240304, 202403040005 or 20240304000500 as int64 ns; None where they are none.

    Those of ten digits, which could be epochs, are stamps only where all are times of EXCHANGE_ERA: no number is both.
    """
    digits = len(str(values[0]))
    if not _stamp_form(values[0]):
        return None
    found = []
    for start in range(0, len(values), _SLICE_ROWS):
        column = pd.Series(values[start : start + _SLICE_ROWS]).astype("str")
        if not (column.str.len() == digits).all():
            return None
        parsed = pd.to_datetime(column.str.slice(0, 14), format=_STAMPS[digits], errors="coerce")
        if parsed.isna().any():
            return None
        milliseconds = pd.to_numeric(column.str.slice(14)).to_numpy(np.int64) if digits > 14 else 0
        found.append(_of_timestamps(parsed) + milliseconds * 1_000_000)
    times = np.concatenate(found)
    if digits == 10 and (times.min() < EXCHANGE_ERA[0] or times.max() >= EXCHANGE_ERA[1]):
        return None
    return times


def _stamp_form(value: np.generic) -> str:
    """The form of a date that a number of so many digits may be, such as YYYYMMDD; '' where there is none."""
    text = str(value)
    return _STAMP_FORMS.get(len(text), "") if text[:2] in ("19", "20") else ""


_PROBABLE = (
    (14_610, 25_568, "days since 1970"),
    (25_569, 80_000, "a spreadsheet's day numbers"),
    (350_000, 720_000, "hours since 1970"),
    (21_000_000, 43_000_000, "minutes since 1970"),
)


def _why_no_epoch(values: np.ndarray, row: int) -> str:
    value = float(values[row])
    cause = next((name for low, high, name in _PROBABLE if low <= value <= high), "")
    if values.min() >= 0 and values.max() < 240_000 and ((values % 100 < 60) & (values // 100 % 100 < 60)).all():
        repeated = len(values) > 1 and (values.min() < 14_610 or (np.diff(values) < 0).any())
        cause = "clock times without a date" if repeated else cause
    cause = cause or _probable_date(values[row])
    probably = f", probably {cause}" if cause else ""
    return f"{values[row]} is no epoch in s, ms, us or ns{probably}; write times as ISO 8601, such as 2024-03-04 12:05"


def _why_too_late(value: np.generic, factor: int) -> str:
    year = np.datetime64(int(value) * factor // SECOND, "s").astype("datetime64[Y]")
    cause = _probable_date(value)
    probably = f"probably {cause}" if cause else "its unit is none of s, ms, us and ns"
    return (
        f"{value} as an epoch number is a time in {year}, too late for a market; {probably}; write times as ISO 8601, "
        f"such as 2024-03-04 12:05"
    )


def _probable_date(value: np.generic) -> str:
    form = _stamp_form(value)
    return f"a date as {form}, which not all of the column are" if form else ""


def _extract(text: pd.Series, form: str, expected: str) -> pd.DataFrame:
    parts = text.str.extract(form)
    missed = np.flatnonzero(~text.str.match(form))
    if len(missed):
        raise UnreadableColumnError(f"{text.iloc[missed[0]]!r:.60} is not {expected}", int(missed[0]))
    return parts


def _number(parts: pd.DataFrame, *names: str) -> np.ndarray:
    """The first of the named groups that is there, as int64; 0 where none is."""
    found = pd.Series(np.nan, index=parts.index)
    for name in names:
        if name in parts:
            found = found.fillna(pd.to_numeric(parts[name]))
    return found.fillna(0).to_numpy(np.int64)


_YEAR, _MONTH, _DAY_PART, _IS_OPEN, _CLOCK_PART = range(5)


def _parts(cells: pd.DataFrame) -> np.ndarray:
    """Year, month, day, 1 where day and month may be swapped, and ns since midnight UTC: int64 (rows, 5)."""
    year = _number(cells, "year")
    year = np.where(year < 70, year + 2000, np.where(year < 100, year + 1900, year))
    month, day = _number(cells, "month", "two"), _number(cells, "day", "one")
    if "name" in cells:
        numbers = {name: number + 1 for number, name in enumerate(_MONTHS)}
        month = cells["name"].str[:3].str.lower().map(numbers).fillna(0).to_numpy(np.int64)
    is_open = np.full(len(cells), "one" in cells, np.int64)
    return np.column_stack([year, month, day, is_open, _clock(cells) - _offsets(cells)])


def _dates(parts: np.ndarray, text: pd.Series) -> np.ndarray:
    year, month, day = parts[:, _YEAR], parts[:, _MONTH], parts[:, _DAY_PART]
    if parts[0, _IS_OPEN]:
        month, day = _settled(day, month, text)
    months = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (np.clip(day, 1, 31) - 1)
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > 31) | (days.astype("datetime64[M]") != months)
    wrong |= (year <= 1700) | (year >= 2200)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UnreadableColumnError(f"{text.iloc[row]!r:.60} is no date of a market", row)
    return days.astype("datetime64[ns]").view(np.int64)


def _settled(one: np.ndarray, two: np.ndarray, text: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Month and day of dates like 04/03/2024, by a number above 12 anywhere in the column."""
    day_first, month_first = bool((one > 12).any()), bool((two > 12).any())
    if day_first == month_first:
        cause = "some have the day first, some the month" if day_first else "day or month may come first"
        raise UnreadableColumnError(
            f"{text.iloc[0]!r:.60} is ambiguous: {cause}; write times as ISO 8601, such as 2024-03-04 12:05"
        )
    return (two, one) if day_first else (one, two)


def _clock(parts: pd.DataFrame) -> np.ndarray:
    hour, minute = _number(parts, "hour", "hour2", "hour3"), _number(parts, "minute", "minute2")
    second = _number(parts, "second", "second2")
    half = parts["half"].fillna(parts["half3"]).str.lower()
    twelve = half.notna().to_numpy()
    wrong = (hour > np.where(twelve, 12, 23)) | (twelve & (hour < 1)) | (minute > 59) | (second > 59)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UnreadableColumnError(f"{hour[row]:02d}:{minute[row]:02d}:{second[row]:02d} is no time of day", row)
    hour = np.where(twelve, hour % 12 + 12 * (half == "pm").to_numpy(), hour)
    fraction = pd.to_numeric(parts["fraction"].str.ljust(9, "0")).fillna(0).to_numpy(np.int64)
    return ((hour * 60 + minute) * 60 + second) * SECOND + fraction


def _offsets(parts: pd.DataFrame) -> np.ndarray:
    offset = parts["zone"].str.extract(r"(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})")
    size = (_number(offset, "hours") * 60 + _number(offset, "minutes")) * 60 * SECOND
    return np.where((offset["sign"] == "-").to_numpy(), -size, size)


def times_of_table(column: pd.Series, *, clock: pd.Series | None, file: str, name: str, rows: np.ndarray) -> np.ndarray:
    """Return int64 ns of a column of times, or of a column of dates and one of clock times; `rows` number its cells.

    Raises DataError with file, row and column.
    """
    try:
        times = read_times(column)
        if clock is None:
            return times
        if (times % _DAY).any():
            raise UnreadableColumnError(
                f"{column.iloc[0]!r:.60} has a time of day, and a column of times stands beside"
            )
        return times + read_clock(clock)
    except UnreadableColumnError as error:
        where = f"{file} row {rows[error.row]}" if error.row >= 0 else file
        raise DataError(f"{where}: {name}: {error}") from None
