"""Several runs side by side, as numbers; each function takes the runs of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...training.validation_errors import gain_from
from ...units import count_of


@dataclass(frozen=True)
class RunSummary:
    """One run in a comparison; fields are None where the run has not reached them.

    `error` is the mean over horizons of the validation MAE divided by the zero forecast's; below 1 is better than zero.
    `rank_ic` is the mean over horizons of the evaluation's. `judged_on` tells the validation rows from others.
    Peak and limit are bytes; `rows_per_second` covers training steps, without saving and validating; `timeline` holds
    (seconds, anonymous bytes) of some samples of the last start, in order, and `losses` (rows trained, running median
    of the training loss) of evenly spaced steps.
    """

    name: str
    status: str
    settings: dict[str, Any]
    error: float | None = None
    rank_ic: float | None = None
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


@dataclass(frozen=True)
class Spread:
    """The mean over runs of a number, and its standard deviation, None for a single run."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class SettingSummary:
    """Runs that differ in their seed alone, one of each seed, as one line; other runs are lines of their own.

    `name` is that of the run, or says what tells these runs from others; `runs` are their names. `error` and `rank_ic`
    as in RunSummary; `rank_ic` is None where a run has not been judged.
    """

    name: str
    runs: list[str]
    seeds: list[Any]
    error: Spread
    rank_ic: Spread | None


def settings_of(runs: Sequence[RunSummary], differing: Sequence[str]) -> list[SettingSummary]:
    """Return the validated runs by setting, in order; `differing` are the settings that differ between runs.

    Runs of one setting have the same data, the same validation rows, and other seeds. A run of a seed that was there
    before is the same run once more, and left out where there are several seeds.
    """
    groups: dict[str, list[RunSummary]] = {}
    for run in validated(runs):
        groups.setdefault(_without_seed(run), []).append(run)
    found: list[SettingSummary] = []
    for group in groups.values():
        by_seed = {str(run.settings.get("seed")): run for run in reversed(group)}
        if len(by_seed) == 1:
            found += [_setting(run.name, [run]) for run in group]
            continue
        chosen = [run for run in group if by_seed[str(run.settings.get("seed"))] is run]
        told = ", ".join(f"{name}={group[0].settings.get(name)}" for name in differing if name != "seed")
        mean = f"mean of {count_of(len(chosen), 'seed')}"
        name = f"{told} ({mean})" if told else mean
        is_taken = name in {one.name for one in found} | {run.name for run in runs}
        found.append(_setting(f"{name}, as {chosen[0].name}" if is_taken else name, chosen))
    return found


def _without_seed(run: RunSummary) -> str:
    settings = {name: value for name, value in run.settings.items() if name != "seed"}
    return str([run.judged_on, sorted(settings.items())])


def _setting(name: str, runs: Sequence[RunSummary]) -> SettingSummary:
    skills = [run.rank_ic for run in runs if run.rank_ic is not None]
    return SettingSummary(
        name,
        [run.name for run in runs],
        [run.settings.get("seed") for run in runs],
        _spread([run.error or 0.0 for run in runs]),
        _spread(skills) if len(skills) == len(runs) else None,
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def most_accurate(settings: Sequence[SettingSummary]) -> SettingSummary | None:
    """Return the setting with the lowest mean validation error, the first of several; None where there is none."""
    return min(settings, key=lambda one: one.error.mean, default=None)


def beside_zero(error: float) -> str:
    """Return in words where an error relative to the zero forecast's lies beside it, such as '1.2% below'."""
    gain = gain_from(error)
    return f"{abs(gain):.1%} {'below' if gain > 0 else 'above'} the zero forecast's"


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
