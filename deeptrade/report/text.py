"""Text that comes from the data, such as names of features and runs, made fit to be shown."""

from __future__ import annotations

import re
from functools import cache

_LONG_WORD = re.compile(r"\S{65,}")
_WORD_ENDS = 28
_MOST_LETTERS = 300
_TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Letters without a shape that turn the direction of those after them (Unicode Standard Annex 9)."""


def shorten(text: str, most: int) -> str:
    """Return the text, its end left out where it has over `most` letters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def legible(text: str) -> str:
    """Return the text with the middle of very long words left out, and what turns its direction spelled out.

    The whole name is in the files: a page only has to tell it from others.

    >>> legible("arr_" + "x" * 9_996)
    'arr_xxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'
    """
    text = _TURNING.sub(_spell, text)
    return shorten(
        _LONG_WORD.sub(lambda word: f"{word[0][:_WORD_ENDS]}...{word[0][-_WORD_ENDS:]}", text), _MOST_LETTERS
    )


def drawable(text: str) -> str:
    """Return the text as matplotlib draws it letter by letter: no formula, and no letter its font has no shape for."""
    known = _letters()
    return "".join(letter if ord(letter) in known else _spell(letter) for letter in text).replace("$", r"\$")


def _spell(letter: str | re.Match[str]) -> str:
    return letter[0].encode("ascii", "backslashreplace").decode()


@cache
def _letters() -> frozenset[int]:
    """The letters that matplotlib's font has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())
