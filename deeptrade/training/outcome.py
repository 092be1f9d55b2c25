"""What a run says of itself in result.json."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import shorten_home
from ..memory_model import alternatives, predict_peak
from .accounting import count_rows
from .metrics import has_targets
from .results import latest_loss, read_column, weights_sha256
from .run_state import RunState
from .runtime import versions
from .starts import read_run_starts

if TYPE_CHECKING:
    from .session import Session


def describe_run(
    run: Session, status: str, validation: Mapping[str, Any], *, problem: str, ended: str
) -> dict[str, Any]:
    """Return the content of result.json; `problem` is what ended the run, '' where nothing did.

    `ended` is how this call of fit has ended, 'killed' where a kill would leave this result.
    """
    settings, state, monitor = run.settings, run.state, run.monitor
    current = run.train_reader.epoch_rows(state.epoch, 0, state.position)
    predicted = predict_peak(run.data.schema, settings, rows=run.data.rows)
    timing = run.out / "timing.csv"
    steps, waits = read_column(timing, "step_seconds"), read_column(timing, "data_wait_seconds")
    starts = read_run_starts(run.out)
    return {
        "schema_version": 1,
        "status": status,
        "ended": ended,
        "starts": [asdict(start) for start in starts],
        "rows": count_rows(
            run.data,
            run.split,
            epochs=state.epoch,
            current=current,
            left_out=state.left_out,
            unread=len(state.unread),
        ),
        "steps": state.step,
        "epochs": state.epoch,
        "batch_size": settings.batch_size,
        "accum_steps": settings.steps_per_update,
        "effective_batch": settings.effective_batch,
        "train": {"loss": latest_loss(run.out / "history.csv")},
        "validation": validation or dict.fromkeys(("loss", "mae", "directional_accuracy", "zero_mae")),
        "validation_history": _validations(state, validation),
        "memory": {
            "baseline_anon_bytes": monitor.baseline_anon_bytes,
            "peak_anon_bytes": max(monitor.peak_anon_bytes, state.peak_anon_bytes),
            "peak_rss_bytes": monitor.peak_rss_bytes,
            "limit_bytes": monitor.limit.limit_bytes,
            "limit_source": monitor.limit.source,
            "predicted_peak_bytes": sum(predicted.values()),
            "predicted_terms": predicted,
            "alternatives": [asdict(one) for one in alternatives(run.data.schema, settings, rows=run.data.rows)],
            "tracing_count": run.trainer.tracing_count,
            **run.upkeep.memory(),
        },
        "time": {
            "wall_seconds": state.seconds + time.perf_counter() - run.started,
            "data_wait_seconds": float(waits.sum()),
            "step_seconds_median": float(np.median(steps)) if len(steps) else None,
            "steps_seconds": float(steps.sum()),
            "first_steps_seconds": float(sum(steps[start.step] for start in starts if start.step < len(steps))),
            "activity_seconds": dict(state.activities),
            **run.upkeep.time(),
        },
        "weights_sha256": weights_sha256(run.trainer.model.variables),
        "micro_batch_changes": state.micro_batch_changes,
        "rollbacks": state.rollbacks,
        "loss_spikes": state.spikes,
        "warnings": [*run.data.warnings, *_training_warnings(run), *filter(None, (monitor.problem, problem))],
        "data_id": run.data.data_id,
        "horizons": run.data.schema.horizons,
        "stopped_early": state.stops_early(settings),
        "settings": _shareable(asdict(settings)) | {"precision": state.maths["precision"], "hardware": run.hardware},
        "versions": versions(),
    }


def _validations(state: RunState, last: Mapping[str, Any]) -> list[dict[str, float]]:
    """Every validation with its epoch, step and loss; also one that came before the end of an epoch."""
    if not last or not has_targets(last) or any(one["step"] == state.step for one in state.validations):
        return state.validations
    return [*state.validations, {"epoch": state.epoch + 1, "step": state.step, "loss": last["loss"]}]


def _shareable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the home folder as ~: results are given to others."""
    return {name: shorten_home(value) if isinstance(value, str) else value for name, value in settings.items()}


def _training_warnings(run: Session) -> Iterator[str]:
    state = run.state
    yield from run.unusual
    rows = len({one["row"] for one in state.left_out}) + len(state.unread)
    if rows:
        yield f"rows that could not be read, or gave no finite loss and gradient: {rows}; they are in the ledger"
    if run.trainer.faults_in_a_row > 1:
        yield f"rows of the last steps ({run.trainer.faults_in_a_row} in a row) were left out; do not trust the end"
    for back in state.rollbacks:
        yield f"step {back['step']}: {back['reason']}; went back to step {back['to_step']}"
    if state.micro_batch_changes:
        yield (
            f"the rows per pass changed {state.micro_batch_changes} times; the weights equal those of a run without a "
            f"change to 1e-5, not to the last bit"
        )
    yield from run.upkeep.warnings()
    if state.spikes:
        yield f"the loss jumped {len(state.spikes)} times, first at step {state.spikes[0]['step']}"
