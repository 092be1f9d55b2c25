"""A trainer made from a run's settings and its training rows: the one place where data, model and optimizer meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dataset import Dataset
from ..errors import DataError
from ..model import build_forecaster
from ..order import Rows
from ..settings import FitSettings
from .loop import Trainer


def target_scale(targets: np.ndarray) -> np.ndarray:
    """Return float32 (horizons,), the standard deviation of the targets (rows, horizons) there are; 1 where it is 0.

    Raises DataError when there is no target at all.
    """
    known = np.isfinite(targets).any(axis=0)
    if not known.any():
        raise DataError("no training row has a target; nothing can be learned from this file")
    scale = np.ones(targets.shape[1], np.float32)
    scale[known] = np.nanstd(targets[:, known].astype(np.float64), axis=0)
    scale[scale == 0] = 1
    return scale


def build_trainer(
    settings: FitSettings, data: Dataset, rows: Rows, *, scale: np.ndarray, precision: str, **options: Any
) -> Trainer:
    """Return an untrained trainer whose model knows the statistics of `rows`.

    scale float32 (horizons,) is the unit of forecasts and errors; precision a Keras dtype policy; options go to
    `Trainer`.
    """
    schema = data.schema.select(settings.feature_names)
    model = build_forecaster(
        schema,
        model_size=settings.model_size,
        statistics=data.statistics(rows, schema.names),
        target_scale=scale,
        precision=precision,
        seed=settings.seed,
    )
    return Trainer(
        model,
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        target_scale=scale,
        learning_rate=settings.learning_rate,
        clip_norm=settings.clip_norm,
        **options,
    )
