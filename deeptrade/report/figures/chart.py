"""Turn a matplotlib Figure into a piece of HTML: its finding as a caption, keys, the drawing twice, and its numbers.

The drawing is made once for a wide page and once, laid out anew, for a phone; CSS shows one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from html import escape
from textwrap import wrap
from typing import Any

from markupsafe import Markup
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, MaxNLocator

from ..text import shorten
from .marks import Mark, marks_of
from .palette import SOFT, class_of
from .svg import SvgCanvas

WIDE, NARROW = 920, 352
"""Pixels of the two drawings: the text column of a page at 1,100 pixels, and of one at 400."""

_PER_INCH = 96
_MOST_NUMBERS = 60
_NAME_LETTERS = 18
"""Most letters in a line of a name on a phone."""

_LINE_LETTERS = {False: 110, True: 44}
"""Letters of the line below an axis, by whether it is narrow."""

_SHAPES = {"o": "M7 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", "s": "M7 2H15V10H7Z", "^": "M11 1L16 10H6Z"}
"""Markers of keys, as paths."""


def as_html(figure: Figure, *, alt: str) -> Markup:
    """Return a figure as HTML, without an address, a script, or an id that could clash with another's.

    `alt` says what is drawn; the figure's titles, which say what it shows, are its caption. The figure itself stays as
    it is.
    """
    captions, keys = _captions(figure), _keys(figure)
    drawings: list[str] = []
    marks: list[Mark] = []
    for width, name in ((WIDE, "wide"), (NARROW, "narrow")):
        drawn, marks_here = _draw(figure, width)
        height = round(figure.get_figheight() * _PER_INCH)
        label = escape(". ".join([alt.rstrip("."), *captions]))
        drawings.append(
            f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
            f"{drawn}{_targets(marks_here)}</svg>"
        )
        marks = marks or marks_here
    caption = "<br>".join(escape(line, quote=False) for line in captions)
    numbers = _numbers(marks)
    return Markup(
        f'<figure class="chart"><figcaption>{caption}</figcaption>{keys}{"".join(drawings)}{numbers}</figure>'
    )


def with_titles(figure: Figure, alt: str) -> str:
    """Return an alternative text followed by the figure's titles, without those it already contains."""
    return ". ".join([alt.rstrip("."), *(title for title in _captions(figure) if title not in alt)])


def _captions(figure: Figure) -> list[str]:
    suptitle = figure.get_suptitle()
    titles = [suptitle] if suptitle else [axes.get_title(loc="left") for axes in figure.axes]
    return [" ".join(title.split()).replace(r"\$", "$") for title in titles if title]


def _draw(figure: Figure, width: int) -> tuple[str, list[Mark]]:
    """Return the drawing at a width in pixels, and its marks; the figure's height in inches stays."""
    size = figure.get_size_inches()
    height = size[1] * _PER_INCH
    with _laid_out(figure, width=width, height=height):
        content = SvgCanvas(figure).content()
        return content, marks_of(figure, height=height)


@contextmanager
def _laid_out(figure: Figure, *, width: float, height: float) -> Iterator[None]:
    """Set a figure up for SVG and undo it: one point is one pixel, titles and keys are left to HTML."""
    size, dpi, canvas = figure.get_size_inches(), figure.dpi, figure.canvas
    suptitle = figure.get_suptitle()
    with ExitStack() as undo:
        undo.callback(figure.set_canvas, canvas)
        undo.callback(figure.set_size_inches, *size)
        undo.callback(figure.set_dpi, dpi)
        figure.dpi = 72
        figure.set_size_inches(width / 72, height / 72)
        legends, figure.legends = figure.legends, []
        undo.callback(setattr, figure, "legends", legends)
        for artist in (figure.patch, *_legends(figure), *(axes.patch for axes in figure.axes)):
            undo.callback(artist.set, visible=artist.get_visible(), in_layout=artist.get_in_layout())
            artist.set(visible=False, in_layout=False)
        if suptitle:
            undo.callback(figure.suptitle, suptitle, x=0.01, ha="left")
            figure.suptitle("")
        for axes in figure.axes:
            _arrange(axes, undo, keep_title=bool(suptitle), narrow=width < WIDE)
        yield


