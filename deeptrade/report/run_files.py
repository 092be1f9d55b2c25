"""What a run has left so far, read from its folder: finished, still going, or killed."""

from __future__ import annotations

from pathlib import Path

from ..judging.evaluation import read_scores
from ..memory import read_starts, read_timeline
from ..run_folder import RunFolder


class RunFiles:
    """What a run has left so far; None or empty where it has not come to it."""

    def __init__(self, folder: Path):
        found = RunFolder(folder)
        training = found.training
        self.profile, self.plan, self.run = found.read_profile(), found.read_plan(), found.read_state()
        self.result = training.read_result()
        self.completed = self.result is not None and self.result["status"] == "completed"
        self.running = training.is_running()
        self.samples = read_timeline(training.timeline) if training.timeline.exists() else []
        self.starts = read_starts(training.timeline) if training.timeline.exists() else []
        weights = self.result["weights_sha256"] if self.result is not None and self.completed else ""
        self.scores = read_scores(training.evaluation, weights_sha256=weights)
        self.history = training.read_history()

    @property
    def limit(self) -> tuple[int, str]:
        """Bytes and source of the limit in force at last; (0, "") when no file says."""
        if self.starts:
            return self.starts[-1].limit_bytes, self.starts[-1].limit_source
        memory = (self.result or {}).get("memory", {})
        return memory.get("limit_bytes", 0), memory.get("limit_source", "")
