"""Tables of steps: history.csv and timing.csv, which gain a row with every optimizer step."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_write, friendly_os_errors

if TYPE_CHECKING:  # importing it would import TensorFlow
    from .loop import StepRecord

HISTORY_COLUMNS = ("step", "epoch", "samples", "loss", "gradient_norm", "learning_rate", "valid_targets", "applied")
TIMING_COLUMNS = ("step", "step_seconds", "data_wait_seconds")


class StepTable:
    """A CSV with one row per optimizer step, appended as it ends; on opening, rows after `kept_steps` are dropped.

    history.csv holds what is the same in every run with the same data and settings, timing.csv what is not.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, kept_steps: int):
        self._path, self._columns = path, columns
        self._open(kept_steps)

    def cut(self, kept_steps: int) -> None:
        """Drop the rows after `kept_steps`, for a rollback."""
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
        """Write one row; it survives if the process is killed."""
        with friendly_os_errors(f"writing {Path(self._file.name).name}"):
            self._writer.writerow([getattr(record, name) for name in self._columns])
            self._file.flush()

    def sync(self) -> None:
        """Flush all rows to disk, so that a checkpoint never lacks its history."""
        with friendly_os_errors(f"writing {Path(self._file.name).name}"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
