"""Times and durations as text: ISO 8601 and epoch numbers to nanoseconds since 1970 UTC, and back."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from .errors import SettingsError

SECOND = 1_000_000_000
"""Nanoseconds in a second: times and durations are int64 nanoseconds throughout."""

_BASIC_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_UNITS = ((86_400 * SECOND, "d"), (3600 * SECOND, "h"), (60 * SECOND, "m"))


class UnreadableTimeError(ValueError):
    """Text that is not a time, or a time that int64 nanoseconds cannot hold; the message says which."""


def read_time(text: str) -> int:
    """Return nanoseconds since 1970 UTC from ISO 8601 text or an epoch number in s, ms, us or ns (by magnitude).

    ISO text without an offset is UTC; eight digits are a date (20230101). Raises UnreadableTimeError for any other
    text, and for times that int64 nanoseconds cannot hold (before 1678, after 2261).

    >>> read_time("2023-01-01T00:00:00Z") == read_time("1672531200") == read_time("1672531200000")
    True
    """
    nanoseconds = _read_time(text)
    if not -(2**63) < nanoseconds < 2**63:
        raise UnreadableTimeError(f"{text!r:.60} is outside the years 1678 to 2261")
    return nanoseconds


def _read_time(text: str) -> int:
    if not _BASIC_DATE.fullmatch(text):
        with suppress(ValueError, ArithmeticError):
            return _epoch_nanoseconds(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableTimeError(f"{text!r:.60} is neither an ISO 8601 time nor an epoch number") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _epoch_nanoseconds(text: str) -> int:
    """Return ns from an epoch number: seconds below 1e11 (year 5138), ms below 1e14, us below 1e17, else ns."""
    value = Decimal(text)
    for ceiling, factor in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3), (2**63, 1)):
        if abs(value) < ceiling:
            return int(value * factor)
    raise ValueError(text)


def iso_time(time: int) -> str:
    """Return nanoseconds since 1970 UTC as ISO 8601 text, in whole seconds.

    >>> iso_time(1_690_849_200 * SECOND)
    '2023-08-01T00:20:00+00:00'
    """
    return datetime.fromtimestamp(time // SECOND, UTC).isoformat()


def parse_duration(text: str) -> int:
    """Return the nanoseconds in '5min', '1h', '1D'; raises SettingsError for anything else."""
    import pandas as pd  # takes a third of a second; most commands never need it

    try:
        duration = pd.Timedelta(text).value if text[:1].isdigit() else 0
    except ValueError:
        duration = 0
    if duration < SECOND:
        raise SettingsError(f"duration {text!r} is not valid; use a form like 5min, 1h or 1D")
    return duration


def duration_name(duration: int) -> str:
    """Return a duration in ns as column names spell it: 5m, 1h, 1d.

    >>> duration_name(300 * SECOND), duration_name(14_400 * SECOND)
    ('5m', '4h')
    """
    for unit, letter in _UNITS:
        if duration % unit == 0:
            return f"{duration // unit}{letter}"
    return f"{duration // SECOND}s"
