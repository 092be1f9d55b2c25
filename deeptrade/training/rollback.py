"""Rollback to the last good checkpoint after too many faults: without the bad rows and at a lower learning rate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ..errors import TrainingFailedError
from .checkpoints import Checkpoints
from .feed import READ_ERROR
from .loop import Trainer
from .run_state import RunState

MOST_ROLLBACKS, RATE_CUT = 2, 0.5
"""Most rollbacks in one run, and the factor on the learning rate at each."""


def is_hopeless(state: RunState) -> bool:
    """Return whether a run has already rolled back as often as it may."""
    return len(state.rollbacks) >= MOST_ROLLBACKS


def hopeless_line(state: RunState, error: TrainingFailedError, *, ledger: Path) -> str:
    """Return what failed after all rollbacks, and what the user can do about it."""
    advice = "try --fresh with a lower --learning_rate"
    if _is_reading(error):
        advice = "repair the data, or compile it again, and start over with --fresh"
    elif error.left_out:
        advice = f"look at the rows in {ledger}, or {advice}"
    return f"step {state.step + 1}: {error}; {MOST_ROLLBACKS} rollbacks to a checkpoint did not help; {advice}"


def roll_back(
    state: RunState, error: TrainingFailedError, *, trainer: Trainer, checkpoints: Checkpoints
) -> tuple[RunState, str]:
    """Restore the trainer's variables from the last good checkpoint; return the new state and a line for the log.

    Rows that failed since then are left out from now on. Raises `error` if there is no checkpoint.
    """
    restored = checkpoints.restore(trainer.variables, before=trainer.first_suspect)
    if restored is None:
        raise error
    back = RunState(**restored)
    back.known += [*state.left_out[len(back.left_out) :], *map(asdict, error.left_out)]
    back.micro_batch_changes = state.micro_batch_changes
    back.seconds, back.activities = state.seconds, state.activities
    back.rollbacks = [*state.rollbacks, {"step": state.step + 1, "to_step": back.step, "reason": str(error)}]
    without = " without these rows" if error.left_out else ""
    return back, f"step {state.step + 1}: {error}; back to step {back.step}{without}"


def lower_rate(trainer: Trainer, error: TrainingFailedError) -> None:
    """Lower the learning rate, unless the failure was in reading."""
    if not _is_reading(error):
        trainer.optimizer.learning_rate = float(trainer.optimizer.learning_rate) * RATE_CUT


def _is_reading(error: TrainingFailedError) -> bool:
    return any(one.reason == READ_ERROR for one in error.left_out)
