"""What all workers of a training must have alike before its first step."""

from __future__ import annotations

from typing import Any

from ..data.dataset import Dataset
from ..settings import FitSettings
from .loop import Trainer
from .run_state import RunState
from .runtime import versions
from .saved_model import weights_sha256

_ALSO = ("batch_size", "epochs", "max_steps", "checkpoint_every", "early_stop_patience")
"""Settings besides those that change the weights on which the order of steps, saves and looks at inner rows depends."""


def facts_of(settings: FitSettings, data: Dataset, state: RunState, trainer: Trainer) -> dict[str, Any]:
    """Return by name, as plain data, what the workers compare: data, settings, packages, progress, weights."""
    return {
        "data_id": data.data_id,
        "content_hash": data.content_hash,
        **state.maths,
        **{name: getattr(settings, name) for name in _ALSO},
        **versions(),
        "splits_by_time": state.splits_by_time,
        "order_version": state.order_version,
        "window_rows": state.window_rows,
        "rollbacks": len(state.rollbacks),
        "step": state.step,
        "weights_sha256": weights_sha256(trainer.model.variables),
    }
