"""All blocks of a source in order, read by many workers at once: the one pass over the data."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

from ..errors import DeepTradeError
from ..inputs import InputFile
from ..memory.budget import ByteBudget, Lease
from ..units import count_of, format_bytes
from .blocks import BLOCK_BYTES, Block, Place
from .protocol import Source, Task
from .records import pages

_WATCH = "deeptrade-watch"


def worker_count() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reading_threads(workers: int = 0) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads, one per processor if `workers` is 0; tasks not yet started are dropped at the end.

    Threads, not processes: the parser releases the interpreter lock, and nothing has to be copied between them.
    """
    pool = ThreadPoolExecutor(workers or worker_count(), thread_name_prefix="deeptrade-read")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class ClusterExecutor(Executor, ABC):
    """Runs tasks on other machines, each after a look at whether it can read there what it would read here.

    at_once: how many should be under way. A result stays where it was made until it is asked for.
    """

    at_once: int

    @abstractmethod
    def submit_reading(self, file: InputFile | None, task: Callable[[], Block]) -> Future[Block]:
        """Run a task that reads `file` there; one that carries what it needs has none."""


def read_blocks(
    source: Source,
    executor: Executor,
    *,
    budget: ByteBudget,
    at_once: int,
    after: Place | None = None,
    chunk_size: int = 10_000,
) -> Iterator[Block]:
    """Yield the blocks of a source in order, starting after `after`; up to `at_once` are read ahead.

    Fewer if the budget has no room for more; each block holds a lease until the caller asks for the next one. On a
    cluster, whose width takes the place of `at_once`, a block that is read there holds none before it comes here.
    Raises DoesNotFitError if a single block exceeds the budget, DeepTradeError if a process of the executor died.
    """
    at_once = executor.at_once if isinstance(executor, ClusterExecutor) else at_once
    what = f"reading a block of {source.name}"
    tasks = source.tasks(after=after, chunk_size=chunk_size)
    waiting: deque[tuple[Task, Future[Block], Lease | None]] = deque()
    task = next(tasks, None)
    expected = after.stop if after else 0

    def submit(ready: Task, lease: Lease | None) -> None:
        nonlocal task
        waiting.append((ready, _submit(executor, ready), lease))
        task = next(tasks, None)

    def is_elsewhere(ready: Task) -> bool:
        return isinstance(executor, ClusterExecutor) and ready.reads is not None

    def submit_more() -> None:
        while task is not None and len(waiting) < at_once:
            lease = None
            if not is_elsewhere(task):
                lease = budget.try_lease(source.block_bytes, needed=False)
                if lease is None:
                    return
            submit(task, lease)

    try:
        while True:
            submit_more()
            if not waiting:
                if task is None:
                    return
                submit(task, budget.lease(source.block_bytes, what))
            first, future, lease = waiting.popleft()
            with lease or budget.lease(source.block_bytes, what):
                block = future.result()
                submit_more()
                if not first.exact and block.place.start != expected:
                    if expected >= first.place.stop:  # the record before covers this whole range
                        continue
                    block = first.from_start(expected).run()
                expected = block.place.stop
                if block.place.start < block.place.stop:
                    yield block
    except BrokenExecutor:
        raise DeepTradeError(
            f"a process reading {source.name} was killed, perhaps because memory ran out; "
            f"run again to continue, with fewer workers or a lower memory limit"
        ) from None
    finally:
        for _, future, lease in waiting:
            future.cancel()
            if lease:
                lease.release()
        pages.clear()


def say_chunk(source: Source, chunk_size: int, sink: Callable[[str], None]) -> None:
    """Report when blocks of text hold fewer rows than `chunk_size` allows."""
    rows = max(1, int(BLOCK_BYTES // source.row_text_bytes))
    if source.kind == "csv" and rows < min(chunk_size, source.estimate_rows()):
        sink(
            f"chunk_size={chunk_size} lowered to about {count_of(rows, 'row')}: at most {format_bytes(BLOCK_BYTES)} "
            f"of text is parsed at once"
        )


def _submit(executor: Executor, task: Task) -> Future[Block]:
    if isinstance(executor, ClusterExecutor):
        return executor.submit_reading(task.reads, task.run)
    return executor.submit(_run_task if isinstance(executor, ThreadPoolExecutor) else _run_task_in_child, task)


def _run_task(task: Task) -> Block:
    return task.run()


def _run_task_in_child(task: Task) -> Block:
    end_with_parent()
    return _run_task(task)


def end_with_parent() -> None:
    """In a multiprocessing child: exit within half a second of the parent's end, however it ends.

    Otherwise the children of a killed parent wait for work forever. Give it as `initializer` to a pool with more
    processes than there are blocks to read.
    """
    if multiprocessing.parent_process() is None or any(thread.name == _WATCH for thread in threading.enumerate()):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()
