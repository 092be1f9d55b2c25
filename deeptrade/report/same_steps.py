"""Check that runs which should take the same steps did: how a step is split into passes must not matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..settings import MATHS
from ..units import count_of
from .run_files import RunFiles


@dataclass(frozen=True)
class SameSteps:
    """Two runs on the same data whose settings differ only where that does not change the weights.

    `largest_difference` is that of their training losses (Huber, in standard deviations of the target) over the `steps`
    that both have.
    """

    first: str
    second: str
    steps: int
    largest_difference: float

    @property
    def verdict(self) -> str:
        """Return one sentence on how far the losses differ."""
        differ = f"differ by at most {self.largest_difference:.1e}" if self.largest_difference else "are equal"
        return (
            f"{self.first} and {self.second} should take the same steps, however these are split into passes: over "
            f"{count_of(self.steps, 'step')}, their losses {differ}."
        )


def find_same_steps(runs: Mapping[str, RunFiles]) -> list[SameSteps]:
    """Return the pairs of runs, by name, that should take the same steps, each with the first of its group."""
    groups: dict[str, list[str]] = {}
    for name, found in runs.items():
        if found.result and len(found.history):
            groups.setdefault(_group_key(found.result), []).append(name)
    return [pair for names in groups.values() for pair in _pairs(names, runs)]


def _group_key(result: Mapping[str, Any]) -> str:
    settings = {**result["settings"], "effective_batch": result["effective_batch"]}
    return str([result["data_id"], *(settings.get(name) for name in MATHS)])


def _pairs(names: Sequence[str], runs: Mapping[str, RunFiles]) -> Iterator[SameSteps]:
    losses = {name: runs[name].history.set_index("step")["loss"].astype(float) for name in names}
    for name in names[1:]:
        difference = (losses[names[0]] - losses[name]).abs().dropna()
        if len(difference):
            yield SameSteps(names[0], name, len(difference), float(np.max(difference)))
