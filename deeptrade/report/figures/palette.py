"""What every colour of a figure means, the same on all pages; figures are drawn in the light ones.

A page turns each into a CSS variable, so one figure serves light, dark and paper. Hues after Okabe and Ito (2008),
made dark enough on white, and light enough on black, to stand out by a contrast of 3; text reaches 4.5.
"""

from __future__ import annotations

INK, SOFT, LINE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"
"""Text and outlines, quieter text, lines that help the eye, the ground."""

MODEL, MODEL_LATER, MODEL_LAST = "#0072b2", "#3d8fc6", "#56a0b5"
"""The forecaster, and the same at later horizons."""

ZERO, MEAN, RIDGE, TREES = "#777777", "#80801a", "#8b5e34", "#b0528a"
"""Forecasts to compare with: always zero, the training mean, a linear regression, boosted trees."""

AGENT, SHORT = "#6a4fb0", "#b06000"
"""The second stage, and where it is short; long it has its own colour."""

BETTER, WORSE, LIMIT = "#008a64", "#d55e00", "#b3261e"
"""An interval on the good side of zero, one on the bad side, and what must not be passed."""

QUIET, QUIETER = "#777777", "#b4bcc6"
"""Context: what is there, but is not the finding."""

MEMORY, PREDICTED = "#3f5f8f", "#a3b3cc"
"""Bytes that were measured, and those that were predicted."""

PRICE = "#444c56"
"""What the market did: prices, returns, values of a feature."""

SERIES = ("#0072b2", "#b0528a", "#008a64", "#8b5e34", "#6a4fb0", "#80801a", "#777777")
"""Runs side by side, which have no meaning but their names."""

MARKETS = (PRICE, "#b0528a", "#8b5e34", "#6a4fb0", "#80801a", "#777777")
"""Markets side by side, none in a colour of the split below them."""

_DARK = {
    INK: "#e6edf3", SOFT: "#9da7b1", LINE: "#3a424c", PAPER: "#121417",
    MODEL: "#6cb6ff", MODEL_LATER: "#4f93d6", MODEL_LAST: "#6ea9b8",
    ZERO: "#9aa4ae", MEAN: "#c6c65a", RIDGE: "#d3a071", TREES: "#e58fc0", AGENT: "#b39ddb", SHORT: "#e8b45c",
    BETTER: "#4cc9a0", WORSE: "#ff9248", LIMIT: "#ff8a80",
    QUIETER: "#59636e", MEMORY: "#9db9e8", PREDICTED: "#55688c", PRICE: "#b8c0c9",
}  # fmt: skip
_LIGHT_NAMES = {light: f"c{number}" for number, light in enumerate(_DARK)} | {"#000000": "c0"}


def class_of(colour: str) -> str:
    """Return the name of a colour's CSS variable, without dashes in front; '' for a colour of no meaning."""
    return _LIGHT_NAMES.get(colour.lower(), "")


def variables() -> tuple[str, str]:
    """Return the CSS declarations of all colours, in light and in dark."""
    names = {_LIGHT_NAMES[light]: (light, dark) for light, dark in _DARK.items()}
    light, dark = (" ".join(f"--{name}: {pair[side]};" for name, pair in names.items()) for side in (0, 1))
    return light, dark


def rules() -> str:
    """Return the CSS rules of strokes and fills: classes s0, f0 and so on."""
    numbers = range(len(_DARK))
    return "".join(f".chart .s{n}{{stroke:var(--c{n})}}.chart .f{n}{{fill:var(--c{n})}}" for n in numbers)
