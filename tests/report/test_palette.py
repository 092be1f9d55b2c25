import re

import pytest

from deeptrade.report.figures import palette
from deeptrade.report.figures.style import notebook_style, page_style


def contrast(one, other):
    """Contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


def colours():
    """(light, dark) by name of the CSS variable."""
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6});", side)) for side in palette.variables())
    return {name: (light[name], dark[name]) for name in light}


def test_every_colour_that_carries_a_meaning_stands_out_in_light_and_dark():
    grounds = colours()[palette.class_of(palette.PAPER)]
    meanings = ("MODEL", "ZERO", "MEAN", "RIDGE", "TREES", "AGENT", "BETTER", "WORSE", "LIMIT", "MEMORY", "PRICE")
    for name in meanings:
        pair = colours()[palette.class_of(getattr(palette, name))]
        assert all(contrast(colour, ground) >= 3 for colour, ground in zip(pair, grounds, strict=True)), name


@pytest.mark.parametrize("name", ["INK", "SOFT"])
def test_text_reaches_a_contrast_of_four_and_a_half(name):
    grounds = colours()[palette.class_of(palette.PAPER)]
    pair = colours()[palette.class_of(getattr(palette, name))]
    assert all(contrast(colour, ground) >= 4.5 for colour, ground in zip(pair, grounds, strict=True))


def test_no_two_meanings_share_a_colour():
    roles = (
        "MODEL",
        "ZERO",
        "MEAN",
        "RIDGE",
        "TREES",
        "AGENT",
        "BETTER",
        "WORSE",
        "LIMIT",
        "MEMORY",
        "PREDICTED",
        "PRICE",
    )
    values = [getattr(palette, name) for name in roles]
    assert len(set(values)) == len(values)
    assert palette.class_of("#000000") == palette.class_of(palette.INK)
    assert palette.class_of("#123456") == ""


def test_pages_follow_the_system_and_notebooks_their_theme():
    assert "@media screen and (prefers-color-scheme:dark)" in page_style()
    assert "prefers-color-scheme" not in notebook_style()
    assert '[data-jp-theme-light="false"] .chart' in notebook_style()
