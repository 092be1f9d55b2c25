"""Settings chosen by trials: first the batch size, then how far to read ahead if training waited for data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import DataError, DoesNotFitError
from ..progress import Progress
from ..settings import FitSettings
from ..units import format_bytes
from .plan import Trial
from .rules import Decision
from .search import MOST_TRIALS, SEARCH_SECONDS, WORTH, choose, search
from .situation import Situation
from .trial import run_trial

MOST_WAIT, FURTHER_AHEAD = 0.02, 8
"""If a trial spends more than this share of its time waiting for data, this many batches read ahead are tried."""


@dataclass
class TrialChoice:
    """What the trials chose, with the reasons and every trial in the order it ran."""

    settings: FitSettings
    trials: list[Trial] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def chosen(self) -> Trial:
        """The trial with the chosen settings."""
        wanted = self.settings.batch_size, self.settings.prefetch
        return next(trial for trial in self.trials if (trial.batch_size, trial.prefetch) == wanted)


def choose_by_trials(
    situation: Situation,
    settings: FitSettings,
    *,
    folder: Path,
    sink: Callable[[str], None],
    progress: str = "silent",
) -> TrialChoice:
    """Return the fastest settings that fit, found by short trials, each in a process with the memory limit of a run.

    progress: the face that counts the trials, of MOST_TRIALS at most.

    Raises DataError if a trial fails for another reason than lack of memory, DoesNotFitError if none fits.
    """
    began = time.monotonic()
    measured = TrialChoice(settings)
    bar = Progress(MOST_TRIALS, face=progress, what="trials of settings", unit="trial")

    def run(candidate: FitSettings) -> Trial:
        trial = _run(situation, candidate, folder=folder)
        sink(_trial_line(trial))
        bar.update(len(measured.trials) + 1, _trial_line(trial).removeprefix("trial of "))
        return trial

    def attempt(candidate: FitSettings) -> Trial:
        trial = run(candidate)
        if trial.exit_code and not trial.lacked_memory:
            raise DataError(f"a trial run failed: {trial.message}")
        measured.trials.append(trial)
        return trial

    def is_good(trial: Trial) -> bool:
        peak = trial.measured_peak_bytes
        return trial.exit_code == 0 and (peak is None or situation.leaves_headroom(peak))

    def try_batch(size: int) -> Trial:
        return attempt(situation.with_batch(settings, size))

    search(situation.sizes(settings), try_batch, is_good=is_good)
    good = [trial for trial in measured.trials if is_good(trial)]
    if not good:
        raise DoesNotFitError(_none_fitted(situation, settings, measured.trials))
    best = choose(good)
    measured.settings = situation.with_batch(settings, best.batch_size)
    measured.decisions.append(_decide_batch(situation, measured.settings, measured.trials, good))
    if not situation.is_stored or best.wait_share is None:
        why = (
            "no trial measured the wait for data" if situation.is_stored else "trials read text, training reads a store"
        )
        measured.decisions.append(plain_prefetch(settings, why))
        return measured
    further: Trial | None = None
    has_time = len(measured.trials) < MOST_TRIALS and time.monotonic() - began < SEARCH_SECONDS
    if best.wait_share > MOST_WAIT and settings.prefetch < FURTHER_AHEAD and has_time:
        candidate = replace(measured.settings, prefetch=FURTHER_AHEAD)
        further = run(candidate)
        measured.trials.append(further)
        if is_good(further) and (further.rows_per_second or 0.0) >= (1 + WORTH) * (best.rows_per_second or 0.0):
            measured.settings = candidate
    why = _why_prefetch(best, further, is_good=further is not None and is_good(further))
    waited = f"the trial waited {best.wait_share:.1%} of its time for data"
    measured.decisions.append(Decision(waited, f"prefetch {measured.settings.prefetch}", why, _OVERRIDE_PREFETCH))
    return measured


_OVERRIDE_PREFETCH = "give --prefetch to choose it yourself"


def plain_prefetch(settings: FitSettings, found: str) -> Decision:
    """Return the decision on reading ahead that needs no trial."""
    why = "batches are read while the previous one is trained on"
    return Decision(found, f"prefetch {settings.prefetch}", why, _OVERRIDE_PREFETCH)


def _run(situation: Situation, settings: FitSettings, *, folder: Path) -> Trial:
    return run_trial(
        settings,
        open_rows=situation.schema.horizons * situation.markets,
        predicted_peak_bytes=situation.peak(settings),
        folder=folder,
        room_bytes=situation.room_bytes,
    )


def _none_fitted(situation: Situation, settings: FitSettings, trials: Sequence[Trial]) -> str:
    tried = ", ".join(str(trial.batch_size) for trial in trials)
    return (
        f"trials of model_size={settings.model_size!r} with batch_size {tried} did not fit into "
        f"{format_bytes(situation.room_bytes)} with a tenth to spare; use a smaller --model_size, or raise the limit"
    )


def _trial_line(trial: Trial) -> str:
    name = f"trial of batch_size {trial.batch_size} with accum_steps {trial.accum_steps}, prefetch {trial.prefetch}"
    if trial.exit_code or trial.measured_peak_bytes is None:
        return f"{name}: failed with exit code {trial.exit_code} after {trial.seconds:.0f} s; {trial.message}"
    speed = f", {trial.rows_per_second:.1f} rows/s" if trial.rows_per_second else ""
    return (
        f"{name}: peak {format_bytes(trial.measured_peak_bytes)}, predicted "
        f"{format_bytes(trial.predicted_peak_bytes)}{speed}"
    )


def _decide_batch(
    situation: Situation, settings: FitSettings, trials: Sequence[Trial], good: Sequence[Trial]
) -> Decision:
    rates = ", ".join(
        f"{trial.batch_size} ({_outcome(trial, trial in good)})"
        for trial in sorted(trials, key=lambda trial: trial.batch_size)
    )
    why = f"it is the smallest size within {WORTH:.0%} of the fastest that leaves a tenth of the room free"
    return situation.decide_batch(settings, why, found=f"; trials of batch_size {rates}")


def _outcome(trial: Trial, is_good: bool) -> str:
    if not is_good:
        return "not enough memory" if trial.lacked_memory or not trial.exit_code else f"failed: {trial.message}"
    return f"{trial.rows_per_second:.0f} rows/s" if trial.rows_per_second else "no rate measured"


def _why_prefetch(best: Trial, further: Trial | None, *, is_good: bool) -> str:
    if further is not None:
        rate = f"{best.rows_per_second:.0f} rows/s" if best.rows_per_second else "no rate"
        outcome = _outcome(further, is_good)
        return f"trials compared prefetch {best.prefetch} ({rate}) with prefetch {further.prefetch} ({outcome})"
    if (best.wait_share or 0.0) <= MOST_WAIT:
        return f"below {MOST_WAIT:.0%}, reading further ahead gains nothing"
    return "it is enough already, or no trial was left to try reading further ahead"


def measured_terms(trials: Sequence[Trial], chosen: Trial) -> dict[str, int]:
    """Return the measured parts of the chosen trial's peak: the process before the model is built, the model, the rows.

    The share of the rows is the slope of the peak over the batch size, by least squares; {} if all trials had the same
    batch size.
    """
    known = [(trial.batch_size, trial.measured_peak_bytes) for trial in trials if trial.measured_peak_bytes is not None]
    if len({size for size, _ in known}) < 2 or not chosen.baseline_anon_bytes or not chosen.measured_peak_bytes:
        return {}
    sizes, peaks = np.array(known, float).T
    per_row = np.polyfit(sizes, peaks, 1)[0]
    rows = round(max(0.0, per_row) * chosen.batch_size)
    model = chosen.measured_peak_bytes - chosen.baseline_anon_bytes - rows
    return {"process": chosen.baseline_anon_bytes, "model": model, "rows of a pass": rows}
