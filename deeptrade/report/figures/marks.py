"""The marks of a figure: where each number is drawn, and what it is in words, for pointers and for readers' lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.dates import ConciseDateFormatter, num2date
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter, ScalarFormatter

_SPACING = 16
"""Least distance in pixels between two points of a line that a pointer can tell apart."""

_TITLES = "deeptrade_titles"


@dataclass(frozen=True)
class Mark:
    """A box in pixels of the drawing, counted from the left and the top, and its text."""

    x: float
    y: float
    width: float
    height: float
    title: str


def say(artist: Artist, titles: Sequence[str]) -> None:
    """Give each point of a line, or a patch, its text, where the one made from its axes would not do."""
    setattr(artist, _TITLES, list(titles))


def marks_of(figure: Figure, *, height: float) -> list[Mark]:
    """Return the marks of a figure that has been drawn, in order of axes and artists; `height` is its own in pixels."""
    found = [mark for axes in figure.axes if axes.get_visible() for mark in _of_axes(axes)]
    return [Mark(mark.x, height - mark.y - mark.height, mark.width, mark.height, mark.title) for mark in found]


def _of_axes(axes: Axes) -> Iterator[Mark]:
    """Yield marks in matplotlib's pixels, which count from the bottom."""
    inside: set[Artist] = set()
    for container in axes.containers:
        inside |= set(container.get_children())
        if isinstance(container, ErrorbarContainer):
            yield from _intervals(axes, container)
        elif isinstance(container, BarContainer):
            yield from _bars(axes, container)
    for line in axes.lines:
        if line not in inside and line.get_visible():
            yield from _points(axes, line)
    for patch in axes.patches:
        if patch not in inside and hasattr(patch, _TITLES):
            box = patch.get_window_extent()
            yield Mark(box.x0, box.y0, box.width, box.height, getattr(patch, _TITLES)[0])


def _points(axes: Axes, line: Line2D) -> Iterator[Mark]:
    label = _label(line)
    if line.get_transform() is not axes.transData:  # a line across the axes, such as a limit
        if label:
            box = line.get_window_extent()
            yield Mark(box.x0 - 3, box.y0 - 3, box.width + 6, box.height + 6, label)
        return
    titles = getattr(line, _TITLES, None)
    values = np.column_stack([np.asarray(axis, float) for axis in line.get_data(orig=False)])
    places, last = axes.transData.transform(values), -np.inf
    for number, (x, y) in enumerate(places):
        apart = titles is not None or abs(x - last) >= _SPACING or number == len(places) - 1
        if not (apart and np.isfinite(x) and np.isfinite(y)) or not axes.bbox.padded(2).contains(x, y):
            continue
        last = x
        yield Mark(x - 7, y - 7, 14, 14, titles[number] if titles else _told(axes, label, *values[number]))


def _intervals(axes: Axes, container: ErrorbarContainer) -> Iterator[Mark]:
    line, _, bars = container.lines
    titles, label = getattr(line, _TITLES, None), _label(container)
    segments = bars[0].get_segments() if bars else [None] * np.size(line.get_xdata())
    values = np.column_stack([np.asarray(axis, float) for axis in line.get_data(orig=False)])
    for number, (value, segment) in enumerate(zip(values, segments, strict=True)):
        ends = np.array([value, value] if segment is None else segment, float)
        if not np.isfinite(ends).all():
            continue
        (x0, y0), (x1, y1) = axes.transData.transform(ends)
        low, high = ends[0], ends[1]
        axis, at = (axes.yaxis, 1) if low[0] == high[0] else (axes.xaxis, 0)
        told = titles[number] if titles else _told(axes, label, *value)
        if segment is not None and not titles and low[at] != high[at]:
            told += f" (from {said(axis, low[at])} to {said(axis, high[at])})"
        yield Mark(min(x0, x1) - 6, min(y0, y1) - 6, abs(x1 - x0) + 12, abs(y1 - y0) + 12, told)


def _bars(axes: Axes, container: BarContainer) -> Iterator[Mark]:
    label = _label(container)
    for bar in container.patches:
        box = bar.get_window_extent()
        if not np.isfinite(box.bounds).all():
            continue
        middle_x, middle_y = bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2
        is_upright = container.orientation == "vertical"
        value = (middle_x, bar.get_height()) if is_upright else (bar.get_width(), middle_y)
        titles = getattr(bar, _TITLES, None)
        told = titles[0] if titles else _told(axes, label, *value, upright=is_upright)
        yield Mark(box.x0, box.y0, max(box.width, 3), max(box.height, 3), told)


def _told(axes: Axes, label: str, x: float, y: float, *, upright: bool = True) -> str:
    """Return a point in words: of which line, where, and how much."""
    across, along = (axes.xaxis, axes.yaxis) if upright else (axes.yaxis, axes.xaxis)
    where, value = (x, y) if upright else (y, x)
    place = " ".join(part for part in (_name(across), said(across, where), _unit(across)) if part)
    amount = " ".join(part for part in (said(along, value), _unit(along)) if part)
    name = label or _name(along)
    return f"{name}, {place}: {amount}" if name else f"{place}: {amount}"


def said(axis: Axis, value: float) -> str:
    """Return a value as the axis would print it, with enough digits to tell it from its neighbours."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, ConciseDateFormatter):
        return num2date(value).strftime("%Y-%m-%d %H:%M")
    if isinstance(formatter, PercentFormatter):
        return f"{100 * value / formatter.xmax:.3g}%"
    if isinstance(formatter, ScalarFormatter):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return " ".join(str(formatter(value)).split())


def _label(artist: Artist | BarContainer | ErrorbarContainer) -> str:
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else label


def _words(axis: Axis) -> tuple[str, str]:
    """Return name and unit from a label such as 'memory [MiB]; the limit is ...'."""
    text = " ".join(axis.get_label_text().split())
    name, _, rest = text.partition("[")
    unit = rest.partition("]")[0]
    return name.split(";")[0].split("(")[0].split(",")[0].strip(), unit


def _name(axis: Axis) -> str:
    return _words(axis)[0]


def _unit(axis: Axis) -> str:
    return _words(axis)[1]
