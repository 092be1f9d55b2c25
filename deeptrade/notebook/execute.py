"""One notebook executed by papermill, in a kernel of this interpreter; how it ended is known by type, not by words.

The kernel notes the error that a cell raised: its line, and whether it is one that the user can fix. papermill itself
reports text alone.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ..errors import DataError, DeepTradeError, Interrupted
from ..files import read_json, shorten_home
from ..planning.children import PACKAGE_FOLDER

if TYPE_CHECKING:
    from .watching import Watch

Execute = Callable[[Path, Path, dict[str, Any]], None]
"""Runs a notebook (first path) with parameters, and leaves it executed at the second."""


class NotebookError(Exception):
    """A notebook failed through no fault of the user's; its pages say where. `line`: what ended it."""

    def __init__(self, notebook: str, line: str):
        super().__init__(f"{notebook} failed: {line}; its pages say where")
        self.line = line


class NotebookRefusedError(DeepTradeError):
    """A notebook ended with an error that the user can fix; the message is that error's."""


def notebook_path(name: str) -> Path:
    """Return the path of a notebook: in the repository, or where the wheel has put it."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "notebooks", package / "notebooks"):
        path = folder / f"{name}.ipynb"
        if path.exists():
            return path
    raise DataError(f"notebook {name}.ipynb is not installed; install the package again")


def execute_notebook(notebook: Path, out: Path, values: dict[str, Any], *, watch: Watch = lambda moment: None) -> None:
    """Execute one notebook quietly, with `values` as its parameters, and write it to `out`; tell `watch` how far it is.

    Raises NotebookRefusedError where a cell raised an error that the user can fix, NotebookError for any other end.
    """
    import papermill

    from .watching import ENGINE, register

    register()
    for logger in ("papermill", "traitlets"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    unfinished, noted = out.with_name(f".{out.name}"), out.with_name(f".{out.name}.error")
    try:
        with _kernel_environment(), _named_when_whole(unfinished, out):
            papermill.execute_notebook(
                str(notebook),
                str(unfinished),
                parameters=values,
                engine_name=ENGINE,
                watch=watch,
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
                store_widget_state=False,
                start_timeout=120,
                extra_arguments=_kernel_arguments(noted),
            )
    except Exception as error:
        problem = _read_noted(noted)
        if problem.get("exit_code") == DeepTradeError.exit_code:
            raise NotebookRefusedError(problem["line"]) from error
        raise NotebookError(notebook.stem, _one_line(error)) from error
    finally:
        noted.unlink(missing_ok=True)


def _kernel_arguments(noted: Path) -> list[str]:
    """Without these, a kernel's note on TCP and what it says of its own sockets when it is stopped would be shown.

    The user's PYTHONSTARTUP is for an interactive Python: what it prints or raises is no part of a report.
    """
    quiet = "import logging; logging.getLogger('tornado.general').setLevel(logging.CRITICAL)"
    finding = f"import sys; sys.path.append({PACKAGE_FOLDER!r})"
    noting = f"from deeptrade.notebook.execute import note_errors; note_errors({str(noted.absolute())!r})"
    return [
        "--IPKernelApp.log_level=40",
        "--IPKernelApp.exec_PYTHONSTARTUP=False",
        f"--IPKernelApp.exec_lines={quiet}; {finding}; {noting}",
    ]


def note_errors(path: str) -> None:
    """In a notebook's kernel: note in a file the error of ours that a cell raises, and show it as usual."""
    from IPython import get_ipython

    def note(shell: Any, kind: type, error: DeepTradeError, trace: Any, tb_offset: int | None = None) -> None:
        with suppress(OSError):
            Path(path).write_text(json.dumps({"exit_code": error.exit_code, "line": str(error)}), encoding="utf-8")
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    get_ipython().set_custom_exc((DeepTradeError,), note)


def _read_noted(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except (OSError, ValueError):
        return {}


def _one_line(error: Exception) -> str:
    """The error as the reader of a report needs it: the notebook's own error, not papermill's account of it."""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return " ".join(f"{name}: {value}".split())[:500]


@contextmanager
def _named_when_whole(unfinished: Path, out: Path) -> Iterator[None]:
    """Give a notebook its name when it has been executed or has failed; one that a full disk cut off gets none.

    papermill's own notes and errors in a cell hold paths: those in the home folder then begin with ~.
    """
    try:
        yield
    finally:
        with suppress(DataError, OSError):
            read_json(unfinished)
            unfinished.write_text(shorten_home(unfinished.read_text(encoding="utf-8")), encoding="utf-8")
            unfinished.replace(out)
        unfinished.unlink(missing_ok=True)


@contextmanager
def signals_to_kernel() -> Iterator[list[int]]:
    """Hand SIGINT and SIGTERM to the notebook's kernel, which saves and stops; yields the signals that came.

    The kernel is in a session of its own, so a terminal does not reach it, and it dies with this process.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def forward(number: int, frame: object) -> None:
        came.append(number)
        kernels = [p for p in psutil.Process().children() if "ipykernel_launcher" in p.cmdline()]
        if not kernels or len(came) > 1:
            raise Interrupted(number)
        for kernel in kernels:
            kernel.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kernel_environment() -> Iterator[None]:
    """Let 'python3' mean this interpreter, and let kernels import nothing from the working folder.

    A user's own kernel of that name may be another environment's, and a module in the folder may bear the name of one
    of Python's own.
    """
    paths = (str(Path(sys.prefix) / "share" / "jupyter"), os.environ.get("JUPYTER_PATH"))
    changed = {"JUPYTER_PATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
