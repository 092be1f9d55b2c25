"""Progress of long work: a bar on a terminal, one updated line in a notebook, plain lines in batch, or nothing."""

from __future__ import annotations

import html
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .errors import SettingsError
from .units import format_bytes

FACES = ("auto", "terminal", "notebook", "plain", "silent")
_PLAIN_SECONDS, _NOTEBOOK_SECONDS = 30.0, 1.0
_BYTES_SECONDS = 10.0
_LATEST_LINES = 10


class Progress:
    """Counts steps up to `total`; `update` is cheap and shows at most one line per interval of its face."""

    def __init__(
        self, total: int, *, start: int = 0, face: str = "auto", sink: Callable[[str], None] = lambda line: None
    ):
        if face not in FACES:
            raise SettingsError(f"progress={face!r} is not accepted; choose from {', '.join(FACES)}")
        self._total, self._sink = total, sink
        self._face = _choose_face() if face == "auto" else face
        self._last = time.monotonic()
        self._shown = start
        self._bar: Any = None
        if self._face == "terminal":
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=start, unit="step", dynamic_ncols=True)
        elif self._face == "notebook":
            from IPython.display import HTML, display

            self._bar = display(HTML(self._html(start, "starting")), display_id=True)

    def update(self, step: int, text: str) -> None:
        """Report that `step` steps are done; `text` adds what else to show, with units."""
        now = time.monotonic()
        if self._face == "terminal":
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        elif self._face == "notebook" and (now - self._last >= _NOTEBOOK_SECONDS or step == self._total):
            from IPython.display import HTML

            self._last = now
            self._bar.update(HTML(self._html(step, text)))
        elif self._face == "plain" and (
            now - self._last >= _PLAIN_SECONDS or (step - self._shown) * 10 >= self._total or step == self._total
        ):
            self._last, self._shown = now, step
            self._sink(f"step {step} of {self._total}: {text}")

    def close(self) -> None:
        """End the bar."""
        if self._face == "terminal":
            self._bar.close()

    def _html(self, step: int, text: str) -> str:
        return (
            f'<progress value="{step}" max="{self._total}" aria-label="training steps done"></progress> '
            f"step {step} of {self._total}: {html.escape(text)}"
        )


class ByteProgress:
    """Bytes done, with rate and time left; `what` names the work, `face` is that of `Progress`.

    Call it with (bytes done, bytes in all). Work of less than ten seconds shows only on a terminal.
    """

    def __init__(self, what: str, *, face: str = "auto", sink: Callable[[str], None] = lambda line: None):
        self._what, self._sink = what, sink
        self._face = _choose_face() if face == "auto" else face
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
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
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


def _choose_face() -> str:
    if "ipykernel" in sys.modules and "IPython" in sys.modules:
        from IPython import get_ipython

        if get_ipython() is not None and hasattr(get_ipython(), "kernel"):
            return "notebook"
    return "terminal" if sys.stderr.isatty() else "plain"
