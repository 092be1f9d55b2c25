"""Times and durations as text: ISO 8601 and epoch numbers to nanoseconds since 1970 UTC, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from itertools import pairwise

from .errors import SettingsError

SECOND = 1_000_000_000
"""Nanoseconds in a second: times and durations are int64 nanoseconds throughout."""

EXCHANGE_ERA = (
    int(datetime(1980, 1, 1, tzinfo=UTC).timestamp()) * SECOND,
    int(datetime(2032, 1, 1, tzinfo=UTC).timestamp()) * SECOND,
)
"""Times of market data, in ns: a number before it is no epoch number but something else, such as minutes since 1970;
a time outside of it is named in a warning: ten digits such as 2024030409 are an epoch number of 2034."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPACT = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(?:(\d\d)(\d{3})?)?)?")
"""20240304, 202403040930, 20240304093000 and 20240304093000250."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3])[0-5]\d[0-5]\d")
_FRACTION = re.compile(r"(.*\d\d:?\d\d:?\d\d)[.,](\d{1,9})(?!\d)(.*)")
_UNITS = (
    (86_400 * SECOND, "d"),
    (3600 * SECOND, "h"),
    (60 * SECOND, "m"),
    (SECOND, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
)
_SERIAL_EPOCH_DAYS = 25_569
"""Days from 1899-12-30, from which spreadsheets count, to 1970-01-01."""


class UnreadableTimeError(ValueError):
    """Text that is not a time, or a time that int64 nanoseconds cannot hold; the message says which."""


def is_number(text: str) -> bool:
    """Return whether text spells a finite number.

    >>> is_number("-1.5e3"), is_number("nan")
    (True, False)
    """
    return _NUMBER.fullmatch(text) is not None


def read_time(text: str) -> int:
    """Return nanoseconds since 1970 UTC from ISO 8601 text, compact digits, or an epoch number in s, ms, us or ns.

    ISO text without an offset is UTC, and keeps nine digits of a second. Digits that spell a date and time of the years
    1900 to 2099 are one: 20240304, 202403040930, 20240304093000. Other numbers are epochs, their unit told by their
    magnitude; they must lie in 1980 or later, or be negative: smaller ones are minutes, days, serials of a spreadsheet
    or times of day.

    Raises UnreadableTimeError for any other text, and for times that int64 nanoseconds cannot hold (before 1678, after
    2261).

    >>> read_time("2023-01-01T00:00:00Z") == read_time("1672531200") == read_time("1672531200000")
    True
    >>> read_time("202301010000") == read_time("20230101")
    True
    """
    nanoseconds = _read_time(text)
    if not -(2**63) < nanoseconds < 2**63:
        raise UnreadableTimeError(f"{text!r:.60} is outside the years 1678 to 2261")
    return nanoseconds


def _read_time(text: str) -> int:
    if is_number(text):
        compact = _compact_nanoseconds(text)
        return _epoch_nanoseconds(text) if compact is None else compact
    whole, nanoseconds = text, 0
    if fraction := _FRACTION.fullmatch(text):
        whole, nanoseconds = fraction[1] + fraction[3], int(fraction[2].ljust(9, "0"))
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        raise UnreadableTimeError(_neither(text)) from None
    return _since_epoch(moment) + nanoseconds


def _since_epoch(moment: datetime) -> int:
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _compact_nanoseconds(text: str) -> int | None:
    """Return ns from digits that spell a date and time; None if they do not."""
    match = _COMPACT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, millisecond = (int(part or 0) for part in match.groups())
    try:
        return _since_epoch(datetime(year, month, day, hour, minute, second, millisecond * 1000))
    except ValueError:
        return None


def _epoch_nanoseconds(text: str) -> int:
    """Return ns from an epoch number: seconds below 1e11 (year 5138), ms below 1e14, us below 1e17, else ns."""
    try:
        value = Decimal(text)
        size = abs(value)
    except DecimalException:  # an exponent that Decimal cannot hold
        raise UnreadableTimeError(_neither(text)) from None
    for ceiling, factor in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (2**63, 1)):
        if size < ceiling:
            nanoseconds = int(value * factor)
            if 0 <= nanoseconds < EXCHANGE_ERA[0]:
                raise UnreadableTimeError(_no_epoch(text, value, nanoseconds))
            return nanoseconds
    raise UnreadableTimeError(_neither(text))


def _neither(text: str) -> str:
    return f"{text!r:.60} is neither an ISO 8601 time nor an epoch number"


def _no_epoch(text: str, value: Decimal, nanoseconds: int) -> str:
    """Return why a number is no epoch number, with what it probably is."""
    serial = (value - _SERIAL_EPOCH_DAYS) * 86_400
    meanings = [
        ("a spreadsheet's serial day", serial),
        ("minutes since 1970", value * 60),
        ("hours since 1970", value * 3600),
        ("days since 1970", value * 86_400),
    ]
    probable = [f"{name} ({_day(seconds)})" for name, seconds in meanings if _is_plausible(seconds)]
    if _TIME_OF_DAY.fullmatch(text):
        probable.insert(0, "a time of day without its date")
    probably = f"it is probably {' or '.join(probable)}" if probable else "its unit is none of s, ms, us and ns"
    year = _day(Decimal(nanoseconds) / SECOND)[:4]
    return f"{text!r:.60} is no epoch number, it would be a time in {year}; {probably}; write ISO 8601 times"


def _is_plausible(seconds: Decimal) -> bool:
    return EXCHANGE_ERA[0] <= seconds * SECOND < EXCHANGE_ERA[1]


def _day(seconds: Decimal) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()


def iso_time(time: int) -> str:
    """Return nanoseconds since 1970 UTC as ISO 8601 text, in whole seconds (rounded down).

    >>> iso_time(1_690_849_200 * SECOND)
    '2023-08-01T00:20:00+00:00'
    """
    return datetime.fromtimestamp(time // SECOND, UTC).isoformat()


def exact_time(time: int) -> str:
    """Return nanoseconds since 1970 UTC as ISO 8601 text that `read_time` reads back to the same number.

    >>> exact_time(1_690_849_200 * SECOND), exact_time(1_690_849_200 * SECOND + 5)
    ('2023-08-01T00:20:00Z', '2023-08-01T00:20:00.000000005Z')
    """
    seconds, rest = divmod(time, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
    return f"{text}.{rest:09}Z" if rest else f"{text}Z"


FIRST_TIME, LAST_TIME = -(2**63), 2**63 - 1
"""What int64 nanoseconds can hold: the bounds of a period that has none."""

Period = tuple[int, int]
"""From a time on, and before another: ns since 1970 UTC."""


def parse_periods(text: str) -> list[Period]:
    """Return the periods in 'FROM/TO,FROM/TO', in order of time; FROM belongs to one, TO does not.

    A side that is left empty has no bound. Raises SettingsError for other text, and for periods that overlap.

    >>> parse_periods("2023-08-01/")[0][0] == read_time("2023-08-01")
    True
    """
    periods = sorted(_parse_period(part.strip()) for part in text.split(","))
    for (_, end), (begin, _) in pairwise(periods):
        if begin < end:
            raise SettingsError(f"periods {text!r} overlap at {exact_time(begin)}; give periods that do not")
    return periods


def _parse_period(text: str) -> Period:
    begin, slash, end = (part.strip() for part in text.partition("/"))
    try:
        period = read_time(begin) if begin else FIRST_TIME, read_time(end) if end else LAST_TIME
    except UnreadableTimeError as error:
        raise SettingsError(f"period {text!r} cannot be read: {error}") from None
    if not slash or not (begin or end) or period[0] >= period[1]:
        raise SettingsError(f"period {text!r} is not valid; give FROM/TO, such as 2024-01-01/2024-03-01")
    return period


def name_period(period: Period) -> str:
    """Return a period as `parse_periods` reads it."""
    begin, end = period
    return f"{exact_time(begin) if begin > FIRST_TIME else ''}/{exact_time(end) if end < LAST_TIME else ''}"


def parse_duration(text: str) -> int:
    """Return the nanoseconds in '5min', '1h', '1D'; raises SettingsError for anything else."""
    import pandas as pd  # takes a third of a second; most commands never need it

    try:
        duration = pd.Timedelta(text).value if text[:1].isdigit() else 0
    except ValueError:
        duration = 0
    if duration <= 0:
        raise SettingsError(f"duration {text!r} is not valid; use a form like 5min, 1h or 1D")
    return duration


def duration_name(duration: int) -> str:
    """Return a duration in ns as column names spell it, exactly: 5m, 1h, 1d, 1500ms.

    >>> duration_name(300 * SECOND), duration_name(14_400 * SECOND), duration_name(1_500_000_000)
    ('5m', '4h', '1500ms')
    """
    unit, letter = next((unit, letter) for unit, letter in _UNITS if duration % unit == 0)
    return f"{duration // unit}{letter}"


def duration_text(duration: int) -> str:
    """Return a duration in ns as people read it, exactly: 20min, 1h, 3h 20min, 1d 12h.

    >>> duration_text(1_200 * SECOND), duration_text(12_000 * SECOND), duration_text(3_600 * SECOND)
    ('20min', '3h 20min', '1h')
    """
    parts = []
    for unit, letter in _UNITS:
        count, duration = divmod(duration, unit)
        if count:
            parts.append(f"{count}{'min' if letter == 'm' else letter}")
    return " ".join(parts)


def era_warnings(first: int, last: int, *, what: str) -> Iterator[str]:
    """Yield a line for the first and the last of the times (ns) of `what` that lie far outside the exchange era."""
    for time, verb in ((first, "begin"), (last, "end")):
        if not EXCHANGE_ERA[0] <= time < EXCHANGE_ERA[1]:
            yield (
                f"the {what} {verb} in {iso_time(time)[:4]}: are the timestamps ISO 8601, or epoch numbers in s, ms, "
                f"us or ns? (Ten digits such as 2024030409 are an epoch number of 2034)"
            )
