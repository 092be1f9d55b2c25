import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from deeptrade.report.figures.common import in_time
from deeptrade.report.figures.marks import marks_of, say
from deeptrade.report.figures.svg import SvgCanvas


@pytest.fixture
def axes():
    figure = Figure(figsize=(400 / 72, 200 / 72), dpi=72)
    return figure.subplots()


def titles(axes):
    SvgCanvas(axes.figure).content()
    return [mark.title for mark in marks_of(axes.figure, height=200)]


def test_a_point_says_its_line_its_place_and_its_value(axes):
    axes.plot([1, 2], [10, 20_000], label="loss")
    axes.set(xlabel="time [s]; since the start", ylabel="memory [MiB]")
    assert titles(axes) == ["loss, time 1 s: 10 MiB", "loss, time 2 s: 20,000 MiB"]


def test_an_interval_says_its_ends(axes):
    axes.errorbar([1], [0.5], [[0.2], [0.1]], fmt="o", label="than zero")
    axes.set_xlabel("steps ahead")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    assert titles(axes) == ["than zero, steps ahead 1: 50% (from 30% to 60%)"]


def test_a_bar_says_its_name_and_its_length(axes):
    axes.barh(["first", "second"], [3, 4])
    axes.set_xlabel("rows")
    assert titles(axes) == ["rows, first: 3", "rows, second: 4"]


def test_a_day_is_told_as_a_date(axes):
    axes.plot(np.array(["2026-01-02T03:04", "2026-03-01"], "datetime64[m]"), [1, 2])
    in_time(axes)
    assert titles(axes) == ["2026-01-02 03:04: 1", "2026-03-01 00:00: 2"]


def test_of_a_dense_line_only_points_that_a_pointer_can_tell_apart_are_marks(axes):
    axes.plot(np.arange(5000), np.arange(5000))
    assert 10 < len(titles(axes)) < 40


def test_what_is_not_seen_is_not_a_mark(axes):
    axes.plot([1, 2, 3], [1, np.nan, 99])
    axes.set_ylim(0, 5)
    assert titles(axes) == ["1: 1"]


def test_a_limit_across_the_axes_says_its_name_and_a_line_without_one_nothing(axes):
    axes.axhline(5, label="limit 5 MiB")
    axes.axvline(0)
    assert titles(axes) == ["limit 5 MiB"]


def test_a_text_of_ones_own_comes_before_the_one_made_from_the_axes(axes):
    (line,) = axes.plot([1, 1.01], [1, 1])
    say(line, ["one", "other"])
    say(axes.axvspan(2, 3), ["phase train"])
    assert titles(axes) == ["one", "other", "phase train"]


def test_a_mark_lies_where_it_is_drawn(axes):
    axes.set(xlim=(0, 1), ylim=(0, 1), position=(0, 0, 1, 1))
    axes.plot([0.5], [0.25], "o")
    SvgCanvas(axes.figure).content()
    (mark,) = marks_of(axes.figure, height=200)
    assert (mark.x + mark.width / 2, mark.y + mark.height / 2) == (200, 150)
