"""The starts of a run: starts.csv has a line per call of `fit` that trained, and says how the previous one ended."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime

from ..files import atomic_write, friendly_os_errors
from ..run_folder import TrainingFolder

KILLED = "killed"


@dataclass(frozen=True)
class RunStart:
    """One call of `fit`: the `time` it began to train (ISO 8601, UTC) and the `step` it continued after.

    `before` says how the previous call ended: completed, failed, interrupted, killed, '' if there was none;
    `repeated_steps` are the steps it had taken since its last checkpoint.
    """

    time: str
    step: int
    before: str
    repeated_steps: int


def note_start(folder: TrainingFolder, *, step: int) -> None:
    """Add a call that continues after `step` to starts.csv, before it truncates history.csv and writes a result."""
    starts = read_run_starts(folder)
    again = bool(starts)
    repeated = folder.count_steps() - step if again else 0
    now = datetime.now(UTC).isoformat(timespec="seconds")
    starts.append(RunStart(now, step, _how_it_ended(folder) if again else "", max(0, repeated)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(RunStart)])
    writer.writerows(astuple(start) for start in starts)
    with atomic_write(folder.starts) as file:
        file.write(text.getvalue().encode())


def read_run_starts(folder: TrainingFolder) -> list[RunStart]:
    """Return the calls of `fit` that trained in a run's folder, oldest first."""
    path = folder.starts
    if not path.exists():
        return []
    with friendly_os_errors("reading starts.csv"), open(path, newline="", encoding="utf-8") as file:
        return [
            RunStart(row["time"], int(row["step"]), row["before"], int(row["repeated_steps"]))
            for row in csv.DictReader(file)
        ]


def _how_it_ended(folder: TrainingFolder) -> str:
    """How the last call ended by its result; one written at the start and never replaced is of a killed call."""
    result = folder.read_result()
    return KILLED if result is None else result.get("ended", KILLED)
