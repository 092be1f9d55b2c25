"""Checks before training that refuse, by name, whatever would make k small passes differ from one large pass."""

from __future__ import annotations

import numpy as np

from ..data.backend import keras
from ..errors import SettingsError

_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")
"""Keras's names for the strength of random layers; at 0 they draw no random numbers."""


def refuse_inexact(model: keras.Model) -> None:
    """Raise SettingsError for layers that normalize over the batch, or draw random numbers per batch."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:  # a frozen one does not
            raise SettingsError(
                f"layer {layer.name!r} normalizes over the batch, so small passes would not equal one large one; "
                f"use keras.layers.LayerNormalization or GroupNormalization"
            )
        if drawing := _how_it_draws(layer):
            raise SettingsError(
                f"layer {layer.name!r} draws random numbers per pass ({drawing}), so small passes would not equal one "
                f"large one; only layers without randomness are accepted: leave it out, or set its rate to 0"
            )


def _how_it_draws(layer: keras.layers.Layer) -> str:
    """Why a layer is random in training, as 'rate=0.5' or its class; '' if it is not.

    A random layer owns a seed generator, whatever its name. A recurrent cell owns one even with all rates at 0.
    """
    rates = {name: getattr(layer, name) for name in _RATES if isinstance(getattr(layer, name, None), int | float)}
    if on := [f"{name}={rate}" for name, rate in rates.items() if rate > 0]:
        return on[0] if _has_generator(layer, *layer._flatten_layers(include_self=False)) else ""
    return type(layer).__name__ if _has_generator(layer) and not rates else ""


def _has_generator(*layers: keras.layers.Layer) -> bool:
    """Whether one of the layers itself owns a seed generator, as tracked by Keras."""
    return any(layer._seed_generators for layer in layers)


def checked_weights(row_weights: np.ndarray | None) -> np.ndarray | None:
    """Return row weights as float32 (rows,); SettingsError unless they are finite and at least 0."""
    if row_weights is None:
        return None
    weights = np.asarray(row_weights, np.float32)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise SettingsError(
            f"row_weights of shape {weights.shape} is not accepted; give one finite number per row, 0 or more"
        )
    return weights


def check_numbers(*, learning_rate: float, clip_norm: float, target_scale: np.ndarray | float) -> None:
    """Raise SettingsError unless rate and scale are finite and above 0, and clip_norm finite and at least 0."""
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise SettingsError(f"learning_rate={learning_rate!r} is not accepted; use a finite number above 0")
    if not (np.isfinite(clip_norm) and clip_norm >= 0):
        raise SettingsError(
            f"clip_norm={clip_norm!r} is not accepted; use a finite number above 0, or 0 for no clipping"
        )
    scale = np.asarray(target_scale, np.float64)
    if scale.ndim > 1 or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise SettingsError(
            f"target_scale={target_scale!r} is not accepted; use one finite number above 0, or one per horizon"
        )


def read_features(model: keras.Model) -> list[str] | None:
    """Return the features that a functional model with a dict of inputs reads; None for other models."""
    inputs = model.input if hasattr(model, "_inputs_struct") else None  # only functional models have it
    return list(inputs) if isinstance(inputs, dict) else None


def refuse_accumulating(optimizer: keras.optimizers.Optimizer) -> None:
    """Raise SettingsError for an optimizer that itself accumulates gradients or scales losses."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise SettingsError(
            f"optimizer={optimizer!r} is not accepted; give a Keras optimizer, such as keras.optimizers.SGD()"
        )
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise SettingsError(
            "the optimizer accumulates gradients itself, as a mean of means; leave out gradient_accumulation_steps and "
            "use accum_steps"
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise SettingsError("the trainer scales the loss; give the inner optimizer of the LossScaleOptimizer")


def computes_in_float16(model: keras.Model) -> bool:
    """Return whether any layer computes in float16, so that losses must be scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
