"""`run`: notebooks 01 to 04 on one data file, each with the results of the one before, then pages and an index."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from .. import errors
from ..data.opening import look_at
from ..errors import DataError, DeepTradeError, Interrupted, RunConflictError, SettingsError
from ..files import read_json, shorten_home, user_path, write_json
from ..planning.plan import planned
from ..progress import ByteProgress
from ..report.index import write_index
from ..report.page import render_notebook
from ..run_folder import NOTEBOOKS, RunFolder
from ..settings import FitSettings
from ..store import Located, compile_store, locate
from .parameters import check_parameters

_QUIET_KERNEL = [
    "--IPKernelApp.log_level=40",
    "--IPKernelApp.exec_lines=import logging; logging.getLogger('tornado.general').setLevel(logging.CRITICAL)",
]
"""A kernel's note on TCP, and what it says of its own sockets when it is stopped, would stand among our lines."""

_OWN = ("csv", "out", "run", "plan")


class NotebookError(Exception):
    """A notebook failed through no fault of the user's; its pages are written and say where."""


def run(
    data: str | Path,
    *,
    out: str | Path,
    parameters: Mapping[str, Any] | None = None,
    fresh: bool = False,
    sink: Callable[[str], None] | None = None,
) -> Path:
    """Run the notebooks on `data` and return the path of index.html.

    Arguments: data, a file, folder or glob; out, the run's folder; parameters of the notebooks by name, text
    is read as the declared type; fresh starts over; sink takes one line per notebook.

    The same call on a finished folder changes nothing; on an unfinished one it goes on after the last finished
    notebook. What the plan of 02 chose is what 03 uses, unless a parameter says otherwise.

    Raises SettingsError and DataError before a kernel starts, RunConflictError for a folder of another run, the
    error of a notebook that the user can mend, and NotebookError for others.
    """
    say = sink or (lambda line: None)
    out = user_path(out)
    given = dict(parameters or {})
    for name in _OWN:
        if name in given:
            raise SettingsError(
                f"parameter {name!r} is set by run itself; name the data first, and the folder by --out"
            )
    values = check_parameters(given, {name: notebook_path(name) for name in NOTEBOOKS})
    settings = FitSettings(**values["03_train"])
    located = locate(data, store=settings.store)
    head = look_at(located)
    head.schema.select(settings.feature_names)
    if values["02_auto_optimize"].get("effective_batch", 1) < 1:
        raise SettingsError(f"effective_batch={given['effective_batch']} is not accepted; use at least 1")
    if fresh:
        RunFolder(out).remove()
    if not head.content_hash and not settings.max_rows:
        _compile_first(located, settings, say)
        head = look_at(located.again())
    identity: dict[str, Any] = {"data_id": head.data_id, "content_hash": head.content_hash}
    identity["parameters"] = {name: _declared(values, name) for name in given}
    state = _open_state(out, identity, former_data_ids=head.former_data_ids)
    if all(state["notebooks"][name]["status"] == "completed" for name in NOTEBOOKS):
        say(f"{out} is done, nothing was changed; --fresh starts over")
        return RunFolder(out).index
    try:
        for name in NOTEBOOKS:
            if state["notebooks"][name]["status"] != "completed":
                _run_one(name, data, out, values[name], state, say)
    except Exception:
        _report_memory_so_far(data, out, values, state, say)
        raise
    finally:
        index = write_index(out)
    return index


