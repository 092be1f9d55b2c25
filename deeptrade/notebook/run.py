"""`run`: notebooks 01 to 04 and 07 on one data file, each with the results of those before, then pages and an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..data.opening import Head, look_at
from ..errors import Interrupted, RunConflictError, SettingsError
from ..files import is_address, locked_folder, shorten_home, user_path, write_json
from ..planning.plan import planned
from ..progress import ByteProgress
from ..report.index import write_index
from ..report.page import render_notebook
from ..run_folder import AGENT_NOTEBOOK, NOTEBOOKS, RunFolder, TrainingFolder
from ..settings import FitSettings
from ..store import Located, compile_store, locate
from ..trading.settings import AgentSettings
from .execute import Execute, execute_notebook, notebook_path, signals_to_kernel
from .parameters import OWN, PATHS, check_parameters
from .run_progress import RunProgress

ALL_NOTEBOOKS = (*NOTEBOOKS, AGENT_NOTEBOOK)


def run(
    data: str | Path,
    *,
    out: str | Path,
    parameters: Mapping[str, Any] | None = None,
    fresh: bool = False,
    sink: Callable[[str], None] | None = None,
    progress: str = "auto",
    execute: Execute | None = None,
) -> Path:
    """Run the notebooks on `data` and return the path of index.html.

    Arguments: data, a file, folder or glob; out, the run's folder; parameters of the notebooks by name, text
    is read as the declared type; fresh starts over; sink takes a line of text; progress is how far the run is: 'auto',
    'terminal', 'notebook', 'plain' or 'silent'; execute runs one notebook.

    The same call on a finished folder changes nothing; an unfinished one continues after its last finished
    notebook. 03 uses what the plan of 02 chose, unless a parameter says otherwise.

    Raises SettingsError and DataError before a kernel starts, RunConflictError for a folder of another run,
    NotebookRefusedError where a notebook ends with an error that the user can fix, NotebookError for any other.
    """
    say = sink or (lambda line: None)
    out = user_path(out)
    given = dict(parameters or {})
    for name in OWN:
        if name in given:
            raise SettingsError(
                f"parameter {name!r} is set by run itself; name the data first, and the folder by --out"
            )
    values = check_parameters(given, {name: notebook_path(name) for name in ALL_NOTEBOOKS})
    settings = FitSettings(**values["03_train"])
    AgentSettings(**{name: value for name, value in values[AGENT_NOTEBOOK].items() if name.startswith("rl_")})
    notebooks = [*NOTEBOOKS, *(() if settings.skip_rl else (AGENT_NOTEBOOK,))]
    if values["02_auto_optimize"].get("effective_batch", 1) < 1:
        raise SettingsError(f"effective_batch={given['effective_batch']} is not accepted; use at least 1")
    found = Found.of(data, settings)
    with ExitStack() as held:
        held.enter_context(_alone_in(out))
        if fresh:
            RunFolder(out).remove()
        head = found.compiled(say)
        identity: dict[str, Any] = {"data_id": head.data_id, "content_hash": head.content_hash}
        identity["parameters"] = {name: _declared(values, name) for name in given}
        state = _open_state(out, identity, notebooks, former_data_ids=head.former_data_ids, say=say)
        if all(state["notebooks"][name]["status"] == "completed" for name in notebooks):
            say(f"{out} is done, nothing was changed; --fresh starts over")
            return RunFolder(out).index
        shown = RunProgress(notebooks, face=progress, sink=say)
        execute = execute or partial(execute_notebook, watch=shown)
        try:
            for name in notebooks:
                if state["notebooks"][name]["status"] != "completed":
                    shown.begin(name)
                    _run_one(name, data, out, values[name], state, execute, shown.say)
        except Exception:
            shown.begin("04_memory_report")
            _report_memory_so_far(data, out, values, state, execute, shown.say)
            raise
        finally:
            shown.close()
            held.close()  # the pages would say that it is running
            index = write_index(out)
    return index


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the folder of a run; RunConflictError where another process does."""

    def refuse() -> None:
        raise RunConflictError(f"another process runs notebooks into {out}; wait until it ends, or give another --out")

    with locked_folder(out, taken=refuse):
        yield


@dataclass(frozen=True)
class Found:
    """The data of a run, found and looked at before anything runs, and the settings it is to be read with."""

    located: Located
    head: Head
    settings: FitSettings

    @classmethod
    def of(cls, data: str | Path, settings: FitSettings) -> Found:
        """Find it; DataError where there is none, SettingsError for features that it does not have."""
        located = locate(data, store=settings.store, arrangement=settings.arrangement)
        head = look_at(located)
        head.schema.select(settings.feature_names)
        return cls(located, head, settings)

    def compiled(self, say: Callable[[str], None], *, executor: Executor | None = None) -> Head:
        """Parse it once, so that every notebook reads its store; rejected rows are for the notebooks to judge."""
        if self.head.content_hash or self.settings.max_rows:
            return self.head
        with closing(ByteProgress("compiling", sink=say)) as progress:
            compile_store(
                self.located,
                memory_limit=self.settings.memory_limit,
                chunk_size=self.settings.chunk_size,
                max_bad_rows=1.0,
                executor=executor,
                sink=say,
                progress=progress,
            )
        return look_at(self.located.again())


