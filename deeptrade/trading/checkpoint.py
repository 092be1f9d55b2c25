"""Checkpoints of an agent's learning, in the format of those of a training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..training.checkpoints import Checkpoints
from .choice import Candidates
from .learner import Learner


class _Table:
    """An array that is saved beside variables and restored in place."""

    def __init__(self, path: str, table: np.ndarray):
        self.path, self._table, self.shape, self.dtype = path, table, table.shape, table.dtype

    def numpy(self) -> np.ndarray:
        return self._table

    def assign(self, values: np.ndarray) -> None:
        self._table[...] = values


class AgentCheckpoints:
    """What is learned and found so far, by epoch; only that of the same `identity` is taken up again.

    candidates: None where none are chosen from.
    """

    def __init__(self, folder: Path, learner: Learner, candidates: Candidates | None, identity: Mapping[str, Any]):
        self._folder, self._checkpoints, self._identity = folder, Checkpoints(folder), dict(identity)
        arrays = candidates.arrays if candidates else {}
        tables = [_Table(f"candidates/{name}", table) for name, table in arrays.items()]
        self._all: list[Any] = [*learner.variables, *tables]

    def save(self, epoch: int) -> None:
        """Save after `epoch` epochs."""
        self._checkpoints.save(epoch, self._all, {"epoch": epoch, "identity": self._identity})

    def restore(self) -> int:
        """Take up the newest and return how many epochs are done; those of another identity are removed."""
        state = self._checkpoints.read_state()
        if state is None or state["identity"] != self._identity:
            shutil.rmtree(self._folder, ignore_errors=True)
            return 0
        found = self._checkpoints.restore(self._all)
        return 0 if found is None else int(found["epoch"])
