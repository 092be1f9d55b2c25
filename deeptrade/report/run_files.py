"""Read what a run has written so far, whether it has finished, is running, or was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..judging.evaluation import read_evaluation
from ..memory import read_starts, read_timeline
from ..run_folder import RunFolder, foreign_file
from ..training.judged import Judged

_NEEDED: dict[str, dict[str, type]] = {
    "profile.json": {"name": str, "rows": dict, "features": list, "targets": list, "span": dict, "file_bytes": int},
    "plan.json": {"model_size": str, "batch_size": int, "predicted_peak_bytes": int, "limit_bytes": int},
    "result.json": {
        "status": str,
        "rows": dict,
        "steps": int,
        "batch_size": int,
        "validation": dict,
        "memory": dict,
        "time": dict,
        "warnings": list,
        "settings": dict,
        "versions": dict,
    },
    "run.json": {"notebooks": dict},
}
"""Entries and their types that tell our files from others of the same name."""


class RunFiles:
    """The files that a run has written so far; None or empty for those it has not reached.

    Raises DataError for a file that no run has written.
    """

    def __init__(self, folder: Path):
        found = RunFolder(folder)
        training = found.training
        self.profile = _checked(found.profile, found.read_profile())
        self.plan = _checked(found.plan, found.read_plan())
        self.run = _checked(found.state, found.read_state())
        self.result = _checked(training.result, training.read_result())
        self.completed = self.result is not None and self.result["status"] == "completed"
        self.running = training.is_running()
        self.samples = read_timeline(training.timeline) if training.timeline.exists() else []
        self.starts = read_starts(training.timeline) if training.timeline.exists() else []
        weights = self.result["weights_sha256"] if self.result is not None and self.completed else ""
        self.judged = read_evaluation(training.evaluation, weights_sha256=weights)
        self.agent = training.agent.read_current(weights)
        self.history, self._forecasts = training.read_history(), training.forecasts

    def read_judged(self) -> Judged | None:
        """Return the forecasts that were judged, None where the run, with its present weights, has not been."""
        return Judged.read(self._forecasts) if self.judged.verdict is not None and self._forecasts.exists() else None

    @property
    def limit(self) -> tuple[int, str]:
        """Return bytes and source of the limit of the last start; (0, "") where no file has it."""
        if self.starts:
            return self.starts[-1].limit_bytes, self.starts[-1].limit_source
        memory = (self.result or {}).get("memory", {})
        return memory.get("limit_bytes", 0), memory.get("limit_source", "")


def _checked(path: Path, content: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the content of a file; raise DataError where it lacks what a run writes."""
    for entry, kind in _NEEDED[path.name].items() if content is not None else ():
        if not isinstance((content or {}).get(entry), kind):
            raise foreign_file(path, f"it has no {entry!r} of type {kind.__name__}")
    return content
