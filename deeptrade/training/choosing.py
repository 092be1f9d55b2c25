"""Which weights of a run are kept, in what size they forecast, and how good that is.

Inner rows choose the epoch and calibrate the forecasts; validation rows are forecast once, when both are settled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.split import Split
from ..model import Forecaster, with_calibration
from ..settings import FitSettings
from ..store.row_range import RowRange
from .calibration import Calibration, calibrate
from .checkpoints import Checkpoints
from .feed import LeftOut
from .judged import Judged
from .loop import Trainer
from .metrics import Forecasts, Forward, has_targets, no_forecasts, score
from .run_state import RunState
from .runtime import StopRequest
from .validation import Validator, validation_batch


@dataclass(frozen=True)
class Chosen:
    """The outcome of a training: the model to save, after how many epochs and steps its weights were, and its scores.

    `inner` and `validation` are what `score` returns, of calibrated forecasts; `inner` and `calibration` are None in a
    run without inner rows. `coverage`, by horizon, is the share of validation targets inside their intervals.
    `forecasts` and `inner_forecasts` are those that were scored, beside their targets.
    """

    model: Forecaster
    epoch: int
    step: int
    validation: dict[str, Any]
    forecasts: Judged
    inner_forecasts: Judged
    inner: dict[str, Any] | None = None
    calibration: Calibration | None = None
    coverage: list[float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what result.json tells of it."""
        calibration = None if self.calibration is None else asdict(self.calibration) | {"coverage": self.coverage}
        return {
            "validation": self.validation,
            "inner": self.inner,
            "weights_of": {"epoch": self.epoch, "step": self.step},
            "calibration": calibration,
        }


class Choice:
    """Chooses among the epochs of a run, and judges the last choice; `unread` are rows that could not be read."""

    def __init__(
        self,
        trainer: Trainer,
        data: Dataset,
        split: Split,
        settings: FitSettings,
        *,
        target_scale: np.ndarray,
        checkpoints: Checkpoints,
        sink: Callable[[str], None],
    ):
        self._trainer, self._data, self._checkpoints, self._scale = trainer, data, checkpoints, target_scale
        self._markets = len(settings.market_names or data.markets) or 1
        self._overlap = data.labels(target_step=settings.target_step, markets=settings.market_names).overlap
        forward = Forward(trainer.model, batch_size=validation_batch(settings))

        def validator(rows: RowRange, name: str) -> Validator:
            return Validator(forward, data, rows, settings, name=name, sink=sink)

        self._inner = validator(split.inner, "inner")
        self._validation = validator(split.validation, "validation")

    @property
    def has_inner(self) -> bool:
        """Whether there are rows to choose by."""
        return len(self._inner) > 0

    @property
    def unread(self) -> list[LeftOut]:
        """Validation rows that could not be read the last time."""
        return self._validation.unread

    @property
    def unread_inner(self) -> list[LeftOut]:
        """Inner rows that could not be read the last time."""
        return self._inner.unread

    def end_epoch(self, state: RunState, stop: StopRequest) -> dict[str, Any] | None:
        """Note the inner scores of the epoch that ends, and keep its weights if they are the best; return the scores.

        None without inner rows, or where none of them has a target.
        """
        if not self.has_inner:
            return None
        with self._trainer.averaged():
            scores = self._score(self._inner.forecast(stop))
            if not has_targets(scores):
                return None
            if state.note_inner(scores["loss"]):
                self._checkpoints.save_best(state.step, self._trainer.model.variables)
        return scores

    def finish(self, state: RunState, stop: StopRequest) -> Chosen:
        """End training: give the model its best weights for good, calibrate its forecasts and judge them."""
        self._trainer.finish()
        epoch, step, inner = self._choose(state, stop)
        calibration, model = None, self._trainer.model
        if inner is not None:
            calibration = calibrate(inner.forecasts, inner.targets, overlap=self._overlap, markets=self._markets)
            model = with_calibration(model, shrinkage=calibration.shrinkage, half_width=calibration.half_width)
            inner = inner.times(calibration.shrinkage)
        found = self._validation.forecast(stop)
        found = found if calibration is None else found.times(calibration.shrinkage)
        return Chosen(
            model,
            epoch,
            step,
            validation=self._score(found),
            forecasts=self._judged(found),
            inner_forecasts=self._judged(inner or no_forecasts(self._data.schema.horizons)),
            inner=None if inner is None else self._score(inner),
            calibration=calibration,
            coverage=None if calibration is None else coverage(found, calibration),
        )

    def _judged(self, found: Forecasts) -> Judged:
        return Judged.of(self._data, found.row_ids, found.forecasts)

    def _choose(self, state: RunState, stop: StopRequest) -> tuple[int, int, Forecasts | None]:
        """Give the model the best weights: after how many epochs and steps they were, and their inner forecasts."""
        now = (state.epoch + bool(state.position), state.step)
        if not self.has_inner:
            return *now, None
        if state.position or state.best_step == state.step or not state.best_step:
            found = self._inner.forecast(stop)
            is_best = not state.best_step or state.best_step == state.step
            if is_best or state.improves(self._score(found)["loss"]):
                return *now, found
        self._checkpoints.restore_best(state.best_step, self._trainer.model.variables)
        return state.best_epoch, state.best_step, self._inner.forecast(stop)

    def _score(self, found: Forecasts) -> dict[str, Any]:
        return score(found.forecasts, found.targets, target_scale=self._scale)

    def close(self) -> None:
        """Stop reading."""
        self._inner.close()
        self._validation.close()


def coverage(found: Forecasts, calibration: Calibration) -> list[float]:
    """Return by horizon the share of known targets inside the interval of their calibrated forecast; NaN for none."""
    errors = np.abs(found.targets - found.forecasts)
    known = np.isfinite(errors)
    inside = known & (errors <= np.asarray(calibration.half_width, np.float32))
    with np.errstate(invalid="ignore"):
        return (inside.sum(axis=0) / known.sum(axis=0)).tolist()