def _arrange(axes: Any, undo: ExitStack, *, keep_title: bool, narrow: bool) -> None:
    """Put the name of the upright axis above it, where it needs no turning of heads, and make room on a phone."""
    title, name = axes.get_title(loc="left"), axes.get_ylabel()
    if not keep_title:
        undo.callback(axes.set_title, title, loc="left", fontsize=11, fontweight="bold", color="black", pad=6)
        axes.set_title(" ".join(name.split()), loc="left", fontsize=12, fontweight="normal", color=SOFT, pad=8)
        undo.callback(axes.yaxis.label.set_visible, True)
        axes.yaxis.label.set_visible(False)
    below = axes.get_xlabel()
    undo.callback(axes.set_xlabel, below)
    axes.set_xlabel("\n".join(wrap(" ".join(below.split()), _LINE_LETTERS[narrow])))
    if narrow:
        _wrap_names(axes.yaxis, undo)
        locator = axes.xaxis.get_major_locator()
        if isinstance(locator, MaxNLocator):
            undo.callback(locator.set_params, nbins=locator._nbins)  # type: ignore[attr-defined]
            locator.set_params(nbins=5)


def _wrap_names(axis: Axis, undo: ExitStack) -> None:
    """Break the names at an axis into lines, so that they leave room for what is named."""
    formatter, locator = axis.get_major_formatter(), axis.get_major_locator()
    if isinstance(formatter, FixedFormatter | StrCategoryFormatter):
        undo.callback(axis.set_major_formatter, formatter)
        undo.callback(axis.set_major_locator, locator)
        places = axis.get_ticklocs()
        names = [shorten(name, 3 * _NAME_LETTERS) for name in formatter.format_ticks(list(places))]
        axis.set_ticks(places, ["\n".join(wrap(name, _NAME_LETTERS)) for name in names])


def _legends(figure: Figure) -> list[Legend]:
    return [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()) is not None)]


def _keys(figure: Figure) -> str:
    """Return the keys of all legends as a list, in which text wraps where a drawing's could not."""
    found: dict[str, str] = {}
    for legend in _legends(figure):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            found.setdefault(text.get_text().replace(r"\$", "$"), _key(handle))
    items = "".join(f"<li>{key}{escape(text, quote=False)}</li>" for text, key in found.items())
    return f'<ul class="keys">{items}</ul>' if items else ""


def _key(handle: Any) -> str:
    """Return a small drawing of a line, of a point with its interval, or of a filled box."""
    colour: Any
    if isinstance(handle, Line2D):
        colour, dash, marker = handle.get_color(), str(handle.get_linestyle()), handle.get_marker()
        dashes = {"--": ' stroke-dasharray="5 3"', ":": ' stroke-dasharray="2 3"'}.get(dash, "")
        drawn = f'<path{_class("s", colour)} stroke-width="2"{dashes} d="M1 6H21"/>' if dash not in ("None", "") else ""
        drawn += f'<path{_class("f", colour)} d="{_SHAPES[marker]}"/>' if marker in _SHAPES else ""
    elif isinstance(handle, LineCollection):
        colour = handle.get_color()[0]
        drawn = (
            f'<path{_class("s", colour)} stroke-width="2" d="M11 0V12"/><path{_class("f", colour)} d="{_SHAPES["o"]}"/>'
        )
    else:
        drawn = (
            f'<path{_class("f", handle.get_facecolor())} fill-opacity="{handle.get_alpha() or 1:g}" d="M3 1H19V11H3Z"/>'
        )
    return f'<svg class="key" viewBox="0 0 22 12" aria-hidden="true">{drawn}</svg>'


def _class(letter: str, colour: Any) -> str:
    hexadecimal = to_hex(colour)
    name = class_of(hexadecimal)
    attribute = {"s": "stroke", "f": "fill"}[letter]
    return f' class="{letter}{name[1:]}"' if name else f' {attribute}="{hexadecimal}"'


def _targets(marks: Sequence[Mark]) -> str:
    """Return boxes that are seen only under a pointer, each with its number as a title."""
    return "".join(
        f'<rect class="mark" x="{mark.x:.0f}" y="{mark.y:.0f}" width="{max(mark.width, 1):.0f}"'
        f' height="{max(mark.height, 1):.0f}"><title>{escape(mark.title, quote=False)}</title></rect>'
        for mark in marks
    )


def _numbers(marks: Sequence[Mark]) -> str:
    """Return the numbers as a list that opens by pointer and keyboard; of many, evenly spaced ones."""
    titles = list(dict.fromkeys(mark.title for mark in marks))
    if not titles:
        return ""
    step = -(-len(titles) // _MOST_NUMBERS)
    shown = titles[::step]
    head = f"numbers ({len(shown)} of {len(titles)})" if step > 1 else "numbers"
    items = "".join(f"<li>{escape(title, quote=False)}</li>" for title in shown)
    return f"<details><summary>{head}</summary><ul>{items}</ul></details>"
