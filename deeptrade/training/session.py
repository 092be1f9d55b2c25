"""One run: model, windows, checkpoints, validation, and the files that record them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from ..data.backend import tf
from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..data.split import LEEWAY, Split
from ..errors import DeepTradeError, Interrupted, LostWorkerError, SettingsError, TrainingFailedError
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
from .choosing import Choice
from .loop import StepRecord
from .loss_spikes import SpikeDetector
from .metrics import validation_verdict
from .rollback import hopeless_line, is_hopeless, lower_rate, roll_back
from .row_counts import absent_markets
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


class Session:
    """Everything that lives for one call of `fit`; `run` trains, validates, writes the files and returns the result.

    `started` is the performance counter at the start of the call, so that reading and checking the data count. In a
    team all workers take the same steps; the chief alone judges them and writes the run's files. `arriving` is there
    where the data is still being read: `data` and its split are then what it has found so far.
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
        self.team, self._arriving, self._of_whole = team, arriving, dict[str, Any]()
        self.settings, self.data, self.state = settings, data, state
        self.monitor, self.stop, self.hardware, self.sink = monitor, stop, hardware, sink
        chief = TrainingFolder(settings.out_dir)
        self.folder = chief if team.is_chief else chief.of_worker(team.number)
        self.split = self._split()
        self.started = started
        self._spikes = SpikeDetector()
        aggressive = not settings.no_aggressive_gc
        self.upkeep = Upkeep(monitor, aggressive=aggressive, leased=lambda: data.budget.leased_bytes, sink=sink)
        self.checkpoints = Checkpoints(chief.checkpoints, sink=sink)
        self.folder.remove_leftovers()
        write_ledger(self.folder.ledger, run_ledger(data, self.split, state))
        self._note_whole()
        with self._activity("build"):
            self._build()
            restored = self._restored() if state.has_begun else None
            if restored is not None:
                self._take(RunState(**restored))
                rows = count_of(len(self.split.train), "row")
                done = f"epoch {self.state.epoch + 1}, {self.state.position:,} of {rows} done"
                sink(f"continuing after step {self.state.step}, {done}")
                if self.state.known:
                    bad = count_of(len(self.state.known_bad), "row")
                    sink(f"{bad} left out since the rollback, see ledger.csv; --fresh would try them again")
        self._saved_step = self.state.step
        if not team.is_alone:
            team.refuse_differences(facts_of(self.settings, self.data, self.state, self.trainer))

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

    def _split(self) -> Split:
        """The split of the data, or what is known of it."""
        if self._arriving is not None:
            return self._arriving.split
        return self.data.split(**self.settings.split_options, by_count=not self.state.splits_by_time)

    def _build(self) -> None:
        settings, train = self.settings, self.split.train
        if self.state.arriving_rows:
            train = train.part(0, min(self.state.arriving_rows, len(train)))
        targets = self.data.read_targets(train.numbers())
        scale = target_scale(targets)
        unusual = unusual_targets(targets, train.numbers())
        if self._arriving is None:
            unusual += absent_markets(self.data, self.split, settings.market_names)
        for line in unusual:
            self.sink(line)
        self._scale, self._unusual = scale, unusual
        self.trainer = build_trainer(
            settings,
            self.data,
            train,
            scale=scale,
            precision=self.state.maths["precision"],
            sink=self.sink,
            memory=self.upkeep.step_memory,
            team=self.team,
        )
        self._follower = self._make_follower()
        self._read_rows()

    def _read_rows(self) -> None:
        """Make what reads the rows of the split, and what reports on them."""
        settings, unusual = self.settings, self._unusual
        self._choice = Choice(
            self.trainer,
            self.data,
            self.split,
            settings,
            target_scale=self._scale,
            checkpoints=self.checkpoints,
            sink=self.sink,
        )
        if settings.inner_ratio and not self._choice.has_inner and not self._waits:
            unusual.append(self._no_inner_line())
            self.sink(unusual[-1])
        self.train_reader = BatchReader(
            self.data,
            self.split.train,
            share=self.team.share(batch_size=settings.batch_size, step_rows=settings.effective_batch),
            batch_size=settings.batch_size,
            features=settings.feature_names,
            seed=settings.seed,
            cache_batches=settings.cache_batches,
            prefetch=settings.prefetch,
            window_rows=self.state.window_rows,
            whole_blocks=self.state.whole_blocks,
            order_version=self.state.order_version,
            arriving_rows=self.state.arriving_rows,
        )
        self._report = RunReport(
            folder=self.folder,
            settings=settings,
            data=self.data,
            split=self.split,
            trainer=self.trainer,
            train_reader=self.train_reader,
            monitor=self.monitor,
            upkeep=self.upkeep,
            hardware=self.hardware,
            unusual=unusual,
        )

    @property
    def _waits(self) -> bool:
        """Whether there are rows that have not come yet."""
        return self._arriving is not None and not self._arriving.is_whole

    def _take_rows(self, tables: list[StepTable], bar: Progress) -> None:
        """Wait for more training rows, or for all rows where no more steps are wanted; save before.

        Raises what ends the reading: its line, with its exit code.
        """
        assert self._arriving is not None
        if self.state.step != self._saved_step:
            self._save(tables, regular=False)
        beyond = None if self.state.is_done(self.settings) else self.train_reader.samples
        with self._activity("wait for rows"):
            if not self._arriving.more(beyond, is_wanted=lambda: not self.team.signal_number):
                return
            self.train_reader.close()
            self._choice.close()
            self.data, self.split = self._arriving.data, self._arriving.split
            self.data.data_id = self.state.data_id
            self._note_whole()
            self._read_rows()
        if not self._waits:
            self._report.write_ledger(self.state)
            bar.expect(self._total_steps())

    def _note_whole(self) -> None:
        """Note in the state what is known only of the whole data."""
        if self._arriving is None or self._waits:
            return
        if not self.state.epoch and self.state.position > len(self.split.train):
            raise SettingsError(
                f"the rows of {self.data.name} have become over {LEEWAY} times further apart in time than its first "
                "ones, so that rows near the split were trained on; run with --fresh and without --while_compiling"
            )
        rows, whole_blocks = self._arriving.choose_window(self.data)
        self._of_whole = {
            "content_hash": self.data.content_hash,
            "window_rows": rows,
            "whole_blocks": whole_blocks,
        }
        self._keep_whole()

    def _keep_whole(self) -> None:
        for name, value in self._of_whole.items():
            setattr(self.state, name, value)

    def _make_follower(self) -> MemoryFollower | None:
        """The follower; None without the memory monitor."""
        settings = self.settings
        if settings.no_memory_monitor:
            return None
        micro_batch = MicroBatch(
            settings.batch_size,
            settings.effective_batch,
            row_bytes=pass_row_bytes(self.data.schema, settings),
            limit_bytes=self.monitor.limit.limit_bytes,
            adapt=self.hardware["gives_back"] and not settings.no_adapt,
        )
        return MemoryFollower(micro_batch, self.monitor, self.data.budget)

    def _take(self, state: RunState) -> None:
        """Take over the state of a checkpoint whose variables were restored."""
        self.state = state
        self._keep_whole()  # a checkpoint may be older than what is known of all rows
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
            self.train_reader.close()
            self._choice.close()

    def _train(self, tables: list[StepTable], progress: str) -> None:
        """Run epochs, windows and the work between them; the state changes only at the end of a window."""
        bar = Progress(self._total_steps(), start=self.state.step, face=progress, sink=self.sink)
        try:
            with self.monitor.phase("train"), self.stop.deferred():
                if not self.state.has_begun:
                    self.state.trainer = self.trainer.state()
                    self._save(tables)  # the first windows may have to roll back to it
                while not self.team.signal_number:
                    at_end = self.state.position >= self.train_reader.samples
                    if self._waits and (at_end or self.state.is_done(self.settings) or self._has_failed()):
                        self._take_rows(tables, bar)
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
        records = self.trainer.train(self.train_reader, epoch=state.epoch, start=state.position, known=state.known_bad)
        for record in records:
            self._note(record, tables)
            bar.update(record.step, self._progress_text(record))
            self.upkeep.after_step(record.step, scarce=self._follower is not None and self._follower.is_scarce)
            self._adapt(record.step)
            if record.step // settings.checkpoint_every > state.regular_step // settings.checkpoint_every:
                self._save(tables)
            if state.is_done(settings) or self.team.signal_number or self._has_failed():
                return

    def _has_failed(self) -> bool:
        """Whether reading has ended before all rows are there: what comes next is to say why."""
        return self._arriving is not None and self._arriving.has_failed

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

    def _total_steps(self) -> int:
        samples = self.train_reader.samples
        if self._arriving is not None and self._waits:
            samples = max(samples, self._arriving.expected_rows)
        per_epoch = -(-samples // self.trainer.effective_batch)
        total = per_epoch * self.settings.epochs
        return min(total, self.settings.max_steps) if self.settings.max_steps else total

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
            tf.summary.scalar("loss", record.loss, step=record.step)
            tf.summary.scalar("gradient_norm", record.gradient_norm, step=record.step)

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
            inner = self.team.from_chief(lambda: self._choice.end_epoch(state, self.stop))
            if inner is not None and not self.team.is_chief:
                state.note_inner(inner["loss"])
        self.upkeep.after_validation()
        self._note_unread()
        if inner is not None:
            tf.summary.scalar("inner_loss", inner["loss"], step=state.step)
            self.sink(f"epoch {state.epoch + 1}: inner loss {inner['loss']:.4f}, {validation_verdict(inner)}")
        if state.stops_early(self.settings):
            epochs = count_of(state.epochs_without_gain, "epoch")
            self.sink(f"stopped early: the inner loss has not improved for {epochs}")
        state.epoch, state.position = state.epoch + 1, 0

    def _note_unread(self) -> None:
        """Put rows that could not be forecast into the ledger."""
        unread = [asdict(one) for one in [*self._choice.unread_inner, *self._choice.unread]]
        if unread != self.state.unread:
            self.state.unread = unread
            self._report.write_ledger(self.state)

    def _no_inner_line(self) -> str:
        rows = count_of(len(self.split.train), "training row")
        return (
            f"no inner rows: inner_ratio={self.settings.inner_ratio:g} of {rows} leaves none after purging, so the "
            "last weights are kept as they are; use more rows"
        )

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
            chosen = self._choice.finish(self.state, self.stop)
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
