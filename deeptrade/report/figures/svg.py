"""Draw a matplotlib Figure as a small SVG: text stays text, colours are classes, marks have titles.

A renderer of our own, since matplotlib's has a style on every element, ids that clash where a page holds two figures,
and no way to name a colour. Ours also knows nothing of clocks and files: equal figures give equal text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase, GraphicsContextBase, RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Bbox, Transform

from .palette import class_of

_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
_ANCHORS = {"center": "middle", "right": "end"}
_BOLD = 600


class SvgCanvas(FigureCanvasBase):
    """A canvas whose layout measures text in the pixels of the SVG: one point is one pixel."""

    def __init__(self, figure: Figure):
        super().__init__(figure)
        width, height = figure.get_size_inches() * 72
        self._renderer = _SvgRenderer(width, height)

    def get_renderer(self) -> RendererBase:
        """Return the renderer, which layout asks for the sizes of texts."""
        return self._renderer

    def content(self) -> str:
        """Return the drawn elements, without the outer <svg>."""
        self.figure.draw(self._renderer)
        return "".join(self._renderer.parts)


class _SvgRenderer(RendererBase):
    def __init__(self, width: float, height: float):
        super().__init__()
        self.width, self.height = width, height
        self.parts: list[str] = []

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.width, self.height

    def _down(self, transform: Transform) -> Transform:
        """Return a transform to pixels that count from the top, as in SVG."""
        return transform + Affine2D().scale(1, -1).translate(0, self.height)

    def draw_path(
        self,
        gc: GraphicsContextBase,
        path: Path,
        transform: Transform,
        rgbFace: Any = None,
    ) -> None:
        """Write one path, cut off at the edges of its axes where it goes beyond them."""
        down = self._down(transform)
        simplify = path.should_simplify and rgbFace is None
        points = path.cleaned(down, simplify=simplify, remove_nans=True, curves=True)
        drawn = _path_data(points)
        if drawn:
            self.parts.append(self._clipped(gc, points, f'<path{_paint(gc, rgbFace)} d="{drawn}"/>'))

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: Any = None,
    ) -> None:
        """Write one circle for every vertex where the marker is round, else one path."""
        shape = marker_path.cleaned(marker_trans + Affine2D().scale(1, -1), simplify=False, curves=True)
        box, paint = shape.get_extents(), _paint(gc, rgbFace)
        is_round = Path.CURVE4 in np.asarray(shape.codes if shape.codes is not None else [])
        for x, y in self._down(trans).transform(path.vertices):
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            if is_round:
                self.parts.append(f'<circle{paint} cx="{_n(x)}" cy="{_n(y)}" r="{_n(box.width / 2)}"/>')
            else:
                moved = Path(np.asarray(shape.vertices) + np.array([x, y]), shape.codes)
                self.parts.append(f'<path{paint} d="{_path_data(moved)}"/>')

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Write a line of text, anchored as it is aligned: the reader's font is not the one that was measured."""
        if not s.strip():
            return
        anchor = ""
        if mtext is not None and not angle:
            anchor = _ANCHORS.get(mtext.get_horizontalalignment(), "")
            if anchor:
                x = mtext.get_transform().transform(mtext.get_unitless_position())[0]
        weight = prop.get_weight()
        bold = weight == "bold" or (isinstance(weight, int) and weight >= _BOLD)
        attributes = [f' text-anchor="{anchor}"' if anchor else "", ' font-weight="600"' if bold else ""]
        attributes += [f' transform="rotate({_n(-angle)} {_n(x)} {_n(y)})"' if angle else ""]
        fill = _colour("f", "fill", gc.get_rgb())
        size = _n(prop.get_size_in_points())
        literal = escape(s.replace(r"\$", "$"), quote=False)
        self.parts.append(
            f'<text{fill} x="{_n(x)}" y="{_n(y)}" font-size="{size}"{"".join(attributes)}>{literal}</text>'
        )

    def _clipped(self, gc: GraphicsContextBase, points: Path, element: str) -> str:
        """Return the element within a window of its axes, where it reaches beyond them."""
        clip = gc.get_clip_rectangle()
        if clip is None:
            return element
        window = Bbox([[clip.x0, self.height - clip.y1], [clip.x1, self.height - clip.y0]])
        box = points.get_extents()
        margin = 2.0
        inside = (
            box.x0 >= window.x0 - margin
            and box.x1 <= window.x1 + margin
            and box.y0 >= window.y0 - margin
            and box.y1 <= window.y1 + margin
        )
        if inside:
            return element
        x, y, width, height = (_n(value) for value in window.bounds)
        frame = f'x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}"'
        return f"<svg {frame}>{element}</svg>"


def _path_data(path: Path) -> str:
    """Return a path's commands; one that repeats is written once, as SVG allows."""
    found, previous = [], ""
    codes = np.asarray(path.codes if path.codes is not None else [])
    for (x, y), code in zip(np.asarray(path.vertices, float).tolist(), codes.tolist(), strict=True):
        if code == Path.STOP:
            break
        letter = _LETTERS[code]
        if letter == "Z":
            found.append("Z")
        else:
            found.append(f"{' ' if letter == previous != 'M' else letter}{_n(x)} {_n(y)}")
        previous = letter
    return "".join(found)


def _paint(gc: GraphicsContextBase, face: Any) -> str:
    """Return fill, stroke, width and dashes as attributes."""
    parts = []
    if face is not None and (len(face) < 4 or face[3] > 0):
        parts.append(_colour("f", "fill", face, gc.get_alpha() if gc.get_forced_alpha() else None))
    width, colour = gc.get_linewidth(), gc.get_rgb()
    if width and colour[3]:
        parts.append(_colour("s", "stroke", colour))
        parts.append(f' stroke-width="{_n(width)}"' if width != 1 else "")
        dashes = gc.get_dashes()[1]
        if dashes is not None:
            lengths = " ".join(_n(length) for length in np.asarray(dashes, float))
            parts.append(f' stroke-dasharray="{lengths}"')
        if gc.get_capstyle() == "round":
            parts.append(' stroke-linecap="round"')
    return _join_classes(parts)


def _colour(letter: str, attribute: str, colour: Any, alpha: float | None = None) -> str:
    """Return a class where the colour has a meaning, else the colour itself; both with its opacity."""
    opacity = alpha if alpha is not None else colour[3] if len(colour) > 3 else 1.0
    name = class_of(to_hex(colour[:3]))
    paint = f' class="{letter}{name[1:]}"' if name else f' {attribute}="{to_hex(colour[:3])}"'
    return paint if opacity >= 1 else f'{paint} {attribute}-opacity="{_n(opacity, 2)}"'


def _join_classes(parts: Sequence[str]) -> str:
    """Return attributes with one class attribute instead of two."""
    text = "".join(parts)
    first, second = text.find(' class="'), text.rfind(' class="')
    if first in (-1, second):
        return text
    end = text.index('"', second + 8)
    name = text[second + 8 : end]
    rest = text[:second] + text[end + 1 :]
    return rest.replace(' class="', f' class="{name} ', 1)


def _n(value: float, digits: int = 1) -> str:
    """Return a number as short as it can be."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
