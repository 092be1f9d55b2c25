"""The trainer of a run, built from its settings and training rows: where data, model and optimizer meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..errors import DataError
from ..model import build_forecaster
from ..planning.sizes import COMPILED
from ..settings import FitSettings
from ..sources.statistics import FeatureStatistics
from ..store.row_range import RowRange
from .loop import Trainer
from .warm_start import begin_with


def target_scale(targets: np.ndarray) -> np.ndarray:
    """Return float32 (horizons,), the standard deviation of the known targets (rows, horizons); 1 where it is 0.

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
"""A target is reported when it exceeds the median size of its horizon this many times; returns reach a few hundred."""


def unusual_targets(targets: np.ndarray, rows: np.ndarray) -> list[str]:
    """Return a line for each horizon whose largest target is implausible, since it inflates the unit of errors."""
    lines = []
    for horizon, values in enumerate(targets.T, start=1):
        sizes = np.abs(values[np.isfinite(values)])
        median = np.median(sizes) if len(sizes) else 0.0
        at = int(np.nanargmax(np.abs(values))) if median else 0
        if median and abs(values[at]) > UNUSUAL * median:
            lines.append(
                f"y_{horizon} is {values[at]:g} in row {rows[at]}, {abs(values[at]) / median:.1g} times the median "
                f"size {median:.2g}; it inflates the unit that all errors are measured in, so fix or remove it"
            )
    return lines


DRIFT, _DRIFT_PARTS, _DRIFT_ERRORS = 0.5, 4, 5.0
"""A channel drifts when the means of the four quarters of the training rows differ by more than half a standard
deviation and by more than five standard errors. Prices do, by 1.5 and more; a mean-reverting channel does not."""


def lasting_statistics(data: Dataset, rows: RowRange, names: Sequence[str]) -> dict[str, FeatureStatistics]:
    """Return the statistics of rows by feature, with an infinite standard deviation for channels that drift.

    Such a channel is then 0 in standard units. Its level identifies a part of the training rows, which a model
    memorizes, and later rows lie outside the range seen in training (forecasts far worse than zero in one of three
    synthetic markets). Changes within a window stay visible, in the view relative to its last step.
    """
    whole = data.statistics(rows, names)
    quarters = [data.statistics(part, names) for part in rows.parts(_DRIFT_PARTS) if len(part)]
    least = max(DRIFT, _DRIFT_ERRORS * np.sqrt(_DRIFT_PARTS / max(1, len(rows))))
    return {name: _without_drift(whole[name], [quarter[name] for quarter in quarters], least) for name in names}


def _without_drift(whole: FeatureStatistics, quarters: Sequence[FeatureStatistics], least: float) -> FeatureStatistics:
    means = np.ma.masked_array([quarter.mean for quarter in quarters], [quarter.known == 0 for quarter in quarters])
    spans = np.ma.filled(np.ma.ptp(means, axis=0), 0.0)
    return replace(whole, std=np.where(spans > least * whole.std, np.inf, whole.std).astype(np.float32))


def build_trainer(
    settings: FitSettings, data: Dataset, rows: RowRange, *, scale: np.ndarray, precision: str, **options: Any
) -> Trainer:
    """Return an untrained trainer whose model knows the statistics of `rows`.

    scale, float32 (horizons,), is the unit of forecasts and errors; precision is a Keras dtype policy; options are
    passed to `Trainer`.
    """
    schema = data.schema.select(settings.feature_names)
    model = build_forecaster(
        schema,
        model_size=settings.model_size,
        encoder=settings.encoder,
        statistics=lasting_statistics(data, rows, schema.names),
        target_scale=scale,
        precision=precision,
        seed=settings.seed,
    )
    if settings.warm_start:
        begin_with(model, settings.warm_start)
    return Trainer(
        model,
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        target_scale=scale,
        learning_rate=settings.learning_rate,
        clip_norm=settings.clip_norm,
        averaging=True,
        jit=settings.encoder in COMPILED,
        **options,
    )
