"""What a run has left so far, read from its folder: finished, still going, or killed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError
from ..evaluation import read_scores
from ..files import friendly_os_errors, is_held, read_json
from ..memory import read_starts, read_timeline

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
"""Entries, and their kinds, by which a file of ours is known from another's of the same name."""


class RunFiles:
    """What a run has left so far; None or empty where it has not come to it.

    Raises DataError for a file that no run has written.
    """

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
    """Return the content of a run's JSON file; None where there is no such file.

    Raises DataError for a file of something else.
    """
    if not path.exists():
        return None
    content = read_json(path)
    for name, kind in _NEEDED[path.name].items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise _foreign(path, f"it has no {name!r} of the kind that a run writes")
    return content


def _foreign(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not of a run: {why}; give the --out of a run")


def _read_history(path: Path) -> pd.DataFrame:
    """The steps that are whole; a last line that a kill has torn is left out."""
    if not path.exists():
        return pd.DataFrame()
    with friendly_os_errors(f"reading {path.name}"):
        text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        return pd.DataFrame()
    try:
        history = pd.read_csv(StringIO(whole))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _foreign(path, " ".join(str(error).split())) from None
    if not {"step", "loss"} <= set(history.columns):
        raise _foreign(path, "it has no columns 'step' and 'loss'")
    return history
