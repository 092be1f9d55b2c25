"""A short training to look on at: a process of its own, so that what asked for it holds nothing and can stop it."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .errors import SettingsError
from .report.run_files import RunFiles
from .settings import MODEL_SIZES

STOPPED = 143
"""Exit code of a training that saved its progress and left when it was asked to."""

_STATES = {None: "running", 0: "completed", STOPPED: "stopped", -15: "stopped"}


@dataclass(frozen=True)
class Progress:
    """How far a training is: `state` is running, completed, stopped or failed, `line` what it said last.

    `history` has one row per optimizer step and the columns of history.csv; `anon_bytes` is the process's anonymous
    memory at its latest sample, 0 before the first.
    """

    state: str
    line: str
    history: pd.DataFrame
    anon_bytes: int


class LiveTraining:
    """`deeptrade fit` for some steps into a folder that is gone with this object.

    Raises SettingsError for a model size that is not there and for less than one step.
    """

    def __init__(
        self,
        csv: str | Path,
        *,
        model_size: str = "small",
        max_steps: int = 50,
        options: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "deeptrade"),
    ):
        if model_size not in MODEL_SIZES:
            raise SettingsError(f"model_size={model_size!r} is not accepted; use one of {', '.join(MODEL_SIZES)}")
        if max_steps < 1:
            raise SettingsError(f"max_steps={max_steps} is not accepted; use 1 or more")
        self._folder = tempfile.TemporaryDirectory(prefix="deeptrade-live-")
        folder = Path(self._folder.name)
        self._out, self._log = folder / "train", folder / "log.txt"
        chosen = [f"--csv={csv}", f"--out={self._out}", f"--model_size={model_size}", f"--max_steps={max_steps}"]
        with open(self._log, "wb") as log:
            self._child = subprocess.Popen(
                [*command, "fit", *chosen, f"--epochs={max_steps}", "--skip_rl", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        atexit.register(self.stop)

    def progress(self) -> Progress:
        """Return how far the training is now."""
        code = self._child.poll()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        found = RunFiles(self._out)
        anon_bytes = found.samples[-1].anon_bytes if found.samples else 0
        return Progress(_STATES.get(code, "failed"), lines[-1] if lines else "", found.history, anon_bytes)

    def stop(self) -> None:
        """Ask the training to save and leave; nothing happens when it has ended."""
        if self._child.poll() is None:
            self._child.terminate()
        atexit.unregister(self.stop)

    def wait(self) -> Progress:
        """Return the progress once the training has ended."""
        self._child.wait()
        atexit.unregister(self.stop)
        return self.progress()
