"""Jobs: trainings and runs as commands of this package, each of which continues the folder that it writes.

A walk and a grid make them. Here they run in child processes, one after the other; a cluster runs them on its workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..files import is_address, is_held, user_path
from ..run_folder import RunFolder
from ..settings import FitSettings
from .children import bound_command, run_logged

_HELD_SECONDS = 60
_PATHS = ("csv", "out", "store", "plan", "warm_start")
"""Settings of `fit` that are paths."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """A command of this package.

    arguments: of `deeptrade`; a Path among them is one, as text is not, and means another folder elsewhere unless it is
    absolute. data: what it reads, paths or addresses. out: the folder it writes. log: where what it says is written.
    """

    arguments: tuple[str | Path, ...]
    data: tuple[str, ...]
    out: Path
    log: Path

    @classmethod
    def of_fit(cls, settings: FitSettings, names: Collection[str], *, log: Path) -> Job:
        """Return the training of some settings, with those named as options."""
        options = settings.as_arguments(set(names) - set(_PATHS))
        paths = {name: getattr(settings, name) for name in _PATHS if name in names}
        given = [part for name, path in paths.items() if path for part in (f"--{name}", path_argument(path))]
        return cls((*options, *given), (settings.csv,), settings.out_dir, log)

    @property
    def command_line(self) -> list[str]:
        """What follows `deeptrade`."""
        return [
            f"./{one}" if isinstance(one, Path) and str(one).startswith("-") else str(one) for one in self.arguments
        ]

    @property
    def is_running(self) -> bool:
        """Whether another process works in its folder."""
        return is_held(self.out) or RunFolder(self.out).training.is_running()

    def is_running_still(self, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Return whether another process works in its folder, after a minute too, or until it is no longer wanted.

        A process whose starter was killed saves its progress and leaves.
        """
        for _ in range(_HELD_SECONDS):
            if not self.is_running or not is_wanted():
                break
            time.sleep(1)
        return self.is_running

    @property
    def is_seen_to_be_done(self) -> bool:
        """Whether the result of its training lies in its folder."""
        return RunFolder(self.out).training.read_completed_result() is not None

    def absolute(self) -> Job:
        """Return the job with all paths as any machine understands them that has the same files."""
        return replace(
            self,
            arguments=tuple(_absolute(one) if isinstance(one, Path) else one for one in self.arguments),
            data=tuple(one if is_address(one) else str(_absolute(one)) for one in self.data),
            out=_absolute(self.out),
            log=_absolute(self.log),
        )


Start = Callable[[Job], tuple[int, str]]
"""Runs a job to its end; returns its exit code, negative for a signal, and the last line it said."""


def path_argument(path: str) -> str | Path:
    """Return a path as an argument of a job; an address stays text."""
    return path if is_address(path) else Path(path)


def _absolute(path: str | Path) -> Path:
    return user_path(path).absolute()


def in_child(job: Job, *, is_wanted: Callable[[], bool] = lambda: True) -> tuple[int, str]:
    """Run a job in a child process, which ends with this one, and once it is no longer wanted.

    Raises what `run_logged` does.
    """
    job.is_running_still(is_wanted)
    return run_logged([*bound_command("deeptrade"), *job.command_line], job.log, is_wanted=is_wanted)


def run_all(
    items: Sequence[Item],
    run: Callable[[Item], Result],
    *,
    begin: Callable[[Item], None],
    at_once: int = 1,
    is_ready: Callable[[Item, Collection[Item]], bool] = lambda item, unfinished: True,
) -> Iterator[tuple[Item, Result]]:
    """Run all items and yield each with its result when it is done.

    begin is called in this thread before an item is run; at_once, how many are under way, each in a thread of its own;
    one alone runs in this thread, which signals reach. is_ready(item, unfinished) says whether an item may begin while
    others are unfinished. After an error none is begun, and those under way are left to whoever runs them.
    """
    if at_once == 1:
        for item in items:
            begin(item)
            yield item, run(item)
        return
    waiting, running = list(items), dict[Future[Result], Item]()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="deeptrade-job")
    try:
        while waiting or running:
            unfinished = [*waiting, *running.values()]
            ready = [item for item in waiting if is_ready(item, unfinished)]
            for item in ready[: at_once - len(running)]:
                waiting.remove(item)
                begin(item)
                running[pool.submit(run, item)] = item
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
