"""One line on how far a run is: notebook, phase, progress and time left; on a terminal with a bar, updated in place."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..progress import choose_face, format_left

if TYPE_CHECKING:
    from .watching import Moment

PLAIN_SECONDS, UPDATE_SECONDS = 30.0, 0.2
"""Between two lines in a log, and between two updates of a terminal or a notebook."""


class RunProgress:
    """Shows the moments of notebooks that run one after the other: call `begin`, then give it to `execute_notebook`.

    face: 'auto', 'terminal', 'notebook', 'plain' or 'silent'; sink takes whole lines, from `say` and in 'plain'.
    """

    def __init__(self, notebooks: Sequence[str], *, face: str = "auto", sink: Callable[[str], None]):
        self._notebooks, self._sink, self._face = notebooks, sink, choose_face(face)
        self._name = ""
        self._shown = time.monotonic()
        self._phase = ""
        self._output: Any = None

    def begin(self, notebook: str) -> None:
        """Say that this notebook runs now."""
        self._name, self._phase = notebook, ""

    def __call__(self, moment: Moment) -> None:
        """Show what the notebook does now, at most so often as suits the face; a new phase is shown at once."""
        phase = moment.work.get("what", "") or moment.heading
        seconds = PLAIN_SECONDS if self._face == "plain" else UPDATE_SECONDS
        is_new = phase != self._phase and self._face != "plain"
        if self._face == "silent" or (not is_new and time.monotonic() - self._shown < seconds):
            return
        self._shown, self._phase = time.monotonic(), phase
        line = f"{self._where()}, {phase}: {_how_far(moment)}"
        if self._face == "plain":
            self._sink(line)
        elif self._face == "terminal":
            self._draw(f"{self._where()}, {phase}", _how_far(moment), moment)
        else:
            self._display(line, moment)

    def say(self, line: str) -> None:
        """Hand a line to the sink, above the bar."""
        if self._face == "terminal" and self._output is not None:
            self._output.clear()
        self._sink(line)

    def close(self) -> None:
        """Take the bar away."""
        if self._face == "terminal" and self._output is not None:
            self._output.close()
        self._output = None

    def _where(self) -> str:
        return f"{self._name} ({self._notebooks.index(self._name) + 1} of {len(self._notebooks)})"

    def _draw(self, title: str, rest: str, moment: Moment) -> None:
        if self._output is None:
            from tqdm import tqdm

            self._output = tqdm(total=1, leave=False, dynamic_ncols=True)
        bar, (title, rest) = self._output, (text.replace("{", "{{").replace("}", "}}") for text in (title, rest))
        bar.n, bar.total = _share(moment)
        bar.bar_format = f"{title} |{{bar:20}}| {rest}"
        bar.refresh()

    def _display(self, line: str, moment: Moment) -> None:
        done, total = _share(moment)
        bar = f'<progress value="{done}" max="{total}" aria-label="the notebook that runs"></progress>'
        content = {"text/html": f"{bar} {html.escape(line)}", "text/plain": line}
        if self._output is None:
            from IPython.display import display

            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)


def _share(moment: Moment) -> tuple[int, int]:
    """What is done, of how much: by the bar of the cell, else by cells."""
    work = moment.work
    return (work["done"], work["total"]) if work else (moment.cell - 1, moment.cells)


def _how_far(moment: Moment) -> str:
    work = moment.work
    if not work:
        return f"cell {moment.cell} of {moment.cells}"
    left = work.get("seconds_left")
    parts = [f"{work['unit']} {work['done']:,} of {work['total']:,}", format_left(left) if left else "", work["text"]]
    return ", ".join(filter(None, parts))
