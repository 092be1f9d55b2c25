"""A Dask cluster of real processes on loopback: a scheduler, and workers that tests start, stop and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deeptrade.cluster.local_workers import free_ports

_PATIENCE_SECONDS = 120


def run_deeptrade(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, to its end."""
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=240)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deeptrade", *arguments]


def wait_until(happens: Callable[[], object], *, what: str, seconds: float = _PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


@dataclass
class Cluster:
    """A scheduler and its workers, each a process whose log is in `folder`; the workers' working folder is another."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    scheduler: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def __enter__(self) -> Cluster:
        self.scheduler = self._run("scheduler", ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"])
        self._wait_for("scheduler", "Scheduler at")
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                kill(process)

    def add_worker(self, *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        name = f"worker{len(self.workers)}"
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--host", "127.0.0.1"]
        scratch = ["--local-directory", str(self.folder)]
        self.workers.append(
            self._run("worker", [f"127.0.0.1:{self.port}", *options, *scratch], name=name, environment=environment)
        )
        self._wait_for(name, "Starting established connection")
        return self.workers[-1]

    def _run(
        self, kind: str, options: Sequence[str], *, name: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        with open(self._log(name or kind), "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *options],
                cwd=elsewhere,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _wait_for(self, name: str, text: str) -> None:
        wait_until(lambda: text in self._log(name).read_text(errors="replace"), what=f"{text!r} of {name}")


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process at once; what it started ends by itself."""
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def trainings_of(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that a worker has started and that still run."""
    return [child for child in psutil.Process(worker.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
