import re

import numpy as np

from deeptrade.report.figures import as_html
from deeptrade.report.figures.chart import NARROW, WIDE
from deeptrade.report.figures.common import legend_below, new_axes
from deeptrade.report.figures.palette import LIMIT, MODEL


def make_figure():
    figure, axes = new_axes("It fell by 10% & more")
    axes.plot(np.arange(20), np.arange(20)[::-1], color=MODEL, label="model <1>")
    axes.axhline(5, color=LIMIT, linestyle="--", label="limit")
    axes.set(xlabel="step", ylabel="loss\n[sd]")
    legend_below(figure)
    return figure


def test_a_figure_is_a_caption_keys_two_drawings_and_its_numbers():
    html = as_html(make_figure(), alt='The "loss"')
    assert "<figcaption>It fell by 10% &amp; more</figcaption>" in html
    assert re.findall(r"<li><svg.*?</svg>([^<]*)</li>", html) == ["model &lt;1&gt;", "limit"]
    boxes = re.findall(r'<svg class="(\w+)" viewBox="0 0 (\d+) 307" role="img" aria-label="([^"]*)"', html)
    label = "The &quot;loss&quot;. It fell by 10% &amp; more"
    assert boxes == [("wide", str(WIDE), label), ("narrow", str(NARROW), label)]
    assert "<li>model &lt;1&gt;, step 3: 16 sd</li>" in html


def test_the_narrow_drawing_is_laid_out_anew_with_letters_of_the_same_size():
    wide, narrow = re.findall(
        r'<svg class="(?:wide|narrow)".*?</svg>(?=<svg|<details)', as_html(make_figure(), alt="x")
    )
    sizes = [set(re.findall(r'font-size="(\d+)"', drawing)) for drawing in (wide, narrow)]
    assert sizes == [{"12"}, {"12"}]
    most = [max(float(x) for x in re.findall(r'<text[^>]* x="([\d.]+)"', drawing)) for drawing in (wide, narrow)]
    assert most[0] > NARROW > most[1]


def test_the_figure_stays_as_it_was():
    figure = make_figure()
    first = as_html(figure, alt="x")
    assert figure.axes[0].get_title(loc="left") == "It fell by 10% & more"
    assert figure.axes[0].get_ylabel() == "loss\n[sd]"
    assert len(figure.legends) == 1
    assert tuple(figure.get_size_inches()) == (8, 3.2)
    assert as_html(figure, alt="x") == first


def test_the_name_of_the_upright_axis_stands_above_it():
    html = as_html(make_figure(), alt="x")
    assert ">loss [sd]</text>" in html
    assert "rotate" not in html


def test_many_numbers_are_listed_in_part_and_it_is_said():
    figure, axes = new_axes("many")
    for offset in range(5):
        axes.plot(np.arange(60), np.arange(60) + offset, label=f"line {offset}")
    html = as_html(figure, alt="x")
    shown, every = map(int, re.search(r"<summary>numbers \((\d+) of (\d+)\)", html).groups())
    assert shown <= 60 < every
    assert html.count("<li>") == shown


def test_a_figure_holds_no_address_and_no_id():
    assert not re.search(r"http|\bid=|url\(|<script|xmlns", as_html(make_figure(), alt="x"))
