"""A Dask cluster: its workers read the blocks of a compile, train the folds of a walk, run the points of a grid.

Dask places the tasks and runs those of a lost worker again. What is here makes sure that a worker has the same package
and the same files before it does anything, and says in one line what went wrong.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

from ..errors import ClusterError, DeepTradeError, SettingsError
from ..inputs import InputFile, LocalFile
from ..planning.jobs import Job, in_child
from ..sources.blocks import Block
from ..sources.scan import ClusterExecutor
from ..units import count_of
from .sameness import Sample, check_version, sample_of, samples_of, version_here

_ADDRESS = re.compile(r"dask://([^/@?\s]+:\d+)/?")
_AHEAD = 2
"""Blocks under way for each thread of the cluster: one is read while the one before it is on its way here."""

_CONNECT_SECONDS = 15.0
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 2.0
_WORKERLESS_SECONDS = 60.0
"""For so long a cluster may be without any worker: what starts them anew needs some seconds."""
_LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm")


@contextmanager
def connected(address: str) -> Iterator[DaskCluster]:
    """Give the cluster at 'dask://host:port', the address of its scheduler.

    Raises SettingsError for another address or without the extra, ClusterError where no cluster answers, it has no
    workers, or they have another version of this package.
    """
    found = _ADDRESS.fullmatch(address)
    if not found:
        raise SettingsError(
            f"cluster={address!r} is not accepted; give the scheduler of a Dask cluster, such as dask://10.0.0.5:8786"
        )
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise SettingsError(
            f"{address} needs the extra: pip install 'deeptrade[cluster]', on every machine of the cluster too"
        ) from None
    with _quiet():
        with _in_one_line(address):
            client = Client(found[1], timeout=_CONNECT_SECONDS, set_as_default=False)
        try:
            cluster = DaskCluster(client, address)
            try:
                yield cluster
            finally:
                cluster.close()
        finally:
            with suppress(Exception):
                client.close(_LOOK_SECONDS)


class DaskCluster(ClusterExecutor):
    """Runs tasks on the workers of a cluster; see `connected`.

    workers: how many there are now. at_once: blocks that should be under way.
    """

    def __init__(self, client: Any, address: str):
        self._client, self._address, self._closed = client, address, Event()
        self._waiting: set[Any] = set()
        with _in_one_line(address):
            widths = self._widths()
            versions = client.run(version_here) if widths else {}
        if not widths:
            raise ClusterError(f"{address} has no workers; start some: dask worker {address.removeprefix('dask://')}")
        for there in versions.values():
            check_version(there, version_here())
        self.workers = len(widths)
        self.at_once = _AHEAD * sum(widths.values())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function there."""
        payload = pickle.dumps(partial(fn, *args, **kwargs))
        with _in_one_line(self._address), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")  # a block of text that only this side has
            future = self._client.submit(run_there, version_here(), payload, pure=False)
        self._waiting.add(future)
        return _Answer(future, self._wait, self._waiting.discard)

    def submit_reading(self, file: InputFile | None, task: Callable[[], Block]) -> Future[Block]:
        """Run a task there that reads a file, if it is there what it is here; a remote one is read on its e-tag."""
        sample = sample_of(file) if isinstance(file, LocalFile) else None
        return self.submit(_read, sample, task)

    def start(self, job: Job) -> tuple[int, str]:
        """Run a job there, which continues its folder, as `planning.jobs.in_child` does here; wait for its end.

        Data, folder and log are where this machine and the workers see them. A worker that is lost ends its job; the
        next one goes on with it.
        """
        job = job.absolute()
        samples = [sample for data in job.data for sample in samples_of(data)]
        code, last = self.submit(_Task(job, samples)).result()
        if not code and not job.is_seen_to_be_done:
            raise ClusterError(
                f"a worker has written {job.out} where it is not seen here; give an --out that all share"
            )
        return code, last

    def close(self) -> None:
        """Give up what is under way: workers stop jobs, which save their progress."""
        self._closed.set()
        with suppress(Exception):
            self._client.cancel(list(self._waiting))

    def _widths(self) -> dict[str, int]:
        """Threads by worker."""
        found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=_ANSWER_SECONDS)
        return found

    def _wait(self, future: Any) -> Any:
        """Return the result of a task, at the latest a minute after the last worker has gone."""
        ended = Event()
        future.add_done_callback(lambda _: ended.set())
        with _in_one_line(self._address):
            seen = time.monotonic()
            while True:
                if ended.wait(_LOOK_SECONDS):
                    try:
                        return future.result(_ANSWER_SECONDS)
                    except TimeoutError:  # whoever held the result is gone, and it is being made again
                        if future.status == "error":
                            raise
                if self._closed.is_set():
                    raise CancelledError
                if self._widths():
                    seen = time.monotonic()
                elif time.monotonic() > seen + _WORKERLESS_SECONDS:
                    raise ClusterError(
                        f"{self._address} has lost all its workers; start some and run again to continue"
                    )


