"""Begin a training with the weights of a completed run instead of new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import user_path
from ..run_folder import RunFolder, TrainingFolder


def starting_weights(folder: str | Path) -> str:
    """Return the `weights_sha256` of a completed run, which names its weights; SettingsError where there is none."""
    result = _training(folder).read_completed_result()
    if result is None:
        raise SettingsError(f"warm_start={str(folder)!r} holds no completed run; give the --out of one")
    return str(result["weights_sha256"])


def begin_with(model: Any, folder: str | Path) -> None:
    """Give a Keras model the trained weights of a run's model; what it knows of its own training rows stays.

    Raises SettingsError where the two do not have the same weights.
    """
    from ..data.backend import keras

    path = _training(folder).model
    if not path.is_file():
        raise SettingsError(f"warm_start={str(folder)!r} holds no {path.name}; give the --out of a completed run")
    before = keras.models.load_model(path)
    if _likeness(model) != _likeness(before):
        raise SettingsError(
            f"warm_start={str(folder)!r} holds another model; give a run of this version with the same "
            "features, horizons, model_size and encoder"
        )
    for one, other in zip(model.trainable_variables, before.trainable_variables, strict=True):
        one.assign(other)


def _likeness(model: Any) -> tuple[Any, ...]:
    """Return what two models of the same weights share: features by name, and the shapes of their weights."""
    return getattr(model, "feature_names", None), [tuple(one.shape) for one in model.trainable_variables]


def _training(folder: str | Path) -> TrainingFolder:
    return RunFolder(user_path(folder)).training
