import re

import numpy as np
from matplotlib.figure import Figure

from deeptrade.report.figures.palette import MODEL, class_of
from deeptrade.report.figures.svg import SvgCanvas


def drawn(draw, *, width=400, height=200):
    """The elements of a figure of that many pixels, drawn by a function of its axes, without axes and ground."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    figure.patch.set_visible(False)
    draw(axes)
    return SvgCanvas(figure).content()


def test_a_point_is_a_circle_that_counts_from_the_top_and_has_the_class_of_its_colour():
    circle = drawn(lambda axes: axes.plot([100], [50], "o", color=MODEL, markersize=8, markeredgewidth=0))
    number = class_of(MODEL)[1:]
    assert circle == f'<circle class="f{number}" cx="100" cy="150" r="4"/>'


def test_a_line_is_one_path_of_short_numbers():
    path = drawn(lambda axes: axes.plot([0, 10.04, 20.26], [0, 100, 50], color=MODEL, linewidth=2))
    assert re.search(r'd="M0 200L10 100 20.3 150"', path)
    assert 'stroke-width="2"' in path


def test_a_line_of_many_points_is_simplified():
    x = np.linspace(0, 400, 50_000)
    assert len(drawn(lambda axes: axes.plot(x, 100 + np.sin(x / 40), color=MODEL))) < 20_000


def test_what_reaches_beyond_its_axes_is_cut_off():
    inside = drawn(lambda axes: axes.plot([10, 90], [10, 90]))
    beyond = drawn(lambda axes: axes.plot([10, 900], [10, 90]))
    assert "<svg" not in inside
    assert beyond.startswith('<svg x="0" y="0" width="400" height="200" viewBox="0 0 400 200">')


def test_text_stays_text_is_escaped_and_anchored():
    text = drawn(lambda axes: axes.text(200, 100, "a <b> & c", ha="center", fontsize=12))
    assert 'text-anchor="middle"' in text
    assert 'x="200"' in text
    assert 'font-size="12"' in text
    assert text.endswith(">a &lt;b&gt; &amp; c</text>")


def test_a_colour_without_a_meaning_stays_as_it_is_and_opacity_is_kept():
    bar = drawn(lambda axes: axes.bar([100], [50], 20, color="#123456", alpha=0.25))
    assert 'fill="#123456"' in bar
    assert 'fill-opacity="0.25"' in bar


def test_points_that_are_not_numbers_are_left_out():
    line = drawn(lambda axes: axes.plot([0, 10, 20, 30], [0, np.nan, 20, 30], "o-", color=MODEL))
    assert "nan" not in line
    assert line.count("<circle") == 3


def test_equal_figures_give_equal_text():
    draw = lambda axes: axes.errorbar([100], [50], [[10], [10]], fmt="s")  # noqa: E731
    assert drawn(draw) == drawn(draw)
