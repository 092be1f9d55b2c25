"""All blocks of a source in order, read by many workers at once: the one pass over the text that all rests on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from .sources.blocks import Block, Place


def worker_count() -> int:
    """Return the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reading_threads(workers: int = 0) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads, one per processor where `workers` is 0; tasks not begun are dropped at the end.

    Threads, not processes: the parser holds no interpreter lock, and nothing has to be copied between them.
    """
    pool = ThreadPoolExecutor(workers or worker_count(), thread_name_prefix="deeptrade-read")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_blocks(
    source: Any, executor: Executor, *, at_once: int, after: Place | None = None, chunk_size: int = 10_000
) -> Iterator[Block]:
    """Yield the blocks of a source in order, those behind `after`; at most `at_once` are read or waiting at a time.

    The caller has the block to itself while the next ones are read; a new one is begun when it asks for more.
    """
    tasks = source.tasks(after=after, chunk_size=chunk_size)
    waiting: deque[tuple[Any, Future[Block]]] = deque()
    expected = after.stop if after else 0
    try:
        while True:
            while len(waiting) < at_once and (task := next(tasks, None)) is not None:
                waiting.append((task, executor.submit(run_task, task)))
            if not waiting:
                return
            task, future = waiting.popleft()
            block = future.result()
            if not task.exact and block.place.start != expected:
                if expected >= task.place.stop:  # the record before fills the whole stretch
                    continue
                block = task.from_start(expected).run()
            expected = block.place.stop
            if block.place.start < block.place.stop:
                yield block
    finally:
        for _, future in waiting:
            future.cancel()


def run_task(task: Any) -> Block:
    """Run a task; a function of its own, so that it can be sent to another process."""
    block: Block = task.run()
    return block