def _report_memory_so_far(
    data: str | Path,
    out: Path,
    values: dict[str, Any],
    state: dict[str, Any],
    execute: Execute,
    say: Callable[[str], None],
) -> None:
    """Where training has failed or was killed, report where its memory went; the next call makes that report again."""
    name = "04_memory_report"
    if state["notebooks"]["03_train"]["status"] != "failed" or not RunFolder(out).training.timeline.exists():
        return
    with suppress(Exception):  # the error that is told is the training's
        _run_one(name, data, out, values[name], state, execute, say)
        state["notebooks"][name]["status"] = "partial"
        write_json(RunFolder(out).state, state)


def _declared(values: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """A parameter's value in its declared type, as text: '1e-3' and '0.001' are one."""
    return next(str(of_notebook[name]) for of_notebook in values.values() if name in of_notebook)


def _open_state(
    out: Path,
    identity: dict[str, Any],
    notebooks: Collection[str],
    *,
    former_data_ids: Collection[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The state of the run in `out`, new or found; RunConflictError when it is of another run, which has trained."""
    found = RunFolder(out).read_state()
    difference = _difference(found, identity, former_data_ids) if found else ""
    if difference and not _failed_untrained(out, found or {}):
        raise RunConflictError(f"{out} holds a run {difference}; give another --out, or --fresh to start over")
    if difference:
        say(f"{out} holds a run {difference}, which failed before it trained: starting over")
        RunFolder(out).remove()
    if found and not difference:
        for name in notebooks:  # a run of an earlier version had no second stage
            found["notebooks"].setdefault(name, {"status": "pending"})
        return found
    pending = {name: {"status": "pending"} for name in notebooks}
    state = {"schema_version": 1, **identity, "notebooks": pending}
    write_json(RunFolder(out).state, state)
    return state


def _difference(state: Mapping[str, Any], identity: Mapping[str, Any], former_data_ids: Collection[str]) -> str:
    """How the run of a state differs from one of this identity, in words; empty where it is the same run."""
    hashes = state.get("content_hash"), identity["content_hash"]
    if state["data_id"] not in (identity["data_id"], *former_data_ids) or (all(hashes) and hashes[0] != hashes[1]):
        return "of other data"
    before, now = state["parameters"], identity["parameters"]
    for name in sorted({*before, *now}):
        if _placed(name, before.get(name)) != _placed(name, now.get(name)):
            was, is_now = (repr(p[name]) if name in p else "not set" for p in (before, now))
            return f"with {name} {was}, now {is_now}"
    return ""


def _placed(name: str, value: str | None) -> str | None:
    """The value of a parameter to compare: a path is the same however it is spelled."""
    return _absolute(value) if value and name in PATHS else value


def _failed_untrained(out: Path, state: Mapping[str, Any]) -> bool:
    """Whether a run has failed and left nothing that took training; one that runs, or was killed, counts as none."""
    failed = any(notebook["status"] == "failed" for notebook in state["notebooks"].values())
    training = TrainingFolder(RunFolder(out).part("03_train"))
    return failed and not training.count_steps() and not training.is_running()


def _run_one(
    name: str,
    data: str | Path,
    out: Path,
    values: dict[str, Any],
    state: dict[str, Any],
    execute: Execute,
    say: Callable[[str], None],
) -> None:
    """Execute one notebook, render both pages, note how it went."""
    started, folder = time.perf_counter(), RunFolder(out)
    say(f"{name}: started")
    error: Exception | None = None
    try:
        with signals_to_kernel() as stop:
            execute(notebook_path(name), folder.executed(name), _complete(name, data, out, values, say))
    except Exception as problem:  # noqa: BLE001 (noted, rendered, and raised again below)
        error = problem
    seconds = round(time.perf_counter() - started, 1)
    status: dict[str, Any] = {"status": "failed" if error else "completed", "seconds": seconds}
    if error:
        status["error"] = " ".join(getattr(error, "line", str(error)).split())[:500]
        status["status"] = "interrupted" if stop else "failed"
    state["notebooks"][name] = status
    write_json(folder.state, state)
    if folder.executed(name).exists():
        for code in (False, True):
            render_notebook(folder.executed(name), folder.page(name, code=code), code=code)
    if error and stop:
        raise Interrupted(stop[0]) from None
    if error:
        raise error from None
    say(f"{name}: done in {seconds} s")


def _complete(
    name: str, data: str | Path, out: Path, values: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The values given, with the paths of this run and, for training, what the plan chose."""
    if name == AGENT_NOTEBOOK:
        return {**values, "run": _absolute(out)}
    paths = {"run": _absolute(out)} if name == "04_memory_report" else {"csv": _absolute(data)}
    complete = {**values, **paths, "out": _absolute(RunFolder(out).part(name))}
    if name == "03_train":
        chosen = planned(RunFolder(out).plan, given=values)
        say("03_train: from the plan " + ", ".join(f"{option}={value}" for option, value in chosen.items()))
        complete |= chosen
    return complete


def _absolute(path: str | Path) -> str:
    """The path as it is right from any folder, the home folder as ~: executed notebooks are given to others."""
    if is_address(path):
        return str(path)
    return shorten_home(str(user_path(path).absolute()))
