"""The report of a run: result.json, and the ledger of the rows that did not count."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..data.split import Split
from ..files import shorten_home, write_json
from ..memory import MemoryMonitor
from ..planning.memory_model import alternatives, predict_peak
from ..run_folder import TrainingFolder, read_column
from ..settings import FitSettings
from ..store.ledger import LedgerEntry, write_ledger
from ..store.row_range import RowRange
from ..units import count_of
from .choosing import Chosen
from .feed import LeftOut
from .loop import Trainer
from .metrics import has_targets
from .row_counts import count_rows, ledger_entries
from .run_starts import read_run_starts
from .run_state import RunState
from .runtime import versions
from .saved_model import weights_sha256
from .upkeep import Upkeep

LATEST_STEPS = 100
"""Last steps over which the training loss in a result is averaged."""


def run_ledger(data: Dataset, split: Split, state: RunState, further: Iterable[LeftOut] = ()) -> list[LedgerEntry]:
    """Return a run's current ledger: rows rejected, purged, left out by the trainer, and `further` ones."""
    left_out = [*state.left_out, *map(asdict, further), *state.unread]
    return ledger_entries(data, split, left_out)


@dataclass(frozen=True)
class RunReport:
    """Writes result.json and ledger.csv of one call of `fit`, whenever the run asks for it.

    `unusual` holds lines about implausible targets, `hardware` is what `set_up_tensorflow` returned.
    """

    folder: TrainingFolder
    settings: FitSettings
    data: Dataset
    split: Split
    trainer: Trainer
    train_reader: BatchReader
    monitor: MemoryMonitor
    upkeep: Upkeep
    hardware: Mapping[str, Any]
    unusual: Sequence[str]

    def write_ledger(self, state: RunState, further: Iterable[LeftOut] = ()) -> None:
        """Write the ledger of the rows that have not counted so far, including `further` ones."""
        write_ledger(self.folder.ledger, run_ledger(self.data, self.split, state, further))

    def write_result(
        self,
        state: RunState,
        status: str,
        *,
        started: float,
        problem: str = "",
        ended: str = "",
        chosen: Chosen | None = None,
        workers: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Write result.json and return its content.

        `chosen` is the outcome of a completed run; without it, the weights are the averages so far.
        `problem` is the error that ended the run, '' for none; `ended` is how this call of fit ended ('': the same as
        `status`), 'killed' in the result that a kill would leave; `started` is the performance counter at the start of
        the call or at the last checkpoint; `workers` is what each of several workers says of itself.
        """
        with self.trainer.averaged():
            model = self.trainer.model if chosen is None else chosen.model
            weights = weights_sha256(model.variables)
        result = self._describe(state, status, chosen, started=started, problem=problem, ended=ended or status)
        return write_json(self.folder.result, result | {"workers": list(workers), "weights_sha256": weights})

    def _describe(
        self,
        state: RunState,
        status: str,
        chosen: Chosen | None,
        *,
        started: float,
        problem: str,
        ended: str,
    ) -> dict[str, Any]:
        settings, monitor = self.settings, self.monitor
        current = self.train_reader.epoch_rows(state.epoch, 0, state.position)
        predicted = predict_peak(self.data.schema, settings, rows=self.data.rows)
        timing = self.folder.timing
        steps, waits = read_column(timing, "step_seconds"), read_column(timing, "data_wait_seconds")
        starts = read_run_starts(self.folder)
        return {
            "schema_version": 1,
            "status": status,
            "ended": ended,
            "starts": [asdict(start) for start in starts],
            "rows": count_rows(
                self.data,
                self.split,
                epochs=state.epoch,
                current=current,
                left_out=state.left_out,
                unread=self._unread_of(self.split.validation, state),
                unread_inner=self._unread_of(self.split.inner, state),
            ),
            "steps": state.step,
            "epochs": state.epoch,
            "batch_size": settings.batch_size,
            "accum_steps": settings.steps_per_update,
            "effective_batch": settings.effective_batch,
            "train": {"loss": latest_loss(self.folder)},
            "validation": dict.fromkeys(("loss", "mae", "directional_accuracy", "zero_mae")),
            **({} if chosen is None else chosen.to_json()),
            "inner_history": state.validations if len(self.split.inner) else [],
            "validation_history": self._validations(state, chosen),
            "memory": {
                "baseline_anon_bytes": monitor.baseline_anon_bytes,
                "peak_anon_bytes": max(monitor.peak_anon_bytes, state.peak_anon_bytes),
                "peak_rss_bytes": monitor.peak_rss_bytes,
                "limit_bytes": monitor.limit.limit_bytes,
                "limit_source": monitor.limit.source,
                "predicted_peak_bytes": sum(predicted.values()),
                "predicted_terms": predicted,
                "alternatives": [asdict(one) for one in alternatives(self.data.schema, settings, rows=self.data.rows)],
                "tracing_count": self.trainer.tracing_count,
                **self.upkeep.memory(),
            },
            "time": {
                "wall_seconds": state.seconds + time.perf_counter() - started,
                "data_wait_seconds": float(waits.sum()),
                "step_seconds_median": float(np.median(steps)) if len(steps) else None,
                "steps_seconds": float(steps.sum()),
                "first_steps_seconds": float(sum(steps[start.step] for start in starts if start.step < len(steps))),
                "activity_seconds": dict(state.activities),
                **self.upkeep.time(),
            },
            "micro_batch_changes": state.micro_batch_changes,
            "rollbacks": state.rollbacks,
            "loss_spikes": state.spikes,
            "warnings": [*self.data.warnings, *self._warnings(state), *filter(None, (monitor.problem, problem))],
            "data_id": self.data.data_id,
            "judged_rows": self.split.validation.key,
            "horizons": self.data.schema.horizons,
            "stopped_early": state.stops_early(settings),
            **({"arriving_rows": state.arriving_rows} if state.arriving_rows else {}),
            "settings": _shareable(asdict(settings))
            | {"precision": state.maths["precision"], "hardware": self.hardware},
            "versions": versions(),
        }

    def _unread_of(self, part: RowRange, state: RunState) -> int:
        numbers = part.numbers()
        return int(np.isin([one["row"] for one in state.unread], numbers).sum())

    def _validations(self, state: RunState, chosen: Chosen | None) -> list[dict[str, float]]:
        """Epoch, step and loss of the validation; in runs without inner rows, of those at the end of earlier epochs."""
        before = [] if len(self.split.inner) else state.validations
        if chosen is None or not has_targets(chosen.validation):
            return before
        return [*before, {"epoch": chosen.epoch, "step": chosen.step, "loss": chosen.validation["loss"]}]

    def _warnings(self, state: RunState) -> Iterator[str]:
        yield from self.unusual
        rows = len({one["row"] for one in state.left_out}) + len(state.unread)
        if rows:
            what = "could not be read, or had no finite loss or gradient"
            yield f"{count_of(rows, 'row')} {what}; see the ledger"
        if self.trainer.faults_in_a_row > 1:
            steps = self.trainer.faults_in_a_row
            yield f"rows were left out in each of the last {steps} steps; do not trust the end of this run"
        for back in state.rollbacks:
            yield f"step {back['step']}: {back['reason']}; rolled back to step {back['to_step']}"
        if state.micro_batch_changes:
            yield (
                f"the rows per pass changed {count_of(state.micro_batch_changes, 'time')}; the weights equal those of "
                f"a run without a change to 1e-5, but not bit for bit"
            )
        yield from self.upkeep.warnings()
        if state.spikes:
            yield f"the loss jumped {count_of(len(state.spikes), 'time')}, first at step {state.spikes[0]['step']}"


def _shareable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the home folder as ~, since results are shared."""
    return {name: shorten_home(value) if isinstance(value, str) else value for name, value in settings.items()}


def latest_loss(folder: TrainingFolder) -> float | None:
    """Return the mean loss per target over those of the last 100 steps that counted; None when none did."""
    counted = [read_column(folder.history, name)[-LATEST_STEPS:] for name in ("loss", "valid_targets", "applied")]
    loss, targets, applied = (column[counted[2] > 0] for column in counted)
    return float(np.average(loss, weights=targets)) if applied.any() else None
