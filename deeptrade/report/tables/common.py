"""What all tables share: how they look in a notebook, and how values are formatted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..findings.common import Json
from ..text import legible

_PATHS = {"csv", "out", "run", "store", "plan"}


def as_html(table: pd.DataFrame) -> Any:
    """Return a table as a notebook shows it: all rows, no index, text from data escaped."""
    from IPython.display import HTML

    shown = table.map(lambda cell: legible(cell) if isinstance(cell, str) else cell)
    html = shown.to_html(index=False, border=0, escape=True, justify="left")
    for tag in ("th", "td"):  # JupyterLab's own style sheet aligns text to the right
        html = html.replace(f"<{tag}>", f'<{tag} style="text-align: left">')
    return HTML(html)


def unbroken(text: str) -> str:
    """Return text that is never broken into two lines.

    >>> unbroken("3h 20min")
    '3h\xa020min'
    """
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def settings_table(settings: Json) -> pd.DataFrame:
    """Return settings as (setting, value): only the names of folders and files, without groups of settings."""
    shown = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    return pairs({key: _without_folder(value) if key in _PATHS else value for key, value in shown.items()}, "setting")


def versions_table(versions: Json) -> pd.DataFrame:
    """Return packages and their versions as (package, version)."""
    return pd.DataFrame(versions.items(), columns=["package", "version"])


def pairs(values: Json, name: str = "property") -> pd.DataFrame:
    """Return values by name as a table of two columns."""
    return pd.DataFrame([(key, str(value)) for key, value in values.items()], columns=[name, "value"])


def _without_folder(value: Any) -> Any:
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value


def percent(value: float | None) -> str:
    """Return a share in percent with four decimals; '-' where it is not known."""
    return "-" if value is None else f"{100 * value:.4f}"


def rounded(value: float, form: str) -> str:
    """Return a number in a format; a zero has no sign.

    >>> rounded(-0.00001, "+.2%"), rounded(0.012, "+.2%")
    ('0.00%', '+1.20%')
    """
    text = f"{value:{form}}"
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def span(low: float, high: float) -> str:
    """Return a range as text, one number where both ends are equal."""
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def number(value: float) -> str:
    """Return a number with four significant digits; a large one whole, with separators, not with an exponent."""
    value += 0.0  # no sign for zero
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
