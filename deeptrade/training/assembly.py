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


UNUSUAL = 1000
"""Times the median size of a horizon's targets above which one is said: returns stray by a few hundred at most."""


def unusual_targets(targets: np.ndarray, rows: np.ndarray) -> list[str]:
    """Return a line for each horizon whose largest target is out of all proportion: the unit of errors follows it."""
    lines = []
    for horizon, values in enumerate(targets.T, start=1):
        sizes = np.abs(values[np.isfinite(values)])
        median = np.median(sizes) if len(sizes) else 0.0
        at = int(np.nanargmax(np.abs(values))) if median else 0
        if median and abs(values[at]) > UNUSUAL * median:
            lines.append(
                f"y_{horizon} is {values[at]:g} in row {rows[at]}, {abs(values[at]) / median:.1g} times the median "
                f"size {median:.2g}; all errors are measured in units that follow it, so mend or remove it"
            )
    return lines


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