def _report_memory_so_far(
    data: str | Path, out: Path, values: dict[str, Any], state: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Where training has failed or was killed, say where its memory went; the next call makes that report anew."""
    name = "04_memory_report"
    if state["notebooks"]["03_train"]["status"] != "failed" or not RunFolder(out).training.timeline.exists():
        return
    with suppress(Exception):  # the error that is told is the training's
        _run_one(name, data, out, values[name], state, say)
        state["notebooks"][name]["status"] = "partial"
        write_json(RunFolder(out).state, state)


def _declared(values: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """A parameter's value in its declared type, as text: '1e-3' and '0.001' are one."""
    return next(str(of_notebook[name]) for of_notebook in values.values() if name in of_notebook)


def _compile_first(located: Located, settings: FitSettings, say: Callable[[str], None]) -> None:
    """Parse the data once, so that every notebook reads its store; rejected rows are for the notebooks to judge."""
    with closing(ByteProgress("compiling", sink=say)) as progress:
        compile_store(
            located,
            memory_limit=settings.memory_limit,
            chunk_size=settings.chunk_size,
            max_bad_rows=1.0,
            sink=say,
            progress=progress,
        )


def notebook_path(name: str) -> Path:
    """Return the path of a notebook: in the repository, or where the wheel has put it."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "notebooks", package / "notebooks"):
        path = folder / f"{name}.ipynb"
        if path.exists():
            return path
    raise DataError(f"notebook {name}.ipynb is not installed; install the package again")


def _open_state(out: Path, identity: dict[str, Any], *, former_data_ids: Collection[str] = ()) -> dict[str, Any]:
    """The state of the run in `out`, new or found; RunConflictError when it is of another run."""
    if not (RunFolder(out).state).exists():
        pending = {name: {"status": "pending"} for name in NOTEBOOKS}
        state = {"schema_version": 1, **identity, "notebooks": pending}
        write_json(RunFolder(out).state, state)
        return state
    state = read_json(RunFolder(out).state)
    advice = "give another --out, or --fresh to start over"
    hashes = state.get("content_hash"), identity["content_hash"]
    if state["data_id"] not in (identity["data_id"], *former_data_ids) or (all(hashes) and hashes[0] != hashes[1]):
        raise RunConflictError(f"{out} holds a run of other data; {advice}")
    before, now = state["parameters"], identity["parameters"]
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            was, is_now = (repr(p[name]) if name in p else "not set" for p in (before, now))
            raise RunConflictError(f"{out} holds a run with {name} {was}, now {is_now}; {advice}")
    return state


def _run_one(
    name: str, data: str | Path, out: Path, values: dict[str, Any], state: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Execute one notebook, render both pages, note how it went."""
    started = time.perf_counter()
    say(f"{name}: started")
    error: Exception | None = None
    try:
        with _signals_to_kernel() as stop:
            _execute(notebook_path(name), RunFolder(out).executed(name), _complete(name, data, out, values, say))
    except Exception as problem:  # noqa: BLE001 (noted, rendered, and raised again below)
        error = problem
    seconds = round(time.perf_counter() - started, 1)
    status = {"status": "failed" if error else "completed", "seconds": seconds}
    if error and stop:
        status["status"] = "interrupted"
    state["notebooks"][name] = status | ({"error": _one_line(error)} if error else {})
    write_json(RunFolder(out).state, state)
    folder = RunFolder(out)
    if folder.executed(name).exists():
        for code in (False, True):
            render_notebook(folder.executed(name), folder.page(name, code=code), code=code)
    if error and stop:
        raise Interrupted(stop[0]) from None
    if error:
        raise _as_ours(name, error) from None
    say(f"{name}: done in {seconds} s")


def _complete(
    name: str, data: str | Path, out: Path, values: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The values given, with the paths of this run and, for training, what the plan chose."""
    paths = {"run": _absolute(out)} if name == "04_memory_report" else {"csv": _absolute(data)}
    complete = {**values, **paths, "out": _absolute(RunFolder(out).part(name))}
    if name == "03_train":
        chosen = planned(RunFolder(out).plan, given=values)
        say("03_train: from the plan " + ", ".join(f"{option}={value}" for option, value in chosen.items()))
        complete |= chosen
    return complete


def _absolute(path: str | Path) -> str:
    """The path as it is right from any folder, the home folder as ~: executed notebooks are given to others."""
    return shorten_home(str(user_path(path).absolute()))


def _execute(notebook: Path, out: Path, values: dict[str, Any]) -> None:
    """Run one notebook by papermill in a kernel of this interpreter, quietly."""
    import papermill

    for logger in ("papermill", "traitlets"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    unfinished = out.with_name(f".{out.name}")
    with _this_interpreters_kernel(), _named_when_whole(unfinished, out):
        papermill.execute_notebook(
            str(notebook),
            str(unfinished),
            parameters=values,
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            store_widget_state=False,
            start_timeout=120,
            extra_arguments=_QUIET_KERNEL,
        )


@contextmanager
def _named_when_whole(unfinished: Path, out: Path) -> Iterator[None]:
    """Give a notebook its name when it has been executed or has failed; one that a full disk cut off gets none.

    papermill's own notes and errors in a cell hold paths: those of the home folder begin with ~ then.
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
def _signals_to_kernel() -> Iterator[list[int]]:
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
def _this_interpreters_kernel() -> Iterator[None]:
    """Let 'python3' mean this interpreter: a user's own kernel of that name may be another environment's."""
    folder = str(Path(sys.prefix) / "share" / "jupyter")
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (folder, before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before


def _one_line(error: Exception) -> str:
    """The error as the reader of a report needs it: the notebook's own error, not papermill's account of it."""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return " ".join(f"{name}: {value}".split())[:500]


def _as_ours(name: str, error: Exception) -> Exception:
    """The error to raise: one of ours where the notebook raised one of ours."""
    if isinstance(error, DeepTradeError):
        return error
    kind = getattr(errors, getattr(error, "ename", ""), None)
    if getattr(error, "ename", "") == "TooManyBadRowsError":
        kind = DataError
    if isinstance(kind, type) and issubclass(kind, DeepTradeError):
        return kind(getattr(error, "evalue", str(error)))
    return NotebookError(f"{name} failed: {_one_line(error)}; its pages say where")
