"""The forecaster: each feature becomes a token, the tokens attend to each other, and each horizon has its own head.

    sequence (B, T, C) -> normalization (B, T, 2C) -> convolutions (B, T, U) -> recurrence both ways (B, 2U)
    vector   (B, C)    -> normalization (B, C)     -> two dense layers                           (B, 2U)
    tokens   (B, F, 2U) -> attention across features -> mean (B, 2U) -> dense -> heads (B, H) * target scale

B rows, T steps, C channels, U units of the size, F features, H horizons. No layer looks across rows: layer
normalization only, no dropout, so that k small batches equal one large one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.backend import keras, refuse_other_settings
from ..mixing import draw
from ..planning.sizes import ATTENTION_HEADS, KERNEL_STEPS, SIZES, Size
from ..sources.schema import Feature, Schema
from ..sources.statistics import FeatureStatistics
from .layers import Calibrated, SequenceNormalization, VectorNormalization
from .recurrence import Recurrence


def build_forecaster(
    schema: Schema,
    *,
    model_size: str,
    statistics: Mapping[str, FeatureStatistics],
    target_scale: np.ndarray,
    precision: str = "float32",
    seed: int = 0,
) -> Forecaster:
    """Return an untrained forecaster, which forecasts zero.

    Arguments: statistics of the training rows by feature; target_scale float32 (horizons,), the unit of each
    head, such as the standard deviation of its training targets; precision, a Keras dtype policy; seed, of the
    initial weights, which are a function of it alone.

    Inputs: dict of float32 (rows, *shape) by feature name. Output: float32 (rows, horizons), in units of returns.
    Raises SettingsError if Keras has settings in this process that would change the forecaster.
    """
    refuse_other_settings()
    size = SIZES[model_size]
    layers = _Layers(precision, seed)
    inputs = [keras.Input(feature.shape, name=f"feature_{n}") for n, feature in enumerate(schema.features)]
    tokens = [
        _encode(inputs[n], feature, statistics[feature.name], size, layers, f"feature_{n}")
        for n, feature in enumerate(schema.features)
    ]
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
    inputs: Any, feature: Feature, statistics: FeatureStatistics, size: Size, layers: _Layers, name: str
) -> Any:
    if not feature.is_sequence:
        normalization = VectorNormalization(name=f"{name}_normalization")
        x = normalization(inputs)
        normalization.set_statistics(statistics)
        x = layers.dense(2 * size.units, f"{name}_dense_0", "gelu")(x)
        return layers.dense(2 * size.units, f"{name}_dense_1")(x)
    if len(feature.shape) > 2:
        inputs = keras.layers.Reshape((feature.shape[0], feature.channels), name=f"{name}_flat")(inputs)
    sequence_normalization = SequenceNormalization(name=f"{name}_normalization")
    x = sequence_normalization(inputs)  # (B, T, 2C)
    sequence_normalization.set_statistics(statistics)
    for block in range(size.blocks):
        x = _convolve(x, size.units, layers, f"{name}_block_{block}", residual=block > 0)  # (B, T, U)
    return _recur(layers.norm(f"{name}_norm")(x), size.units, layers, name)  # (B, 2U)


def _convolve(inputs: Any, units: int, layers: _Layers, name: str, *, residual: bool) -> Any:
    x = layers.norm(f"{name}_norm")(inputs) if residual else inputs
    x = keras.layers.Conv1D(
        units,
        KERNEL_STEPS,
        padding="same",
        activation="gelu",
        kernel_initializer=layers.glorot(),
        dtype=layers.precision,
        name=name,
    )(x)
    return keras.layers.Add(dtype=layers.precision, name=f"{name}_add")([inputs, x]) if residual else x


def _recur(inputs: Any, units: int, layers: _Layers, name: str) -> Any:
    """The last state of a recurrence over time, forwards and backwards."""
    ways = [
        Recurrence(
            units,
            go_backwards=backwards,
            kernel_seed=layers.next_seed(),
            recurrent_seed=layers.next_seed(),
            name=f"{name}_{'backward' if backwards else 'forward'}",
        )(inputs)
        for backwards in (False, True)
    ]
    return keras.layers.Concatenate(dtype=layers.precision, name=f"{name}_token")(ways)


def _attend(tokens: list[Any], size: Size, layers: _Layers) -> Any:
    """Tokens (B, 2U) each, mixed by one attention over features, and their mean (B, 2U)."""
    width = 2 * size.units
    rows = [
        keras.layers.Reshape((1, width), dtype=layers.precision, name=f"token_{n}")(t) for n, t in enumerate(tokens)
    ]
    x = keras.layers.Concatenate(axis=1, dtype=layers.precision, name="tokens")(rows) if len(rows) > 1 else rows[0]
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
