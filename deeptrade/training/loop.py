"""The training loop: windows of an epoch, one optimizer step each; the position is one number, in samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from ..batches import Batch, BatchReader
from ..errors import SettingsError
from ..generator import MemoryEfficientGenerator
from .step import AccumulatingStep, Window


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step. `samples` counts rows of this epoch up to and with it; seconds are wall time."""

    step: int
    epoch: int
    samples: int
    loss: float
    gradient_norm: float
    learning_rate: float
    valid_targets: int
    applied: bool
    row_ids: np.ndarray = field(repr=False)
    step_seconds: float
    data_wait_seconds: float


class Trainer:
    """Trains any Keras model with dict inputs and one (rows, horizons) output on a BatchReader or generator.

    Arguments: target_scale float32 (horizons,) or one number, the unit of errors; batch_size, rows per pass;
    accum_steps, passes per optimizer step; learning_rate of Adam; clip_norm, bound of the gradient's global norm
    (0: none).

    Raises SettingsError for a model whose result would depend on how a window is cut into passes.

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
    ):
        if batch_size < 1 or accum_steps < 1:
            raise SettingsError(f"batch_size={batch_size}, accum_steps={accum_steps}: both must be at least 1")
        _refuse_inexact(model)
        self.model, self.batch_size, self.accum_steps = model, batch_size, accum_steps
        self.optimizer = keras.optimizers.Adam(learning_rate, name="adam")
        self._step = AccumulatingStep(
            model,
            self.optimizer,
            batch_size=batch_size,
            target_scale=target_scale,
            clip_norm=clip_norm,
            scale_loss=_computes_in_float16(model),
        )
        self.steps = 0

    @property
    def variables(self) -> list[Any]:
        """All that a checkpoint must hold: the model's and the optimizer's variables."""
        return [*self.model.variables, *self.optimizer.variables]

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step."""
        return self.batch_size * self.accum_steps

    @property
    def tracing_count(self) -> int:
        """How often the step function was traced; 1 in a healthy run."""
        return self._step.tracing_count

    def state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint beside the variables, as plain data."""
        return {
            "step": self.steps,
            "loss_scale": float(self._step.loss_scale.numpy()),
            "clean_windows": int(self._step.clean_windows.numpy()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.steps = state["step"]
        self._step.loss_scale.assign(state["loss_scale"])
        self._step.clean_windows.assign(state["clean_windows"])

    def train(
        self, data: BatchReader | MemoryEfficientGenerator, *, epoch: int = 0, start: int = 0
    ) -> Iterator[StepRecord]:
        """Train on one epoch from sample `start` to its end; yields after each optimizer step.

        The last window of an epoch is short and is applied with its own number of targets. A window without a valid
        target or with a loss or gradient that is not finite changes nothing and has `applied` False.
        """
        reader = data.reader if isinstance(data, MemoryEfficientGenerator) else data
        self._step.reset()  # of what a loop left in the middle of a window has added
        position = start
        stream = reader.stream(epoch, start=position, batch_size=self.batch_size)
        while position < reader.samples:
            began = time.perf_counter()
            stop = min(position + self.effective_batch, reader.samples)
            window, row_ids, waited = self._train_window(stream, stop - position)
            while window.overflowed:  # float16 only: its rows are as good as any, the loss scale was too high
                stream = reader.stream(epoch, start=position, batch_size=self.batch_size)
                window, row_ids, waited_again = self._train_window(stream, stop - position)
                waited += waited_again
            position = stop
            self.steps += 1
            yield StepRecord(
                step=self.steps,
                epoch=epoch,
                samples=position,
                loss=window.loss,
                gradient_norm=window.gradient_norm,
                learning_rate=float(self.optimizer.learning_rate),
                valid_targets=window.valid_targets,
                applied=window.applied,
                row_ids=row_ids,
                step_seconds=time.perf_counter() - began,
                data_wait_seconds=waited,
            )

    def _train_window(self, stream: Iterator[Batch], rows: int) -> tuple[Window, np.ndarray, float]:
        """One optimizer step on the next `rows` rows; returns what it did, the rows, and seconds waited for data."""
        row_ids: list[np.ndarray] = []
        waited, window = 0.0, None
        while window is None:
            asked = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - asked
            row_ids.append(batch.row_ids)
            rows -= len(batch.row_ids)
            window = self._step(batch.inputs, batch.targets, last=rows <= 0)
        return window, np.concatenate(row_ids), waited


def _refuse_inexact(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise SettingsError(
                f"layer {layer.name!r} normalizes over the batch, so small passes would not equal one large one; "
                f"use keras.layers.LayerNormalization or GroupNormalization"
            )
    if model.losses:
        raise SettingsError("the model has regularization losses, which Trainer does not add; leave them out")


def _computes_in_float16(model: keras.Model) -> bool:
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
