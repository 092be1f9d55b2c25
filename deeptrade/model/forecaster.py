"""The forecaster: each feature becomes a token, the tokens attend to each other, and each horizon has its own head.

    sequences (B, T, C) -> stacked, normalized (G, B, T, 2C) -> encoder of sequences          (B, G, 2U)
    vectors   (B, C)    -> stacked, normalized (G, B, C)     -> two dense layers              (B, G, 2U)
    tokens    (B, F, 2U) -> attention across features -> mean (B, 2U) -> dense -> heads (B, H) * target scale

B rows, T steps, C channels, U units of the size, F features, of which G have one shape and share one computation with
weights of their own, H horizons. No layer looks across rows: layer normalization only, no dropout, so that k small
batches equal one large one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.backend import keras, refuse_other_settings
from ..mixing import draw
from ..planning.sizes import ATTENTION_HEADS, SIZES, Size, equal_shapes
from ..sources.schema import Feature, Schema
from ..sources.statistics import FeatureStatistics
from .encoders import ENCODERS, Vector
from .layers import Calibrated, SequenceNormalization, VectorNormalization


def build_forecaster(
    schema: Schema,
    *,
    model_size: str,
    encoder: str,
    statistics: Mapping[str, FeatureStatistics],
    target_scale: np.ndarray,
    precision: str = "float32",
    seed: int = 0,
) -> Forecaster:
    """Return an untrained forecaster, which forecasts zero.

    Arguments: encoder, one of `ENCODERS`, for sequences; statistics of the training rows by feature; target_scale
    float32 (horizons,), the unit of each head, such as the standard deviation of its training targets; precision, a
    Keras dtype policy; seed, of the initial weights, which are a function of it alone.

    Inputs: dict of float32 (rows, *shape) by feature name. Output: float32 (rows, horizons), in units of returns.
    Raises SettingsError if Keras has settings in this process that would change the forecaster.
    """
    refuse_other_settings()
    size = SIZES[model_size]
    layers = _Layers(precision, seed)
    inputs = [keras.Input(feature.shape, name=f"feature_{n}") for n, feature in enumerate(schema.features)]
    tokens = []
    for number, members in enumerate(equal_shapes(schema)):
        group, features = [inputs[n] for n in members], [schema.features[n] for n in members]
        name = f"features_{number}"
        tokens.append(_encode(group, features, statistics, size, layers, encoder=encoder, name=name))
    outputs = _heads(_attend(tokens, size, layers), schema.horizons, size, target_scale, layers)
    return Forecaster(schema.names, keras.Model(inputs, outputs, name="network"), name="forecaster")


def with_calibration(model: Forecaster, *, shrinkage: Sequence[float], half_width: Sequence[float]) -> Forecaster:
    """Return the forecaster with calibrated forecasts; it shares the layers and weights of `model`."""
    layer = Calibrated(name="calibrated")
    outputs = layer(model.network.outputs[0])
    layer.shrinkage.assign(np.asarray(shrinkage, np.float32))
    layer.half_width.assign(np.asarray(half_width, np.float32))
    return Forecaster(model.feature_names, keras.Model(model.network.inputs, outputs, name="network"), name=model.name)


def half_width_of(model: keras.Model) -> np.ndarray | None:
    """Return half the width of the model's 95% intervals, float32 (horizons,) in units of returns.

    None for a model without calibration; infinite where the inner rows were too few to know it.
    """
    layers = model.network.layers if isinstance(model, Forecaster) else ()
    found = [np.asarray(layer.half_width) for layer in layers if isinstance(layer, Calibrated)]
    return found[-1] if found else None


@keras.saving.register_keras_serializable("deeptrade")
class Forecaster(keras.Model):
    """A network over numbered features, called with a dict of arrays by verbatim feature name.

    Column names may contain characters that Keras refuses in names (such as '/'), so they are data of the model and not
    layer names.
    """

    def __init__(self, feature_names: Sequence[str], network: keras.Model, **options: Any):
        super().__init__(**options)
        self.feature_names, self.network = tuple(feature_names), network
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Return float32 (rows, horizons) for a dict of float32 (rows, *shape)."""
        return self.network([inputs[name] for name in self.feature_names], training=training)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` rebuilds the model from."""
        network = keras.saving.serialize_keras_object(self.network)
        return {"name": self.name, "feature_names": list(self.feature_names), "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Forecaster:
        """Return the model of a configuration, with untrained weights."""
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(config["feature_names"], network, name=config["name"])


class _Layers:
    """Makes layers of one precision; their initial weights come from one seed."""

    def __init__(self, precision: str, seed: int):
        self.precision = precision
        self._key, self._drawn = f"initial weights/{seed}", itertools.count()

    def glorot(self) -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(self.next_seed())

    def next_seed(self) -> int:
        """Return a seed for one weight."""
        return draw(self._key, next(self._drawn), below=2**31)

    def dense(self, units: int, name: str, activation: str | None = None) -> keras.layers.Layer:
        return keras.layers.Dense(units, activation, kernel_initializer=self.glorot(), dtype=self.precision, name=name)

    def norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(dtype=self.precision, name=name)


def _encode(
    inputs: list[Any],
    features: Sequence[Feature],
    statistics: Mapping[str, FeatureStatistics],
    size: Size,
    layers: _Layers,
    *,
    encoder: str,
    name: str,
) -> Any:
    """Return the tokens (B, G, 2U) of G features of one shape."""
    first = features[0]
    if any(len(feature.shape) > 2 for feature in features):  # a shape of (steps, a, b) may stand beside (steps, a * b)
        flat = keras.layers.Reshape((first.shape[0], first.channels), name=f"{name}_flat")
        inputs = [flat(one) for one in inputs]
    kind, normalization = (
        (ENCODERS[encoder], SequenceNormalization) if first.is_sequence else (Vector, VectorNormalization)
    )
    normal = normalization(name=f"{name}_normalization")
    x = normal(inputs)
    normal.set_statistics(*(statistics[feature.name] for feature in features))
    return kind(*size, seed=layers.next_seed(), dtype=layers.precision, name=name)(x)


def _attend(tokens: list[Any], size: Size, layers: _Layers) -> Any:
    """Tokens (B, G, 2U), mixed by one attention over all features, and their mean (B, 2U)."""
    width = 2 * size.units
    x = tokens[0]
    if len(tokens) > 1:
        x = keras.layers.Concatenate(axis=1, dtype=layers.precision, name="tokens")(tokens)
    attention = keras.layers.MultiHeadAttention(
        ATTENTION_HEADS,
        width // ATTENTION_HEADS,
        dtype=layers.precision,
        name="attention",
    )
    mixed = attention(x, x)
    for weight in attention.weights:  # one seeded initializer would start query, key and value alike
        if weight.name == "kernel":
            weight.assign(layers.glorot()(weight.shape))
    x = keras.layers.Add(dtype=layers.precision, name="attention_add")([x, mixed])
    x = layers.norm("attention_norm")(x)
    return keras.layers.GlobalAveragePooling1D(dtype=layers.precision, name="pool")(x)


def _heads(inputs: Any, horizons: int, size: Size, target_scale: np.ndarray, layers: _Layers) -> Any:
    """One small network per horizon, computed together in one product; the last weights start at zero."""
    x = layers.dense(2 * size.units, "trunk", "gelu")(inputs)
    x = keras.layers.EinsumDense(
        "bd,dhk->bhk",
        (horizons, size.units // 2),
        activation="gelu",
        bias_axes="hk",
        kernel_initializer=layers.glorot(),
        dtype=layers.precision,
        name="head_hidden",
    )(x)
    x = keras.layers.EinsumDense(
        "bhk,hk->bh", (horizons,), bias_axes="h", kernel_initializer="zeros", dtype="float32", name="head"
    )(x)
    scale = np.asarray(target_scale, np.float32).tolist()
    return keras.layers.Rescaling(scale, dtype="float32", name="returns")(x)
