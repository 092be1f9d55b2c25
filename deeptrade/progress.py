"""Progress of long work: a bar on a terminal, one updated line in a notebook, plain lines in batch, or nothing."""

from __future__ import annotations

import html
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .errors import SettingsError
from .units import format_bytes, format_estimate

FACES = ("auto", "terminal", "notebook", "plain", "silent")
_PLAIN_SECONDS, _NOTEBOOK_SECONDS = 30.0, 1.0
_BYTES_SECONDS = 10.0
_LATEST_LINES = 10

PROGRESS_TYPE = "application/vnd.deeptrade.progress+json"
"""The type under which a notebook's bar also holds its numbers, for whoever runs the notebook: see `Progress`."""


class Progress:
    """Counts steps up to `total`; `update` is cheap and shows at most one line per interval of its face.

    what: the name of the work; unit: what is counted. In a notebook the numbers go along with the bar, as JSON: what,
    unit, done, total, text, seconds_left (null while it is not known).
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        face: str = "auto",
        sink: Callable[[str], None] = lambda line: None,
        what: str = "training",
        unit: str = "step",
    ):
        self._total, self._sink, self._what, self._unit = total, sink, what, unit
        self._face = choose_face(face)
        self._last = time.monotonic()
        self._shown = start
        self._begun: tuple[float, int] | None = None
        self._bar: Any = None
        if self._face == "terminal":
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=start, unit=unit, dynamic_ncols=True)
        elif self._face == "notebook":
            from IPython.display import display

            self._bar = display(self._content(start, "starting"), raw=True, display_id=True)

    def update(self, step: int, text: str) -> None:
        """Report that `step` steps are done; `text` adds what else to show, with units."""
        now = time.monotonic()
        self._begun = self._begun or (now, step)
        if self._face == "terminal":
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        elif self._face == "notebook" and (now - self._last >= _NOTEBOOK_SECONDS or step == self._total):
            self._last = now
            self._bar.update(self._content(step, text), raw=True)
        elif self._face == "plain" and (
            now - self._last >= _PLAIN_SECONDS or (step - self._shown) * 10 >= self._total or step == self._total
        ):
            self._last, self._shown = now, step
            self._sink(self._line(step, text))

    def expect(self, total: int) -> None:
        """Count up to another total from now on."""
        self._total = total
        if self._face == "terminal":
            self._bar.total = total

    def close(self) -> None:
        """End the bar."""
        if self._face == "terminal":
            self._bar.close()

    def _line(self, step: int, text: str) -> str:
        left = self._seconds_left(step)
        return f"{self._unit} {step} of {self._total}: {text}" + (f", {format_left(left)}" if left else "")

    def _seconds_left(self, step: int) -> float | None:
        """By the rate since the first step that was reported, which may have taken long to begin."""
        if self._begun is None or step <= self._begun[1]:
            return None
        seconds = time.monotonic() - self._begun[0]
        return (self._total - step) * seconds / (step - self._begun[1])

    def _content(self, step: int, text: str) -> dict[str, Any]:
        line = self._line(step, text)
        bar = f'<progress value="{step}" max="{self._total}" aria-label="{self._what}: {self._unit}s done"></progress>'
        numbers = {"what": self._what, "unit": self._unit, "done": step, "total": self._total, "text": text}
        return {
            "text/html": f"{bar} {html.escape(line)}",
            "text/plain": line,
            PROGRESS_TYPE: numbers | {"seconds_left": self._seconds_left(step)},
        }


class ByteProgress:
    """Bytes done, with rate and time left; `what` names the work, `face` is that of `Progress`.

    Call it with (bytes done, bytes in all). Work of less than ten seconds shows only on a terminal.
    """

    def __init__(self, what: str, *, face: str = "auto", sink: Callable[[str], None] = lambda line: None):
        self._what, self._sink = what, sink
        self._face = choose_face(face)
        self._started = self._last = 0.0
        self._first = -1
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` bytes are done."""
        if self._first < 0:
            self._first, self._started = done, time.monotonic()
            self._last = self._started
        if self._face == "terminal":
            if self._bar is None:
                from tqdm import tqdm

                settings = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "dynamic_ncols": True}
                self._bar = tqdm(desc=self._what, total=total, initial=done, leave=False, **settings)
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._face != "silent" and now - self._last >= _BYTES_SECONDS:
            self._last = now
            rate = (done - self._first) / (now - self._started)
            left = f", {format_left((total - done) / rate)}" if rate > 0 else ""
            amount = f"{format_bytes(done)} of {format_bytes(total)}"
            self._sink(f"{self._what}: {amount}, {format_bytes(rate)}/s{left}")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


class BoundedLines:
    """A sink for a notebook, whose output a browser must hold: prints `most` lines, then shows only the latest ones.

    Further lines share one output that says how many there are; it is updated at most once a second, and at the end of
    the block.
    """

    def __init__(self, sink: Callable[[str], None], most: int = 100):
        self._sink, self._most, self._count = sink, most, 0
        self._latest: deque[str] = deque(maxlen=_LATEST_LINES)
        self._output: Any = None
        self._last = 0.0

    def __call__(self, line: str) -> None:
        """Take one line."""
        self._count += 1
        if self._count <= self._most:
            self._sink(line)
            return
        self._latest.append(line)
        if time.monotonic() - self._last >= _NOTEBOOK_SECONDS:
            self._show()

    def __enter__(self) -> BoundedLines:
        return self

    def __exit__(self, *exc: object) -> None:
        self._show()

    def _show(self) -> None:
        if not self._latest:
            return
        from IPython.display import display

        more = self._count - self._most
        content = {"text/plain": f"... {more:,} more lines; the latest:\n" + "\n".join(self._latest)}
        self._last = time.monotonic()
        if self._output is None:
            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)


def format_left(seconds: float) -> str:
    """Return a time that is left, as exact as such an estimate is.

    >>> format_left(8.2), format_left(200), format_left(9000)
    ('8 s left', '3 min left', '2.5 h left')
    """
    return f"{format_estimate(seconds)} left"


def choose_face(face: str) -> str:
    """Return the face that is meant: 'auto' is what fits where this process runs. SettingsError for an unknown one."""
    if face not in FACES:
        raise SettingsError(f"progress={face!r} is not accepted; choose from {', '.join(FACES)}")
    if face != "auto":
        return face
    if "ipykernel" in sys.modules and "IPython" in sys.modules:
        from IPython import get_ipython

        if get_ipython() is not None and hasattr(get_ipython(), "kernel"):
            return "notebook"
    return "terminal" if sys.stderr.isatty() else "plain"
