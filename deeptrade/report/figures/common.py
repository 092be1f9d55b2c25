"""What all figures share: colours, axes, and conversion to images."""

from __future__ import annotations

import base64
import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#777777", "#D55E00"
SHADES = ("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#999999")

MIB = 1 << 20


def show(figure: Figure, *, alt: str) -> None:
    """Show a figure in a notebook as a PNG and leave nothing open.

    The alternative text is `alt`, which says what is drawn, followed by the figure's titles, which say what it shows.
    """
    from IPython.display import display

    alt = with_titles(figure, alt)
    content = {"image/png": to_png(figure), "text/plain": alt}
    display(content, metadata={"image/png": {"alt": alt, "width": int(figure.get_figwidth() * 96)}}, raw=True)


def with_titles(figure: Figure, alt: str) -> str:
    """Return an alternative text followed by the figure's titles, without those it already contains."""
    titles = [figure.get_suptitle()] if figure.get_suptitle() else [axes.get_title(loc="left") for axes in figure.axes]
    return ". ".join([alt.rstrip("."), *(" ".join(title.split()) for title in titles if title and title not in alt)])


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG at twice its displayed size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=192, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def as_image(figure: Figure, *, alt: str) -> tuple[str, str]:
    """Return (alternative text, data URL) of a figure, to embed it in a page."""
    return with_titles(figure, alt), "data:image/png;base64," + base64.b64encode(to_png(figure)).decode()


def new_axes(title: str, *, width: float = 8, height: float = 3.2) -> tuple[Figure, Axes]:
    """Return a figure (width and height in inches) with one pair of axes and a title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    finish(axes, title)
    return figure, axes


def finish(axes: Axes, title: str = "") -> None:
    """Set the title of axes and hide the top and right spines."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure) -> None:
    """Put the legend below the axes, where it does not narrow them."""
    figure.legend(loc="outside lower left", ncols=4, fontsize=8, frameon=False)
