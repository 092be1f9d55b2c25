"""Predict with a saved model, for every usable row of a data file in file order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.backend import keras, tf
from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..errors import DataError, SettingsError, interruptible
from ..files import user_path
from ..model import Forecaster, half_width_of
from ..run_folder import RunFolder, meant_run
from ..store.row_range import RowRange
from ..training.exactness import read_features
from ..training.step import pad_rows


@interruptible()
def predict(
    model: keras.Model | str | Path,
    data: str | Path | Dataset,
    *,
    batch_size: int = 32,
    split: str = "all",
    val_ratio: float = 0.1,
    rows: RowRange | None = None,
    intervals: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Return the forecasts for every usable row, those without targets included, in the order of the data.

    The index has the levels `row`, the row's number in that order, from 0 (rejected rows are left out), `timestamp`
    (UTC) and, where rows name one, `market`. Columns y_1..y_H are float32 returns 1..H steps ahead. Data is read batch
    by batch; only the forecasts are kept in memory. With `intervals`, columns low_1..low_H and high_1..high_H follow,
    float32: the bounds of the 95% conformal interval that the model's inner rows gave each horizon, infinite where they
    were too few. It is as wide at every row, and holds as often as said only while the market stays as it was.

    Arguments: model, a run's model.keras or any Keras model that maps a dict of features to one (rows, horizons)
    output; data, an open Dataset or what `open_dataset` takes, with `options` passed on; it needs no targets;
    batch_size in rows; split, 'all', 'train' or 'validation', which is the latest share `val_ratio` of the rows; rows,
    those to forecast instead of a split.

    Raises DataError where a feature that the model reads is missing or has another shape, SettingsError where intervals
    are asked of a model that has none.
    """
    if not isinstance(model, keras.Model):
        model = _load(user_path(model))
    half_width = _half_width(model) if intervals else None
    opened = {"needs_targets": False} | options
    with nullcontext(data) if isinstance(data, Dataset) else open_dataset(data, **opened) as dataset:
        names = _check_features(model, dataset)
        traced = tf.function(lambda inputs: model(inputs, training=False))
        chosen = dataset.part(split, **({} if split == "all" else {"val_ratio": val_ratio})) if rows is None else rows
        reader = BatchReader(dataset, chosen, batch_size=batch_size, shuffle=False, features=names)
        parts, numbers = [], []
        with reader:
            for batch in reader.stream(0):
                inputs, _ = pad_rows(batch.inputs, batch.targets, batch_size)
                parts.append(traced(inputs).numpy()[: len(batch.row_ids)])
                numbers.append(batch.row_ids)
        found = np.concatenate(numbers)
        levels: dict[str, Any] = {"row": found, "timestamp": pd.to_datetime(dataset.read_times(found), utc=True)}
        if dataset.markets:
            levels["market"] = dataset.read_markets(found)
    forecasts = {"y": np.concatenate(parts)}
    if half_width is not None:
        forecasts |= {"low": forecasts["y"] - half_width, "high": forecasts["y"] + half_width}
    columns = [f"{name}_{step}" for name, table in forecasts.items() for step in range(1, table.shape[1] + 1)]
    index = pd.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
    return pd.DataFrame(np.concatenate(list(forecasts.values()), axis=1), index, columns)


def _half_width(model: keras.Model) -> np.ndarray:
    found = half_width_of(model)
    if found is None:
        raise SettingsError(
            "the model has no intervals, for it was not calibrated on inner rows; give one that fit trained with an "
            "inner_ratio above 0, or leave out intervals"
        )
    return found


def _load(path: Path) -> keras.Model:
    path = RunFolder(path).training.model if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"model {path} does not exist; {meant_run(path)}give the model.keras of a run")
    try:
        return keras.models.load_model(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path.name} cannot be read as a Keras model ({line}); give the model.keras of a run"
        ) from None


def _check_features(model: keras.Model, dataset: Dataset) -> list[str] | None:
    """Return the features that the model reads, None for all; raise DataError where model and data do not fit."""
    if isinstance(model, Forecaster):
        names: Sequence[str] | None = model.feature_names
        tensors = list(zip(model.feature_names, model.network.inputs, strict=True))
    else:
        names = read_features(model)
        if names is None and getattr(model, "inputs", None):
            raise DataError("the model does not take a dict of features; give one whose inputs are named after them")
        tensors = list(model.input.items()) if names else []
    found = {feature.name: feature.shape for feature in dataset.schema.features}
    for name in names or ():
        if name not in found:
            raise DataError(f"{dataset.name} has no feature {name!r}, which the model reads; it has {', '.join(found)}")
    for name, tensor in tensors:
        if len(tensor.shape) != 1 + len(found[name]) or not _fits(tensor.shape[1:], found[name]):
            shape = tuple(tensor.shape[1:])
            raise DataError(f"feature {name!r} has shape {found[name]} in {dataset.name}, but {shape} in the model")
    if not isinstance(model, Forecaster) and len(getattr(model, "outputs", None) or [0]) != 1:
        raise DataError(f"the model has {len(model.outputs)} outputs; give one with a single output (rows, horizons)")
    return None if names is None else list(names)


def _fits(wanted: Sequence[int | None], shape: Sequence[int]) -> bool:
    return all(size in (None, given) for size, given in zip(wanted, shape, strict=True))
