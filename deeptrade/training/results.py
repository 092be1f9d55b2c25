"""The files of a run: history and timing row by row, the ledger, and result.json."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import atomic_write, friendly_os_errors, sync_folder

if TYPE_CHECKING:  # importing it would import TensorFlow
    from .loop import StepRecord

HISTORY_COLUMNS = ("step", "epoch", "samples", "loss", "gradient_norm", "learning_rate", "valid_targets", "applied")
TIMING_COLUMNS = ("step", "step_seconds", "data_wait_seconds")
RUN_FILES = (
    "evaluation.json",
    "result.json",
    "history.csv",
    "starts.csv",
    "timing.csv",
    "memory.jsonl",
    "ledger.csv",
    "ledger.refused.csv",
    "model.keras",
)
RUN_FOLDERS = ("checkpoints", "logs")
_UNFINISHED_MODEL = ".model.tmp.keras"  # Keras insists on the ending
LATEST_STEPS = 100
"""Steps that the training loss of a result is averaged over."""


class StepTable:
    """A CSV with one row per optimizer step, appended as they come; rows after `kept_steps` are cut at the start.

    history.csv holds what is equal in every run of the same data and settings, timing.csv what is not.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, kept_steps: int):
        self._path, self._columns = path, columns
        self._open(kept_steps)

    def cut(self, kept_steps: int) -> None:
        """Drop the rows after `kept_steps`: the run goes back there."""
        self.close()
        self._open(kept_steps)

    def _open(self, kept_steps: int) -> None:
        lines = [",".join(self._columns) + "\n"]
        if kept_steps and self._path.exists():
            with friendly_os_errors(f"reading {self._path.name}"), open(self._path, encoding="utf-8") as old:
                lines = list(old)[: kept_steps + 1]
        with atomic_write(self._path) as file:
            file.write("".join(lines).encode())
        with friendly_os_errors(f"writing {self._path.name}"):
            self._file = open(self._path, "a", newline="", encoding="utf-8")  # noqa: SIM115 (open as long as the run)
        self._writer = csv.writer(self._file, lineterminator="\n")

    def append(self, record: StepRecord) -> None:
        """Write one row; it survives a kill of the process."""
        with friendly_os_errors(f"writing {Path(self._file.name).name}"):
            self._writer.writerow([getattr(record, name) for name in self._columns])
            self._file.flush()

    def sync(self) -> None:
        """Bring all rows to disk, so that a checkpoint never stands without its history."""
        with friendly_os_errors(f"writing {Path(self._file.name).name}"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_column(path: Path, column: str) -> np.ndarray:
    """Return one column of a step table as float64 (steps,); a last line that was cut off is left out."""
    with friendly_os_errors(f"reading {path.name}"), open(path, newline="", encoding="utf-8") as file:
        whole = (line for line in file if line.endswith("\n"))
        return np.array([_number(row[column]) for row in csv.DictReader(whole)])


def count_steps(history: Path) -> int:
    """Return how many whole rows a step table has; 0 where there is none."""
    return len(read_column(history, "step")) if history.exists() else 0


def _number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)


def latest_loss(history: Path) -> float | None:
    """Return the mean loss per target over the last 100 steps that counted; None when there is none."""
    counted = [read_column(history, name)[-LATEST_STEPS:] for name in ("loss", "valid_targets", "applied")]
    loss, targets, applied = (column[counted[2] > 0] for column in counted)
    return float(np.average(loss, weights=targets)) if applied.any() else None


def save_model(model: Any, path: Path) -> None:
    """Save a Keras model; the file is whole and on disk before it has its name."""
    temporary = path.with_name(_UNFINISHED_MODEL)
    with friendly_os_errors(f"writing {path.name}"):
        model.save(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


def remove_leftovers(out: Path) -> None:
    """Remove unfinished files that a kill has left in a run's folders."""
    with friendly_os_errors(f"removing unfinished files in {out}"):
        (out / _UNFINISHED_MODEL).unlink(missing_ok=True)
        for folder in (out, *(out / name for name in RUN_FOLDERS)):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)


def weights_sha256(variables: Sequence[Any]) -> str:
    """Return the SHA-256 over the little-endian float32 bytes of all variables, in path order."""
    digest = hashlib.sha256()
    for variable in sorted(variables, key=lambda variable: variable.path):
        digest.update(np.ascontiguousarray(variable.numpy(), "<f4").tobytes())
    return digest.hexdigest()
