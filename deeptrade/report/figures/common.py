"""What all figures share: axes, the way into a notebook and into a page."""

from __future__ import annotations

from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from .chart import as_html, with_titles
from .palette import INK, LINE, SOFT
from .style import notebook_style

MIB = 1 << 20
_LEAST_SPAN = 0.2


def show(figure: Figure, *, alt: str) -> None:
    """Show a figure in a notebook as HTML, in the colours of its theme.

    The text for readers who do not see it is `alt`, which says what is drawn, followed by the figure's titles, which
    say what it shows.
    """
    from IPython.display import display

    display({"text/html": with_style(figure, alt=alt), "text/plain": with_titles(figure, alt)}, raw=True)


def with_style(figure: Figure, *, alt: str) -> str:
    """Return a figure as HTML with the style it needs outside of our pages; `alt` as for `show`."""
    return f"<style>{notebook_style()}</style>{as_html(figure, alt=alt)}"


def new_axes(title: str, *, width: float = 8, height: float = 3.2) -> tuple[Figure, Axes]:
    """Return a figure (width and height in inches) with one pair of axes and a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    finish(axes, title)
    return figure, axes


def finish(axes: Axes, title: str = "") -> None:
    """Set the title of axes, and leave of their frame what helps to read: quiet lines at the ticks of the y axis."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=12, labelcolor=SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=SOFT, fontsize=12)
        axis.labelpad = 6
        axis.get_offset_text().set(color=SOFT, fontsize=12)


def in_time(axes: Axes) -> None:
    """Let the x axis tell dates, as few as fit a phone."""
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def day_of(time: str) -> float:
    """Return an ISO 8601 time as matplotlib counts: in days since 1970."""
    return float(date2num(datetime.fromisoformat(time)))


def widen(axes: Axes, highest: float) -> None:
    """Let the x axis span a fifth of its highest value at least, so that 0.1 MiB of 500 does not look like much."""
    low, high = axes.get_xlim()
    missing = max(0.0, _LEAST_SPAN * highest - (high - low)) / 2
    axes.set_xlim(low - missing, high + missing)


def legend_below(figure: Figure) -> None:
    """Give the figure keys, which pages show below its title."""
    figure.legend(loc="outside lower left", ncols=4, fontsize=8, frameon=False)
