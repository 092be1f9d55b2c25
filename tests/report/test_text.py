import warnings

import numpy as np
from matplotlib.figure import Figure

from deeptrade.report import figures
from deeptrade.report.text import drawable, legible, shorten


def test_a_short_name_is_shown_as_it_is():
    for name in ("arr_ctx", "arr_Größe 価格", "<b>bold</b>", "a" * 64):
        assert legible(name) == name


def test_a_long_word_loses_its_middle_and_a_long_text_its_end():
    assert legible("x " + "ab" * 5_000 + " y") == "x " + "ab" * 14 + "..." + "ab" * 14 + " y"
    assert len(legible("word " * 5_000)) == 300
    assert shorten("abcdef", 4) == "abc\N{HORIZONTAL ELLIPSIS}"


def test_characters_that_change_the_direction_of_text_are_spelled_out():
    assert legible("arr_\N{RIGHT-TO-LEFT OVERRIDE}cba") == "arr_\\u202ecba"


def test_a_character_missing_from_the_font_is_spelled_out_and_no_formula_is_set():
    assert drawable("Größe $x^2$ 価") == "Größe \\$x^2\\$ \\u4fa1"
    figure = Figure()
    shown = figure.suptitle(drawable("$x^2$ of $y$"))
    figures.as_html(figure, alt="a window")
    assert shown._preprocess_math(shown.get_text()) == ("$x^2$ of $y$", False)


def test_figures_of_oddly_named_data_are_drawn_without_a_warning():
    name = "arr_価格 \N{ROCKET} $x^2 \\frac{$"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape in ((24,), (24, 3), (24, 9)):
            figures.as_html(figures.window_chart(np.ones(shape, np.float32), f"{name} of row 3"), alt="a figure")