class _Answer(Future[Any]):
    """A result that stays on the cluster until it is asked for."""

    def __init__(self, future: Any, wait: Callable[[Any], Any], forget: Callable[[Any], None]):
        super().__init__()
        self._future, self._wait, self._forget = future, wait, forget

    def result(self, timeout: float | None = None) -> Any:
        """Return it; the cluster forgets it then."""
        try:
            return self._wait(self._future)
        finally:
            self._forget(self._future)

    def cancel(self) -> bool:
        """Give it up."""
        self._forget(self._future)
        with suppress(Exception):
            self._future.cancel()
        return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log of lost connections from standing beside the one line that says so."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _in_one_line(address: str) -> Iterator[None]:
    """Turn what goes wrong in the engine into ClusterError; errors of a task stay what they are."""
    from distributed import KilledWorker

    again = "run again to continue"
    try:
        yield
    except DeepTradeError:
        raise
    except KilledWorker as error:
        times = count_of(error.allowed_failures + 1, "worker")
        raise ClusterError(
            f"{address}: {times} died at the same task, perhaps because memory ran out; {again}, with more memory "
            "or fewer threads for each worker"
        ) from None
    except (CancelledError, asyncio.CancelledError):
        raise ClusterError(
            f"{address} has lost its scheduler, or the connection to it; {again} when it is back"
        ) from None
    except ImportError as error:
        raise ClusterError(
            f"{address}: a machine of the cluster lacks a package ({error}); install the same on all"
        ) from None
    except RuntimeError as error:
        if "deserialization" not in str(error):
            raise
        raise ClusterError(f"{address}: its scheduler lacks this package; install the same on all machines") from None
    except OSError as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClusterError(
            f"{address} does not answer ({reason}); check the address and the scheduler, {again}"
        ) from None


def run_there(wanted: str, payload: bytes) -> Any:
    """On a worker: run a pickled function if this is the version that pickled it."""
    check_version(version_here(), wanted)
    return pickle.loads(payload)()


def _read(sample: Sample | None, task: Callable[[], Block]) -> Block:
    """On a worker: read a block of a file that was found to be the same."""
    if sample:
        sample.check()
    return task()


@dataclass(frozen=True)
class _Task:
    """A job to run on a worker, which has its data, its folder and its log at the same paths."""

    job: Job
    samples: list[Sample]

    def __call__(self) -> tuple[int, str]:
        """Run it in a child process, which is stopped when nobody waits for it any more."""
        from distributed import get_worker

        for sample in self.samples:
            sample.check()
        shared = self.job.log.parent
        if not shared.is_dir():
            raise ClusterError(f"{socket.gethostname()} has no folder {shared}; give an --out that all share")
        worker = get_worker()
        key = worker.get_current_task()

        def is_wanted() -> bool:
            task = worker.state.tasks.get(key)
            return task is not None and task.state == "executing"

        return in_child(self.job, is_wanted=is_wanted)
