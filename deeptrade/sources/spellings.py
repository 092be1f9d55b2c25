"""What a cell that cannot be read looks like: how other programs write arrays and times, and how to write these."""

from __future__ import annotations

import re

HOW_TO_WRITE = "write cells with json.dumps(array.tolist())"

_SPELLINGS = (
    (r"\.\.\.|…", "numbers were left out where it says '...'"),
    (r"\bnp\.\w+\(", "this is Python's str() of a list of numpy numbers"),
    (r"^b['\"]", "this is Python's str() of bytes, which have to be decoded first"),
    (r"[A-Za-z_][\w.]*\(", "this is how Python prints an object, {found}...)"),
    (r"^<", "this is how Python prints an object"),
    (r"\(", "this is Python's str() of a tuple"),
    (r"\d\.?\s+[-+]?[.\da-z]|\]\s*\[", "numbers are separated by blanks, not commas, as numpy's str() does"),
    (r"(?<!\w)[-+]?(np\.|math\.)?nan(?!\w)", "{found!r} is no JSON (NaN is)"),
    (r"(?<!\w)[-+]?(np\.|math\.)?inf(inity)?(?!\w)", "{found!r} is no JSON (Infinity is)"),
    (r"(?<!\w)(None|NaT|NA)(?!\w)", "{found!r} is no JSON (null is)"),
    (r";", "rows are separated by semicolons"),
    (r"^\{[-+.\d{\s]", "braces stand where JSON has square brackets"),
    (r"'", "the numbers stand in single quotes"),
    (r"^[^\[]*\d[^\[]*,", "the array has no square brackets"),
    (r"\d\.(?!\d)|(?<!\d)\.\d|\+\d", "numbers are written as 1. or .5 or +1, which is no JSON"),
)
"""Patterns of spellings and what to say of them, the most telling first."""


HOW_TO_WRITE_TIMES = "write ISO 8601 times, such as 2024-03-04T21:30:00Z, or epoch numbers"

_TIMES = (
    (r"\d *[ap]\.?m\.?$", "it is a time of 12 hours, with {found}"),
    (r"(?<!\d)\d{1,2}/\d{1,2}/\d{2,4}", "its date is written with slashes, day or month first"),
    (r"(?<!\d)\d{1,2}\.\d{1,2}\.\d{2,4}", "its date is written with dots, day first"),
    (r"^\d{1,2}-\d{1,2}-\d{2,4}", "its date begins with the day or the month"),
    (r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b", "its month is a word, {found!r}"),
    (r"^\d{4}[/.]\d{1,2}[/.]\d{1,2}", "its date is written with slashes or dots"),
    (r"\d *(utc|gmt|[a-z]{3,4})\b", "its time zone is a word, not an offset such as +00:00"),
    (r"\[\w+(/\w+)?\]$", "its time zone is a name, {found}, not an offset alone"),
    (r"^\d+([,_' ]\d+)+$", "its digits are separated"),
)
"""Patterns of times that are neither ISO 8601 nor epoch numbers, and what to say of them, the most telling first."""


def is_shortened(text: str) -> bool:
    """Return whether a program left out numbers of an array when it printed it."""
    return "..." in text or "…" in text


def explain_spelling(text: str) -> str:
    """Return why text that is no JSON is none, and how to write it; empty if its spelling is none that we know.

    >>> explain_spelling("(1.0, 2.0)")
    "this is Python's str() of a tuple; write cells with json.dumps(array.tolist())"
    >>> explain_spelling("[1.0, nan]")
    "'nan' is no JSON (NaN is); write cells with json.dumps(array.tolist())"
    """
    for pattern, cause in _SPELLINGS:
        found = re.search(pattern, text.replace("NaN", "null").replace("Infinity", "null"), re.IGNORECASE)
        if found:
            return f"{cause.format(found=found[0])}; {HOW_TO_WRITE}"
    return ""


def explain_time(text: str) -> str:
    """Return in which form a time is that cannot be read, and how to write it; empty for none that we know.

    >>> explain_time("03/04/2024 09:30 PM")
    'it is a time of 12 hours, with PM; write ISO 8601 times, such as 2024-03-04T21:30:00Z, or epoch numbers'
    """
    for pattern, form in _TIMES:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return f"{form.format(found=found[0].lstrip('0123456789 '))}; {HOW_TO_WRITE_TIMES}"
    return ""
