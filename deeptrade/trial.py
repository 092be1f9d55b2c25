"""One short training run in a child process, to measure what a setting really holds."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import read_json
from .settings import FitSettings

TRIAL_STEPS = 3
TRIAL_SECONDS = 900
_LEAST_ROWS = 300


@dataclass(frozen=True)
class Trial:
    """What one short run measured; null where it did not get that far. `message` is its last line when it failed.

    `seconds` is the whole child process, start-up included; `rows_per_second` that of the median optimizer step.
    """

    batch_size: int
    accum_steps: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    seconds: float
    rows_per_second: float | None
    exit_code: int
    message: str = ""

    @property
    def lacked_memory(self) -> bool:
        """Whether it failed in a way that a smaller batch may cure: killed, or refused or ended for lack of memory."""
        words = ("may be used", "MemoryError", "ResourceExhausted", "OOM", "bad_alloc")
        return self.exit_code < 0 or any(word in self.message for word in words)


def run_trial(
    settings: FitSettings,
    *,
    horizons: int,
    predicted_peak_bytes: int,
    folder: Path,
    command: Sequence[str] = (sys.executable, "-m", "deeptrade"),
) -> Trial:
    """Train three steps on the first rows in a child process and return what it measured.

    A child that is killed or fails gives a trial with its exit code, negative for a signal. What it writes goes
    to a temporary folder inside `folder`, removed in the end.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=folder) as out:
        arguments = [*command, *trial_arguments(settings, out=out, horizons=horizons)]
        exit_code, message = _run(arguments)
        result = _read_result(Path(out) / "result.json") if exit_code == 0 else {}
    step_seconds = result.get("time", {}).get("step_seconds_median")
    return Trial(
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        predicted_peak_bytes=predicted_peak_bytes,
        measured_peak_bytes=result.get("memory", {}).get("peak_anon_bytes"),
        seconds=round(time.perf_counter() - started, 3),
        rows_per_second=round(settings.effective_batch / step_seconds, 3) if step_seconds else None,
        exit_code=exit_code,
        message=message,
    )


def remove_trials(folder: Path) -> None:
    """Remove what trials that were killed have left in a folder."""
    for leftover in folder.glob(".trial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def trial_arguments(settings: FitSettings, *, out: str, horizons: int) -> list[str]:
    """Return the command line of a trial: the settings as they are, fewer rows and steps, written to `out`."""
    train_rows = TRIAL_STEPS * settings.effective_batch + 2 * horizons
    rows = max(_LEAST_ROWS, math.ceil(train_rows / (1 - settings.val_ratio)) + 1)
    changed: dict[str, Any] = {"out": out, "max_steps": TRIAL_STEPS, "epochs": 1, "skip_rl": True}
    changed["max_rows"] = min(rows, settings.max_rows) if settings.max_rows else rows
    arguments = ["fit"]
    for item in fields(FitSettings):
        value = changed.get(item.name, getattr(settings, item.name))
        if value is True:
            arguments.append(f"--{item.name}")
        elif value is not False and value != "":
            arguments.append(f"--{item.name}={value}")
    return arguments


def _run(arguments: list[str]) -> tuple[int, str]:
    """Return the exit code and, when it is not 0, the last line the child wrote."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        return -9, f"took longer than {TRIAL_SECONDS} s and was stopped"
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode < 0:
        return done.returncode, f"ended by signal {-done.returncode}"
    return done.returncode, lines[-1] if done.returncode and lines else ""


def _read_result(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = read_json(path)
    except DataError:  # the child said it was done and left no result: the trial has no measurement
        return {}
    return result
