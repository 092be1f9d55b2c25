"""Byte sizes and counts as people write and read them; inside the package they are plain integers."""

import re

from .errors import SettingsError

_FACTORS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _FACTORS[f"{_letter}b"] = 1000**_power
    _FACTORS[f"{_letter}ib"] = _FACTORS[_letter] = 1024**_power
LEAST_WITHOUT_UNIT = 1_000_000
"""A number below this without a unit is no count of bytes: whoever types --memory_limit 300 means something else."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_bytes(text: str | int) -> int:
    """Return the number of bytes that `text` stands for.

    Accepts `1500000`, `512MiB`, `1.5GB`; `K`, `M`, `G`, `T` alone are powers of 1024.

    Raises SettingsError for anything else, for sizes below one byte, and for text that is a small number alone.

    >>> parse_bytes("512MiB"), parse_bytes("1.5GB")
    (536870912, 1500000000)
    """
    match = _SIZE.fullmatch(str(text))
    if match and match[2].lower() in _FACTORS:
        size = int(float(match[1]) * _FACTORS[match[2].lower()])
        if isinstance(text, str) and not match[2] and 0 < size < LEAST_WITHOUT_UNIT:
            number = match[1]
            raise SettingsError(
                f"size {text!r} has no unit; use {number}MiB or {number}GiB, or {number}B if bytes are meant"
            )
        if size > 0:
            return size
    raise SettingsError(f"size {text!r} is not valid; use a form like 1500000, 512MiB or 1.5GB")


def as_bytes(size: str | int) -> int:
    """Return a size in bytes: a number, or a text that `parse_bytes` reads; 0 for ''."""
    return parse_bytes(size) if isinstance(size, str) and size else int(size or 0)


def format_bytes(size: float) -> str:
    """Return `size` in bytes as text in binary units with one decimal.

    >>> format_bytes(3_328_599_654), format_bytes(512)
    ('3.1 GiB', '512 B')
    """
    if abs(size) < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, plural unless the number is 1; `plural` is for nouns that do not just take an s.

    >>> count_of(1, "row"), count_of(20_000, "row"), count_of(2, "pass", "passes")
    ('1 row', '20,000 rows', '2 passes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_seconds(seconds: float) -> str:
    """Return a time as people say it.

    >>> format_seconds(21.4), format_seconds(150), format_seconds(7500), format_seconds(259_200)
    ('21 s', '2 min 30 s', '2 h 5 min', '3 d')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def format_estimate(seconds: float) -> str:
    """Return a time that is only expected, as exact as such an estimate is.

    >>> format_estimate(8.2), format_estimate(200), format_estimate(9000)
    ('8 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
