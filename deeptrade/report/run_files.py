"""What a run has left so far, read from its folder: finished, still going, or killed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import is_held, read_json
from ..judging.evaluation import read_scores
from ..memory import read_starts, read_timeline


class RunFiles:
    """What a run has left so far; None or empty where it has not come to it."""

    def __init__(self, folder: Path):
        train = folder / "train" if (folder / "train").is_dir() else folder
        self.profile = read_if_there(folder / "profile" / "profile.json") or read_if_there(folder / "profile.json")
        self.plan = read_if_there(folder / "optimize" / "plan.json") or read_if_there(folder / "plan.json")
        self.result = read_if_there(train / "result.json")
        self.completed = self.result is not None and self.result["status"] == "completed"
        self.run = read_if_there(folder / "run.json")
        self.running = is_held(train)
        timeline = train / "memory.jsonl"
        self.samples = read_timeline(timeline) if timeline.exists() else []
        self.starts = read_starts(timeline) if timeline.exists() else []
        weights = self.result["weights_sha256"] if self.result is not None and self.completed else ""
        self.scores = read_scores(train / "evaluation.json", weights_sha256=weights)
        self.history = _read_history(train / "history.csv")

    @property
    def limit(self) -> tuple[int, str]:
        """Bytes and source of the limit in force at last; (0, "") when no file says."""
        if self.starts:
            return self.starts[-1].limit_bytes, self.starts[-1].limit_source
        memory = (self.result or {}).get("memory", {})
        return memory.get("limit_bytes", 0), memory.get("limit_source", "")


def read_if_there(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file; None where there is no such file."""
    return read_json(path) if path.exists() else None


def _read_history(path: Path) -> pd.DataFrame:
    """The steps that are whole; a last line that a kill has torn is left out."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    return pd.read_csv(StringIO(whole)) if whole else pd.DataFrame()
