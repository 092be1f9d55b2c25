"""One short training run in a child process under a hard memory limit, to measure the peak and speed of settings."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import read_json
from ..memory.timeline import phase_table, read_timeline
from ..run_folder import TrainingFolder, read_column
from ..settings import FitSettings
from .children import module_command
from .plan import Trial
from .rules import batch_settings

TRIAL_STEPS, TRIAL_PASSES = 6, 4
"""Optimizer steps of a trial, and most passes in each: more passes hold no more memory and are no faster."""

TRIAL_SECONDS = 900
_LEAST_ROWS, _TRIAL_VALIDATION, _VALIDATED_ROWS = 300, 0.3, 32
"""Least rows of a trial, the share of them that is validated, and how many of that share are left after the purge."""


def run_trial(
    settings: FitSettings,
    *,
    open_rows: int,
    predicted_peak_bytes: int,
    folder: Path,
    room_bytes: int = 0,
    command: Sequence[str] = tuple(module_command("deeptrade.commands.limited_fit")),
    timeout_seconds: float = TRIAL_SECONDS,
) -> Trial:
    """Train for a few steps on the first rows in a child process and return what it measured.

    `open_rows` is how many rows a horizon holds: so many are purged on each side of the split.

    The child may hold `room_bytes` of anonymous memory (0: as much as the system allows). If it is killed or fails, the
    trial has its exit code: negative for a signal, LACKED_MEMORY if it ran out of memory. Its files go to a temporary
    folder inside `folder`, which is removed at the end.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=folder) as out:
        arguments = [*command, str(room_bytes), *trial_arguments(settings, out=out, open_rows=open_rows)]
        exit_code, message = _run(arguments, timeout_seconds)
        measured = _measure(TrainingFolder(Path(out)), passes=_passes(settings)) if exit_code == 0 else {}
    return Trial(
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        predicted_peak_bytes=predicted_peak_bytes,
        measured_peak_bytes=measured.get("peak"),
        seconds=round(time.perf_counter() - started, 3),
        rows_per_second=measured.get("rate"),
        exit_code=exit_code,
        message=message,
        baseline_anon_bytes=measured.get("baseline"),
        prefetch=settings.prefetch,
        wait_share=measured.get("wait_share"),
    )


def remove_trials(folder: Path) -> None:
    """Remove the files that killed trials left in a folder."""
    for leftover in folder.glob(".trial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def trial_arguments(settings: FitSettings, *, out: str, open_rows: int) -> list[str]:
    """Return the command line of a trial: the same settings with fewer rows and steps, written to `out`."""
    passes = _passes(settings)
    train_rows = TRIAL_STEPS * settings.batch_size * passes + 2 * open_rows
    parts = train_rows / (1 - _TRIAL_VALIDATION), (open_rows + _VALIDATED_ROWS) / _TRIAL_VALIDATION
    rows = max(_LEAST_ROWS, math.ceil(max(parts)) + 1)
    changed: dict[str, Any] = {
        "out": out,
        "plan": "",
        "max_steps": TRIAL_STEPS,
        "epochs": 1,
        "skip_rl": True,
        "no_adapt": True,
        "val_ratio": _TRIAL_VALIDATION,
        "embargo": "",
        "markets": "",
        "inner_ratio": 0.0,
        "validation_period": "",
        "training_period": "",
        "warm_start": "",
        "early_stop_patience": 0,
    }
    changed |= batch_settings(settings.batch_size, passes)
    changed["max_rows"] = min(rows, settings.max_rows) if settings.max_rows else rows
    return replace(settings, **changed).as_arguments()


def _run(arguments: list[str], timeout_seconds: float) -> tuple[int, str]:
    """Run the child; return its exit code and, if that is not 0, the last line it wrote."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return -9, f"stopped after the limit of {timeout_seconds:g} s"
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode < 0:
        return done.returncode, f"ended by signal {-done.returncode}"
    return done.returncode, lines[-1].strip() if done.returncode and lines else ""


def _passes(settings: FitSettings) -> int:
    return min(settings.steps_per_update, TRIAL_PASSES)


def _measure(folder: TrainingFolder, *, passes: int) -> dict[str, Any]:
    """The peak, the speed and the bytes before the model was built, from the files of a completed run."""
    try:
        result = read_json(folder.result)
        later, waits = (  # without the first step, which includes tracing
            read_column(folder.timing, name)[1:] for name in ("step_seconds", "data_wait_seconds")
        )
        phases = {row.phase: row for row in phase_table(read_timeline(folder.timeline))}
    except (DataError, OSError):  # the child reported success but left no result: the trial has no measurement
        return {}
    return {
        "peak": result["memory"]["peak_anon_bytes"],
        "rate": round(result["batch_size"] * passes / float(np.median(later)), 3) if len(later) else None,
        "wait_share": round(float(waits.sum() / later.sum()), 4) if len(later) else None,
        "baseline": phases["build"].before if "build" in phases else None,
    }
