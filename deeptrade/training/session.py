"""One run: model, windows, checkpoints, validation, and the files that record them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from ..data.backend import tf
from ..data.dataset import Dataset
from ..errors import DeepTradeError, Interrupted, LostWorkerError, TrainingFailedError
from ..memory import MemoryMonitor
from ..planning.memory_model import pass_row_bytes
from ..progress import Progress
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from ..store.ledger import write_ledger
from ..units import count_of, format_bytes
from .alike import facts_of
from .arriving import Arriving
from .assembly import build_trainer, target_scale, unusual_targets
from .checkpoints import Checkpoints
from .loop import StepRecord
from .loss_spikes import SpikeDetector
from .metrics import validation_verdict
from .rollback import hopeless_line, is_hopeless, lower_rate, roll_back
from .rows import TrainingRows
from .run_report import RunReport, run_ledger
from .run_starts import KILLED, note_start
from .run_state import RunState
from .runtime import StopRequest
from .saved_model import save_model
from .scarce_memory import MemoryFollower, MicroBatch
from .step_table import HISTORY_COLUMNS, TIMING_COLUMNS, StepTable
from .team import Team
from .upkeep import Upkeep

_LOG_EVERY = 10


def log_number(name: str, value: float, *, step: int) -> None:
    """Write a number for TensorBoard, which holds float32: of one beyond it, the largest there is."""
    tf.summary.scalar(name, np.clip(value, tf.float32.min, tf.float32.max), step=step)


class Session:
    """Everything that lives for one call of `fit`; `run` trains, validates, writes the files and returns the result.

    `started` is the performance counter at the start of the call, so that reading and checking the data count. In a
    team all workers take the same steps; the chief alone judges them and writes the run's files. `arriving` is there
    where the data is still being read; `data` is then what it has found so far.
    """

    def __init__(
        self,
        settings: FitSettings,
        data: Dataset,
        state: RunState,
        *,
        monitor: MemoryMonitor,
        stop: StopRequest,
        hardware: dict[str, Any],
        started: float,
        sink: Callable[[str], None],
        team: Team,
        arriving: Arriving | None = None,
    ):
        self.team, self.settings, self.state = team, settings, state
        self.monitor, self.stop, self.hardware, self.sink = monitor, stop, hardware, sink
        chief = TrainingFolder(settings.out_dir)
        self.folder = chief if team.is_chief else chief.of_worker(team.number)
        self.rows = TrainingRows(data, state, settings, team=team, arriving=arriving)
        self.started = started
        self._spikes = SpikeDetector()
        aggressive = not settings.no_aggressive_gc
        self.upkeep = Upkeep(monitor, aggressive=aggressive, leased=lambda: data.budget.leased_bytes, sink=sink)
        self.checkpoints = Checkpoints(chief.checkpoints, sink=sink)
        self.folder.remove_leftovers()
        write_ledger(self.folder.ledger, run_ledger(data, self.rows.split, state))
        with self._activity("build"):
            self._build()
            restored = self._restored() if state.has_begun else None
            if restored is not None:
                self._take(RunState(**restored))
                rows = count_of(len(self.rows.split.train), "row")
                done = f"epoch {self.state.epoch + 1}, {self.state.position:,} of {rows} done"
                sink(f"continuing after step {self.state.step}, {done}")
                if self.state.known:
                    bad = count_of(len(self.state.known_bad), "row")
                    sink(f"{bad} left out since the rollback, see ledger.csv; --fresh would try them again")
        self._saved_step = self.state.step
        if not team.is_alone:
            team.refuse_differences(facts_of(self.settings, self.rows.data, self.state, self.trainer))

    def _restored(self) -> dict[str, Any] | None:
        return self.checkpoints.restore(self.trainer.variables)

    @contextmanager
    def _activity(self, name: str) -> Iterator[None]:
        """Name what happens between steps, for the memory timeline, and add up its seconds."""
        started = time.perf_counter()
        try:
            with self.monitor.phase(name):
                yield
        finally:
            self.state.spend(name, time.perf_counter() - started)

    def _build(self) -> None:
        settings, train = self.settings, self.rows.first(self.state)
        targets = self.rows.data.read_targets(train.numbers())
        self._scale = target_scale(targets)
        self._unusual = [*unusual_targets(targets, train.numbers()), *self.rows.absent_markets()]
        for line in self._unusual:
            self.sink(line)
        self.trainer = build_trainer(
            settings,
            self.rows.data,
            train,
            scale=self._scale,
            precision=self.state.maths["precision"],
            sink=self.sink,
            memory=self.upkeep.step_memory,
            team=self.team,
        )
        self._follower = self._make_follower()
        self._open_rows()

    def _open_rows(self) -> None:
        """Make what reads the rows that are there, and what reports on them."""
        self.rows.open(self.trainer, self.state, target_scale=self._scale, checkpoints=self.checkpoints, sink=self.sink)
        line = self.rows.no_inner_line()
        if line:
            self._unusual.append(line)
            self.sink(line)
        self._report = RunReport(
            folder=self.folder,
            settings=self.settings,
            data=self.rows.data,
            split=self.rows.split,
            trainer=self.trainer,
            train_reader=self.rows.reader,
            monitor=self.monitor,
            upkeep=self.upkeep,
            hardware=self.hardware,
            unusual=self._unusual,
        )

    def _await_rows(self, tables: list[StepTable], bar: Progress) -> None:
        """Wait for more rows; save before. Raises what ends the reading."""
        if self.state.step != self._saved_step:
            self._save(tables, regular=False)
        with self._activity("wait for rows"):
            if not self.rows.more(self.state, is_wanted=lambda: not self.team.signal_number):
                return
            self._open_rows()
        if not self.rows.are_awaited:
            self._report.write_ledger(self.state)
            bar.expect(self._total_steps())

    def _total_steps(self) -> int:
        return self.rows.count_steps(self.trainer.effective_batch)

    def _make_follower(self) -> MemoryFollower | None:
        """The follower; None without the memory monitor."""
        settings = self.settings
        if settings.no_memory_monitor:
            return None
        micro_batch = MicroBatch(
            settings.batch_size,
            settings.effective_batch,
            row_bytes=pass_row_bytes(self.rows.data.schema, settings),
            limit_bytes=self.monitor.limit.limit_bytes,
            adapt=self.hardware["gives_back"] and not settings.no_adapt,
        )
        return MemoryFollower(micro_batch, self.monitor, self.rows.data.budget)

    def _take(self, state: RunState) -> None:
        """Take over the state of a checkpoint whose variables were restored."""
        self.state = state
        self.rows.keep_whole(state)
        state.take_batch_size(self.settings.batch_size)
        self.trainer.restore(state.trainer)
        self._spikes = SpikeDetector(**state.spike_detector)

    def run(self, progress: str) -> dict[str, Any]:
        """Train to the end, validate and write every file; return the result. After an error its status is failed.

        A signal saves and raises Interrupted; a second one raises it at once, leaving the last checkpoint.
        """
        if self.team.is_chief:
            note_start(self.folder, step=self.state.step)
        tables = [
            StepTable(self.folder.history, HISTORY_COLUMNS, kept_steps=self.state.step),
            StepTable(self.folder.timing, TIMING_COLUMNS, kept_steps=self.state.step),
        ]
        logs = tf.summary.create_file_writer(str(self.folder.logs))
        try:
            with self._recording_failure(), logs.as_default():
                # After a kill the result must not say completed, and a continued run still has its old one.
                self._write_result("interrupted", ended=KILLED)
                self._train(tables, progress)
                if self.team.signal_number:
                    raise Interrupted(self.team.signal_number)
                workers = self.team.tell({"peak_anon_bytes": self.monitor.peak_anon_bytes, "steps": self.state.step})
                return self.team.from_chief(lambda: self._finish(workers))
        finally:
            for table in tables:
                table.close()
            logs.close()
            self.rows.close()

    def _train(self, tables: list[StepTable], progress: str) -> None:
        """Run epochs, windows and the work between them; the state changes only at the end of a window."""
        bar = Progress(self._total_steps(), start=self.state.step, face=progress, sink=self.sink)
        try:
            with self.monitor.phase("train"), self.stop.deferred():
                if not self.state.has_begun:
                    self.state.trainer = self.trainer.state()
                    self._save(tables)  # the first windows may have to roll back to it
                while not self.team.signal_number:
                    at_end = self.state.position >= self.rows.reader.samples
                    stands = at_end or self.state.is_done(self.settings) or self.rows.have_failed
                    if stands and self.rows.are_awaited:
                        self._await_rows(tables, bar)
                    elif at_end:
                        self._end_epoch(tables)
                    elif self.state.is_done(self.settings):
                        break
                    else:
                        try:
                            self._train_windows(tables, bar)
                        except TrainingFailedError as error:
                            self._roll_back(error, tables)
                        except LostWorkerError:  # nothing of the step it was lost in has been applied
                            self._save(tables, regular=False)
                            raise
                self._save(tables, regular=False)
        finally:
            self.upkeep.close()
            bar.close()

    def _train_windows(self, tables: list[StepTable], bar: Progress) -> None:
        """Take optimizer steps to the end of the epoch, or until training must stop."""
        settings, state = self.settings, self.state
        if self._follower is not None:
            self._follower.settle()
        records = self.trainer.train(self.rows.reader, epoch=state.epoch, start=state.position, known=state.known_bad)
        for record in records:
            self._note(record, tables)
            bar.update(record.step, self._progress_text(record))
            self.upkeep.after_step(record.step, scarce=self._follower is not None and self._follower.is_scarce)
            self._adapt(record.step)
            if record.step // settings.checkpoint_every > state.regular_step // settings.checkpoint_every:
                self._save(tables)
            if state.is_done(settings) or self.team.signal_number or self.rows.have_failed:
                return

    def _adapt(self, step: int) -> None:
        """Cut the next windows into smaller passes while memory is scarce, and into larger ones when it is back."""
        if self._follower is None:
            return
        before = self._follower.size
        size = self._follower.after_step(step)
        if size is None:
            return
        self.trainer.resize(size)
        self.upkeep.after_resize()
        self._follower.settle()
        left = self._follower.available_bytes
        if self.team.is_alone:
            self.state.micro_batch_changes += 1
        self.team.post("resized")
        self.monitor.note("micro_batch", step=step, before=before, rows=size, available_bytes=left)
        self.sink(
            f"step {step}: {format_bytes(left)} of memory left, so {count_of(size, 'row')} per pass instead of "
            f"{before}; the rows of a step and their order stay the same; --no_adapt would keep batch_size"
        )

    def _roll_back(self, error: TrainingFailedError, tables: list[StepTable]) -> None:
        """Roll back to the last good checkpoint, without rows that failed since; TrainingFailedError if too often."""
        if is_hopeless(self.state):
            self._report.write_ledger(self.state, error.left_out)
            raise TrainingFailedError(hopeless_line(self.state, error, ledger=self.folder.ledger)) from None
        self.team.tell("may read")  # the chief writes no checkpoint between these two
        state, line = roll_back(self.state, error, trainer=self.trainer, checkpoints=self.checkpoints)
        self.team.tell("has read")
        if self.team.is_chief:
            self.checkpoints.forget_best_after(state.step)
        self._take(state)
        lower_rate(self.trainer, error)
        rate = float(self.trainer.optimizer.learning_rate)
        self.sink(f"{line}, learning rate {rate:g}")
        self._save(tables)
        for table in tables:
            table.cut(state.step)

    def _progress_text(self, record: StepRecord) -> str:
        rate = len(record.row_ids) / max(record.step_seconds, 1e-9)
        memory = format_bytes(self.monitor.peak_anon_bytes)
        return f"epoch {record.epoch + 1}, loss {record.loss:.4f}, {rate:.0f} rows/s, peak memory {memory}"

    def _note(self, record: StepRecord, tables: list[StepTable]) -> None:
        self.state.position, self.state.trainer = record.samples, self.trainer.state()
        self.state.micro_batch_changes += self.team.heard["resized"]
        for table in tables:
            table.append(record)
        if record.left_out:
            self._leave_out(record)
        if self._spikes.observe(record.loss, record.valid_targets):
            usual = self._spikes.usual_loss()
            self.state.spikes.append({"step": record.step, "loss": record.loss, "usual_loss": usual})
            self.sink(f"step {record.step}: the loss jumps to {record.loss:.4g}; usual is {usual:.4g}")
        self.state.spike_detector = self._spikes.state()
        if record.step % _LOG_EVERY == 0:
            log_number("loss", record.loss, step=record.step)
            log_number("gradient_norm", record.gradient_norm, step=record.step)

    def _leave_out(self, record: StepRecord) -> None:
        """Put rows that cannot be read or trained on into the ledger; the rest of their window has counted."""
        known = self.state.known_bad
        self.state.leave_out(record.epoch, record.left_out)
        self._report.write_ledger(self.state)
        new = [one for one in record.left_out if one.row not in known]
        if new:
            others = f" and {len(new) - 1} more" if len(new) > 1 else ""
            self.sink(f"row {new[0].row}{others} left out: {new[0].detail}")

    def _end_epoch(self, tables: list[StepTable]) -> None:
        """Save, then look at the inner rows: an interrupted look must not cost a step."""
        state = self.state
        self._save(tables)
        with self._activity("validate"):
            inner = self.team.from_chief(lambda: self.rows.choice.end_epoch(state, self.stop))
            if inner is not None and not self.team.is_chief:
                state.note_inner(inner["loss"])
        self.upkeep.after_validation()
        self._note_unread()
        if inner is not None:
            log_number("inner_loss", inner["loss"], step=state.step)
            self.sink(f"epoch {state.epoch + 1}: inner loss {inner['loss']:.4f}, {validation_verdict(inner)}")
        if state.stops_early(self.settings):
            epochs = count_of(state.epochs_without_gain, "epoch")
            self.sink(f"stopped early: the inner loss has not improved for {epochs}")
        state.epoch, state.position = state.epoch + 1, 0

    def _note_unread(self) -> None:
        """Put rows that could not be forecast into the ledger."""
        unread = [asdict(one) for one in [*self.rows.choice.unread_inner, *self.rows.choice.unread]]
        if unread != self.state.unread:
            self.state.unread = unread
            self._report.write_ledger(self.state)

    def _save(self, tables: list[StepTable], *, regular: bool = True) -> None:
        """Save everything; during faults not as a regular checkpoint, since it may be bad; one is due after them."""
        regular = regular and not self.trainer.faults_in_a_row
        if regular:
            self.state.regular_step = self.state.step
        with self._activity("save"):
            for table in tables:
                table.sync()
            self.state.peak_anon_bytes = max(self.state.peak_anon_bytes, self.monitor.peak_anon_bytes)
            self.state.seconds += time.perf_counter() - self.started
            self.started = time.perf_counter()
            returns = len(self.state.rollbacks)
            content = asdict(self.state)
            if self.team.is_chief:
                self.checkpoints.save(
                    self.state.step, self.trainer.variables, content, regular=regular, returns=returns
                )
            self._saved_step = self.state.step

    def _finish(self, workers: list[dict[str, int]]) -> dict[str, Any]:
        """Choose and judge the weights, save the model, and write result.json last: it says that the rest is there."""
        with self._activity("validate"):
            chosen = self.rows.choice.finish(self.state, self.stop)
        with self._activity("save"):
            save_model(chosen.model, self.folder.model, unfinished=self.folder.unfinished_model)
            chosen.forecasts.write(self.folder.forecasts)
            chosen.inner_forecasts.write(self.folder.inner_forecasts)
        self._note_unread()
        result = self._write_result("completed", chosen=chosen, workers=workers)
        steps = count_of(self.state.step, "step")
        self.sink(f"done after {steps}: {validation_verdict(chosen.validation)}; {self.folder.result}")
        return result

    @contextmanager
    def _recording_failure(self) -> Iterator[None]:
        """Leave a result.json that says interrupted or failed if the block ends that way."""
        try:
            yield
        except (Interrupted, LostWorkerError):
            with suppress(DeepTradeError):  # such as a full disk: the signal must get through
                self._write_result("interrupted")
            again = "run again without --fresh" if self.settings.fresh else "run again"
            saved = "" if self._saved_step == self.state.step else f" up to step {self._saved_step}"
            self.sink(f"stopped after step {self.state.step}; progress is saved{saved}, {again} to continue")
            raise
        except Exception as error:
            with suppress(DeepTradeError):  # such as a full disk: the original error must get through
                self._write_result("failed", f"{type(error).__name__}: {error}")
            raise

    def _write_result(self, status: str, problem: str = "", **further: Any) -> dict[str, Any]:
        if not self.team.is_chief:
            return {}
        return self._report.write_result(self.state, status, started=self.started, problem=problem, **further)
