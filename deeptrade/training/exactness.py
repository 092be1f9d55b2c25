"""What would make k small passes differ from one large one is refused, by name, before training begins."""

from __future__ import annotations

import keras
import numpy as np

from ..errors import SettingsError

_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")
"""What Keras calls the strength of the layers that draw nothing at 0."""


def refuse_inexact(model: keras.Model) -> None:
    """Raise SettingsError for layers that normalize over a batch, or draw at random for a whole one."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:  # a frozen one does not
            raise SettingsError(
                f"layer {layer.name!r} normalizes over the batch, so small passes would not equal one large one; "
                f"use keras.layers.LayerNormalization or GroupNormalization"
            )
        if drawing := _how_it_draws(layer):
            raise SettingsError(
                f"layer {layer.name!r} draws at random for a whole pass ({drawing}), so small passes would not equal "
                f"one large one; layers that draw nothing are accepted: leave it out, or set its rate to 0"
            )


def _how_it_draws(layer: keras.layers.Layer) -> str:
    """How a layer draws at random in training, as 'rate=0.5' or its class; '' where it does not.

    A layer that draws owns a seed generator, whatever its name. A recurrent cell also owns one with all rates at 0.
    """
    rates = {name: getattr(layer, name) for name in _RATES if isinstance(getattr(layer, name, None), int | float)}
    if on := [f"{name}={rate}" for name, rate in rates.items() if rate > 0]:
        return on[0] if _has_generator(layer, *layer._flatten_layers(include_self=False)) else ""
    return type(layer).__name__ if _has_generator(layer) and not rates else ""


def _has_generator(*layers: keras.layers.Layer) -> bool:
    """Whether Keras tracks a seed generator of one of the layers itself."""
    return any(layer._seed_generators for layer in layers)


def checked_weights(row_weights: np.ndarray | None) -> np.ndarray | None:
    """Return row weights as float32 (rows,); SettingsError unless they are finite and at least 0."""
    if row_weights is None:
        return None
    weights = np.asarray(row_weights, np.float32)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise SettingsError(
            f"row_weights of shape {weights.shape}: one finite number of at least 0 per row is accepted"
        )
    return weights


def check_numbers(*, learning_rate: float, clip_norm: float, target_scale: np.ndarray | float) -> None:
    """Raise SettingsError unless rate and scale are finite and above 0, and clip_norm finite and at least 0."""
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise SettingsError(f"learning_rate={learning_rate!r}: a finite number above 0 is accepted")
    if not (np.isfinite(clip_norm) and clip_norm >= 0):
        raise SettingsError(f"clip_norm={clip_norm!r}: a finite number is accepted, 0 for no clipping")
    scale = np.asarray(target_scale, np.float64)
    if scale.ndim > 1 or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise SettingsError(f"target_scale={target_scale!r}: one finite number above 0 is accepted, or one per horizon")


def read_features(model: keras.Model) -> list[str] | None:
    """Return the features that a functional model of a dict of inputs reads; None where it cannot be told."""
    inputs = model.input if hasattr(model, "_inputs_struct") else None  # which functional models alone have
    return list(inputs) if isinstance(inputs, dict) else None


def refuse_accumulating(optimizer: keras.optimizers.Optimizer) -> None:
    """Raise SettingsError for an optimizer that accumulates gradients, or scales losses, itself."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise SettingsError(
            f"optimizer={optimizer!r}: an optimizer of Keras is accepted, such as keras.optimizers.SGD()"
        )
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise SettingsError(
            "the optimizer accumulates gradients itself, as a mean of means; leave out gradient_accumulation_steps, "
            "accum_steps does it"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise SettingsError("the loss is scaled by the trainer; give the inner optimizer of the LossScaleOptimizer")


def computes_in_float16(model: keras.Model) -> bool:
    """Whether some layer computes in float16, so that losses must be scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
