"""Workers as processes of this machine: started together, watched, and started again from the last checkpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DeepTradeError, Interrupted, LostWorkerError, SettingsError
from ..units import count_of
from .multiworker import VARIABLE

END_SECONDS = 15.0
"""Seconds that the others have to end by themselves once one has ended badly, before they are killed. With the ten in
which a silent worker is noticed that is less than half a minute."""

_LOOK_SECONDS = 0.05
_STOPPED = (130, 143)


class LocalWorkers:
    """Runs `command` in `count` processes until all have ended well, and again after a loss, `restarts` times at most.

    command(attempt) returns the command line of an attempt, counted from 0, which should end with this process. Worker
    0 writes to this process's output; the others' lines are the same and are dropped. Each worker has a GPU of its own
    where there are any.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        count: int,
        restarts: int = 0,
        sink: Callable[[str], None] = lambda line: None,
    ):
        self._command, self._count, self._restarts, self._sink = command, count, restarts, sink
        self._gpus = _gpus()
        if 0 < self._gpus < count:
            raise SettingsError(
                f"workers={count} is not accepted: each needs a GPU of its own, there are {self._gpus}; use at most "
                f"{self._gpus}, or hide them all with CUDA_VISIBLE_DEVICES=-1"
            )

    def run(self) -> None:
        """Run to the end.

        Raises Interrupted where a signal has stopped this process or a worker, LostWorkerError after too many losses,
        and DeepTradeError with a worker's own line where it refused or failed.
        """
        for attempt in range(self._restarts + 1):
            with _Attempt(self._command(attempt), self._count, gpus=self._gpus) as workers:
                lost = workers.wait()
            if not lost:
                return
            if attempt < self._restarts:
                left = f"{attempt + 1} of {count_of(self._restarts, 'restart')}"
                self._sink(f"{lost}; all workers start again from the last checkpoint ({left})")
        used = f", also after {count_of(self._restarts, 'restart')}" if self._restarts else ""
        raise LostWorkerError(
            f"{lost}{used}; progress is saved, run again to continue, or give --restarts {self._restarts + 1} or more"
        )


class _Attempt:
    """The processes of one attempt; none of them outlives the block."""

    def __init__(self, command: Sequence[str], count: int, *, gpus: int):
        self._command, self._count, self._gpus = command, count, gpus
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors: list[BinaryIO] = []
        self._files = ExitStack()

    def __enter__(self) -> _Attempt:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(self._count)]
        try:
            for number in range(self._count):
                self._start(number, addresses)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self._files.close()

    def _start(self, number: int, addresses: Sequence[str]) -> None:
        environment = dict(os.environ)
        if self._count > 1:
            task = {"type": "worker", "index": number}
            environment[VARIABLE] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(number)
        self._errors.append(self._files.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 (open for the attempt)
        self._processes.append(
            subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None if number == 0 else subprocess.DEVNULL,
                stderr=self._errors[-1],
                process_group=0,  # Ctrl-C comes from this process alone
            )
        )

    def wait(self) -> str:
        """Wait until all have ended; return why the attempt was lost, '' where all ended well."""
        with self._passing_signals_on() as received:
            codes = self._wait_for_all()
        stopped = [number for number in received if number] or [code - 128 for code in codes if code in _STOPPED]
        if stopped:
            raise Interrupted(stopped[0])
        failed = [number for number, code in enumerate(codes) if code > 0 and code != LostWorkerError.exit_code]
        if failed:
            self._raise(failed[0], codes[failed[0]])
        lost = [number for number, code in enumerate(codes) if code]
        if not lost:
            return ""
        killed = [number for number in lost if codes[number] < 0 and number not in self._killed]
        if not killed and self._killed:
            return f"worker {min(self._killed)} does not answer"
        return f"worker {(killed or lost)[0]} {_ended(codes[(killed or lost)[0]])}"

    def _wait_for_all(self) -> list[int]:
        """Wait; once one has ended badly, the others have END_SECONDS."""
        self._killed: set[int] = set()
        deadline = float("inf")
        while True:
            codes = [process.poll() for process in self._processes]
            running = [number for number, code in enumerate(codes) if code is None]
            if not running:
                return [code for code in codes if code is not None]
            if any(codes):
                deadline = min(deadline, time.monotonic() + END_SECONDS)
            if time.monotonic() > deadline:
                for number in running:
                    self._killed.add(number)
                    self._processes[number].kill()
            time.sleep(_LOOK_SECONDS)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[list[int]]:
        """Send SIGINT and SIGTERM on to all workers, who save and end; gives the signals received."""
        received: list[int] = []

        def pass_on(number: int, frame: Any) -> None:
            received.append(number)
            for process in self._processes:
                if process.poll() is None:
                    process.send_signal(number)

        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield received
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _raise(self, number: int, code: int) -> None:
        """Raise what a worker said last; of a bug of ours all it said."""
        self._errors[number].seek(0)
        lines = self._errors[number].read().decode(errors="replace").strip().splitlines() or [_ended(code)]
        said = lines[-1].partition(": ")[2] if code == DeepTradeError.exit_code else "\n".join(lines)
        if code != DeepTradeError.exit_code:
            raise RuntimeError(f"worker {number} {_ended(code)}:\n{said}")
        raise DeepTradeError(said if self._count == 1 else f"worker {number}: {said}")


def _gpus() -> int:
    """The GPUs that TensorFlow may see; 0 where they are hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "") == "-1"
    return 0 if hidden else len(list(Path("/dev").glob("nvidia[0-9]*")))


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
