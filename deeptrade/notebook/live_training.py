"""A short training run to watch: in its own process, so that whoever asked for it holds nothing and can stop it."""

from __future__ import annotations

import atexit
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..planning.children import module_command
from ..report.run_files import RunFiles
from ..settings import FitSettings

_STATES = {None: "running", 0: "completed", 143: "stopped", -signal.SIGTERM: "stopped"}
"""By exit code: 143 is a run that saved its progress; one that had not started yet is ended by the signal itself."""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training run is: `state` is running, completed, stopped or failed, `line` its latest message.

    `history` has one row per optimizer step and the columns of history.csv; `anon_bytes` is the process's anonymous
    memory at its latest sample, 0 before the first.
    """

    state: str
    line: str
    history: pd.DataFrame
    anon_bytes: int


class LiveTraining:
    """`deeptrade fit` in its own process, writing to a temporary folder that goes with this object."""

    def __init__(self, settings: FitSettings):
        self._folder = tempfile.TemporaryDirectory(prefix="deeptrade-live-")
        folder = Path(self._folder.name)
        self._out, self._log = folder / "train", folder / "log.txt"
        settings = replace(settings, out=str(self._out), epochs=max(settings.epochs, settings.max_steps), skip_rl=True)
        command = [*module_command("deeptrade"), *settings.as_arguments(settings.changed)]
        with open(self._log, "wb") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        atexit.register(self.stop)

    def progress(self) -> TrainingProgress:
        """Return how far the run is now."""
        code = self._child.poll()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        found = RunFiles(self._out)
        anon_bytes = found.samples[-1].anon_bytes if found.samples else 0
        return TrainingProgress(_STATES.get(code, "failed"), lines[-1] if lines else "", found.history, anon_bytes)

    def stop(self) -> None:
        """Ask the run to save and stop; does nothing where it has ended."""
        if self._child.poll() is None:
            self._child.terminate()
        atexit.unregister(self.stop)

    def wait(self) -> TrainingProgress:
        """Wait for the run to end and return its progress."""
        self._child.wait()
        atexit.unregister(self.stop)
        return self.progress()
