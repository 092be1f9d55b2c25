"""Several runs side by side, as numbers; each function takes the runs of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...training.validation_errors import gain_from


@dataclass(frozen=True)
class RunSummary:
    """One run in a comparison; fields are None where the run has not reached them.

    `error` is the mean over horizons of the validation MAE divided by the zero forecast's; below 1 is better than zero.
    `judged_on` tells the validation rows from others.
    Peak and limit are bytes; `rows_per_second` covers training steps, without saving and validating; `timeline` holds
    (seconds, anonymous bytes) of some samples of the last start, in order, and `losses` (rows trained, running median
    of the training loss) of evenly spaced steps.
    """

    name: str
    status: str
    settings: dict[str, Any]
    error: float | None = None
    horizons_beaten: int | None = None
    horizons: int | None = None
    judged_on: str = ""
    steps: int | None = None
    peak_anon_bytes: int | None = None
    limit_bytes: int | None = None
    rows_per_second: float | None = None
    wall_seconds: float | None = None
    weights_sha256: str = ""
    timeline: tuple[tuple[float, int], ...] = ()
    losses: tuple[tuple[int, float], ...] = ()


def validated(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs whose validation error is known."""
    return [run for run in runs if run.error is not None]


def most_accurate(runs: Sequence[RunSummary]) -> RunSummary | None:
    """Return the run with the lowest validation error, the first of several; None where no run was validated."""
    return min(validated(runs), key=lambda run: run.error or 0.0, default=None)


def gain_over_zero(run: RunSummary) -> float:
    """Return how far a run's error is below the zero forecast's, as a share of it; 0 where not known."""
    return gain_from(1.0 if run.error is None else run.error)


def with_rate(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs whose rate and peak are both known."""
    return [run for run in runs if run.rows_per_second and run.peak_anon_bytes]


def fastest(runs: Sequence[RunSummary]) -> RunSummary:
    """Return the run with the highest rate; there must be one."""
    return max(runs, key=lambda run: run.rows_per_second or 0.0)


def lowest_limit(runs: Sequence[RunSummary]) -> int:
    """Return the lowest limit among runs in bytes; there must be one."""
    return min(run.limit_bytes or 0 for run in runs)


def final_loss(run: RunSummary) -> float:
    """Return the mean of the last third of a run's smoothed training losses, in standard deviations of the target."""
    return float(np.mean([loss for _, loss in run.losses[-max(1, len(run.losses) // 3) :]]))


def peak_bytes(run: RunSummary) -> int:
    """Return a run's peak of anonymous memory: as its result says, else the highest of its timeline, else 0."""
    return run.peak_anon_bytes or max((anon for _, anon in run.timeline), default=0)
