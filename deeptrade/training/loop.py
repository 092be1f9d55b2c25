"""The training loop: an epoch is cut into windows, one optimizer step each; the position is a number of samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.backend import keras
from ..data.batches import BatchReader
from ..data.generator import MemoryEfficientGenerator
from ..errors import SettingsError, TrainingFailedError
from ..memory import StepMemory
from ..units import count_of
from .adam import Adam
from .exactness import (
    check_numbers,
    checked_weights,
    computes_in_float16,
    read_features,
    refuse_accumulating,
    refuse_inexact,
)
from .feed import Feed, LeftOut
from .team import Team
from .team_step import make_step
from .windows import Windows

MOST_FAULTS_IN_A_ROW = 5
"""Training stops at this many consecutive windows with newly left-out rows: more than a few rows are wrong."""

MOST_SHARE, _LEAST_ROWS = 0.5, 4
"""Training stops when more than this share of a window's rows, and at least this many, are newly left out."""


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step. `samples` counts the rows of this epoch up to and including it; seconds are wall time.

    `row_ids` are the window's rows that counted, `left_out` those that did not.
    """

    step: int
    epoch: int
    samples: int
    loss: float
    gradient_norm: float
    learning_rate: float
    valid_targets: int
    applied: bool
    row_ids: np.ndarray = field(repr=False)
    left_out: tuple[LeftOut, ...]
    step_seconds: float
    data_wait_seconds: float


class Trainer:
    """Trains any Keras model with dict inputs and one (rows, horizons) output on a BatchReader or generator.

    Training minimizes the Huber loss in units of target_scale, averaged over the valid targets of a window; a compiled
    model's own loss and optimizer are not used.

    Arguments: target_scale, float32 (horizons,) or one number, the unit of errors; batch_size, rows per pass;
    accum_steps, passes per optimizer step; learning_rate of Adam; clip_norm, bound on the gradient's global norm
    (0: none); optimizer, any Keras optimizer instead of Adam: its schedule, weight decay and averages see one step per
    window; row_weights, by row number, finite and at least 0, the weight of each row's loss (None: 1); callbacks, Keras
    callbacks for which a window is a batch (`on_train_begin` is called once, `on_train_end` by `finish`; if one sets
    `model.stop_training`, the epoch ends after that window and later epochs yield nothing); averaging, keep the mean of
    the weights over all steps, which forecasts better than the last weights (`averaged`, `finish`); jit, compute loss
    and gradients as one XLA program, compiled again for each number of rows of a pass; sink, called with a
    line of text about faults that did not recur; memory, records the anonymous memory of each phase of a pass: read,
    forward and backward (with jit, compute), add or apply; team, the workers that train together, each on a reader of
    its share (None: alone).

    A row that cannot be read, or whose own loss or gradient is not finite, is left out and named in its window's
    record; the other rows count as if it had never been drawn. Raises TrainingFailedError if that happens in
    MOST_FAULTS_IN_A_ROW consecutive windows, or to more than MOST_SHARE of the rows of one.

    Raises SettingsError for a model or optimizer whose result would depend on how a window is cut into passes.

    >>> for record in Trainer(model, batch_size=4, accum_steps=8).train(reader):    # doctest: +SKIP
    ...     print(record.step, record.loss)
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        batch_size: int,
        accum_steps: int = 1,
        target_scale: np.ndarray | float = 1.0,
        learning_rate: float = 1e-3,
        clip_norm: float = 1.0,
        optimizer: keras.optimizers.Optimizer | None = None,
        row_weights: np.ndarray | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        averaging: bool = False,
        jit: bool = False,
        sink: Callable[[str], None] = lambda line: None,
        memory: StepMemory | None = None,
        team: Team | None = None,
    ):
        if batch_size < 1 or accum_steps < 1:
            name, value = ("batch_size", batch_size) if batch_size < 1 else ("accum_steps", accum_steps)
            raise SettingsError(f"{name}={value} is not accepted; use at least 1")
        check_numbers(learning_rate=learning_rate, clip_norm=clip_norm, target_scale=target_scale)
        refuse_inexact(model)
        self.model, self.batch_size, self.accum_steps = model, batch_size, accum_steps
        fused = optimizer is None and not any(variable.constraint for variable in model.trainable_variables)
        self.optimizer = optimizer or Adam(learning_rate, name="adam")
        refuse_accumulating(self.optimizer)
        self._row_weights, self._sink = checked_weights(row_weights), sink
        self._callbacks = keras.callbacks.CallbackList(list(callbacks), add_history=False, model=model)
        if callbacks:
            model.optimizer = self.optimizer  # callbacks that set the learning rate look for it there
        model.stop_training = False
        self._features, team = read_features(model), team or Team()
        self._has_begun = self._is_finished = False
        self._step = make_step(
            team,
            model,
            self.optimizer,
            batch_size=batch_size,
            target_scale=target_scale,
            clip_norm=clip_norm,
            scale_loss=computes_in_float16(model),
            averaging=averaging,
            fused=fused,
            jit=jit,
            mark=memory.mark if memory is not None else None,
        )
        self._windows = Windows(
            self._step, team, features=self._features, row_weights=self._row_weights, memory=memory, sink=sink
        )
        self.steps = 0
        self.faults_in_a_row = self._first_fault = 0

    @property
    def variables(self) -> list[Any]:
        """All variables a checkpoint must hold: the model's, the optimizer's, and the averages."""
        return [*self.model.variables, *self.optimizer.variables, *self._step.averages]

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step."""
        return self.batch_size * self.accum_steps

    @property
    def first_suspect(self) -> int:
        """The step before the faults began, whose update may have caused them: only older weights are safe."""
        return (self._first_fault if self.faults_in_a_row else self.steps + 1) - 1

    @property
    def tracing_count(self) -> int:
        """Number of times the step function was traced; 1 in a healthy run."""
        return self._step.tracing_count

    def resize(self, batch_size: int) -> None:
        """Cut windows into passes of `batch_size` rows from the next one on; the rows of a step stay the same.

        Raises SettingsError unless it divides the effective batch.
        """
        if batch_size < 1 or self.effective_batch % batch_size:
            raise SettingsError(
                f"batch_size={batch_size} does not divide the {self.effective_batch} rows of a step; use a divisor"
            )
        self.accum_steps, self.batch_size = self.effective_batch // batch_size, batch_size
        self._step.batch_size = batch_size

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides the variables, as plain data."""
        return {
            "step": self.steps,
            "loss_scale": float(self._step.loss_scale.numpy()),
            "clean_windows": int(self._step.clean_windows.numpy()),
            "faults_in_a_row": self.faults_in_a_row,
            "first_fault": self._first_fault,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.steps = state["step"]
        self._step.loss_scale.assign(state["loss_scale"])
        self._step.clean_windows.assign(state["clean_windows"])
        self.faults_in_a_row, self._first_fault = state["faults_in_a_row"], state["first_fault"]

    def train(
        self,
        data: BatchReader | MemoryEfficientGenerator,
        *,
        epoch: int = 0,
        start: int = 0,
        known: Mapping[int, LeftOut] | None = None,
    ) -> Iterator[StepRecord]:
        """Train on one epoch from sample `start` to its end; yields a record after each optimizer step.

        The last window of an epoch may be short and is averaged over its own number of targets. A window without a
        valid target changes nothing and has `applied` False. Rows in `known` are left out from the start.

        Raises SettingsError after `finish`, and if the data do not fit the model, target_scale or row_weights.
        """
        self._refuse_if_finished()
        reader = data.reader if isinstance(data, MemoryEfficientGenerator) else data
        self._step.reset()  # drop sums from a loop that was left in the middle of a window
        feed = Feed(reader, epoch, batch_size=self.batch_size, known=known, sink=self._sink)
        if self._row_weights is not None and len(self._row_weights) < reader.dataset.rows:
            raise SettingsError(
                f"row_weights has {count_of(len(self._row_weights), 'entry', 'entries')}, the data has "
                f"{count_of(reader.dataset.rows, 'row')}; give one weight per row"
            )
        self._check_shapes(reader)
        if start >= reader.samples or self.model.stop_training:
            return
        self._begin_epoch(epoch)
        position, losses, targets = start, 0.0, 0
        try:
            while position < reader.samples and not self.model.stop_training:
                self._refuse_if_finished()  # the consumer of the records may have called finish
                began = time.perf_counter()
                stop = min(position + self.effective_batch, reader.samples)
                feed.resize(self.batch_size)
                rate = float(self.optimizer.learning_rate)
                self._callbacks.on_train_batch_begin(self.steps)
                window, row_ids = self._windows.train(feed, position, stop, number=self.steps + 1)
                self._count_faults(feed.faults, rows=stop - position, counted=len(row_ids))
                if window.valid_targets:
                    losses, targets = losses + window.loss * window.valid_targets, targets + window.valid_targets
                logs = {"loss": window.loss, "gradient_norm": window.gradient_norm}
                self._callbacks.on_train_batch_end(self.steps, logs)
                position = stop
                self.steps += 1
                yield StepRecord(
                    step=self.steps,
                    epoch=epoch,
                    samples=position,
                    loss=window.loss,
                    gradient_norm=window.gradient_norm,
                    learning_rate=rate,
                    valid_targets=window.valid_targets,
                    applied=window.applied,
                    row_ids=row_ids,
                    left_out=tuple(feed.left_out.values()),
                    step_seconds=time.perf_counter() - began,
                    data_wait_seconds=feed.waited,
                )
        finally:
            feed.close()
        self._callbacks.on_epoch_end(epoch, {"loss": losses / targets if targets else math.nan})

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model its averaged weights, if any, inside the block; do not train in it."""
        if self._is_finished:  # the model already keeps them
            yield
            return
        self._step.swap()
        try:
            yield
        finally:
            self._step.swap()

    def finish(self) -> None:
        """End training: give the model its averaged weights permanently and call `on_train_end` of the callbacks.

        The averages are those of `averaging=True` or of an optimizer with `use_ema`; without either, the model keeps
        its last weights. Afterwards `train` raises SettingsError; a second call of `finish` does nothing.
        """
        if self._is_finished:
            return
        self._is_finished = True
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        self._step.swap()
        if self._has_begun:  # not where a run goes on that had taken its last step
            self._callbacks.on_train_end()

    def _refuse_if_finished(self) -> None:
        if self._is_finished:
            raise SettingsError("this Trainer has finished; make a new Trainer to train further")

    def _check_shapes(self, reader: BatchReader) -> None:
        """Raise SettingsError if model, scale and batches differ in horizons, or a feature is missing."""
        shape, scale = getattr(self.model, "output_shape", None), self._step.target_scale.shape
        found = {
            "the model's output": shape[-1] if isinstance(shape, tuple) else None,
            "target_scale": scale[0] if scale.rank else None,
        }
        for name, horizons in found.items():
            if horizons not in (None, reader.schema.horizons):
                raise SettingsError(
                    f"{name} has {count_of(horizons, 'horizon')}, the data has {reader.schema.horizons}; "
                    f"make them equal"
                )
        missing = sorted(set(self._features or ()) - set(reader.schema.names))
        if missing:
            raise SettingsError(
                f"the model reads {missing[0]!r}, but the batches hold only {', '.join(reader.schema.names)}; "
                f"add it to their features"
            )

    def _begin_epoch(self, epoch: int) -> None:
        if not self._has_begun:
            self._callbacks.on_train_begin()
            self._has_begun = True
        self._callbacks.on_epoch_begin(epoch)

    def _count_faults(self, faults: Sequence[LeftOut], *, rows: int, counted: int) -> None:
        """Count consecutive windows with newly left-out rows; a window of which no row counts does not reset it."""
        if faults:
            self._first_fault = self._first_fault if self.faults_in_a_row else self.steps + 1
            self.faults_in_a_row += 1
        elif counted:
            self.faults_in_a_row = 0
        too_many = len(faults) >= _LEAST_ROWS and len(faults) > MOST_SHARE * rows
        if faults and (too_many or self.faults_in_a_row >= MOST_FAULTS_IN_A_ROW):
            windows = f"rows of {self.faults_in_a_row} consecutive windows"
            what = f"{len(faults)} of {count_of(rows, 'row')}" if too_many else windows
            raise TrainingFailedError(f"{what} had to be left out, the last one because: {faults[-1].detail}", faults)
