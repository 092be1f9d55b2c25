"""Make text that comes from data, such as names of features and runs, fit for display."""

from __future__ import annotations

import re
from functools import cache

_LONG_WORD = re.compile(r"\S{65,}")
_WORD_ENDS = 28
_MOST_CHARACTERS = 300
_TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Invisible characters that change the direction of those after them (Unicode Standard Annex 9)."""


def shorten(text: str, most: int) -> str:
    """Return the text, cut at the end where it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def legible(text: str) -> str:
    """Return the text with very long words shortened in the middle, and direction-changing characters spelled out.

    The full name is in the files: a page only has to tell it from others.

    >>> legible("arr_" + "x" * 9_996)
    'arr_xxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'
    """
    text = _TURNING.sub(_spell, text)
    return shorten(
        _LONG_WORD.sub(lambda word: f"{word[0][:_WORD_ENDS]}...{word[0][-_WORD_ENDS:]}", text), _MOST_CHARACTERS
    )


def drawable(text: str) -> str:
    """Return the text so that matplotlib draws it literally: no formulas, no characters missing from its font."""
    known = _characters()
    return "".join(letter if ord(letter) in known else _spell(letter) for letter in text).replace("$", r"\$")


def _spell(letter: str | re.Match[str]) -> str:
    return letter[0].encode("ascii", "backslashreplace").decode()


@cache
def _characters() -> frozenset[int]:
    """Return the characters in matplotlib's default font."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())
