"""The seven sizes and their parameter counts, by arithmetic alone: planning needs no TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from ..sources.schema import Feature, Schema

KERNEL_STEPS = 3
"""Time steps a convolution sees."""

ATTENTION_HEADS = 4


class Size(NamedTuple):
    """Units U of the encoders, and convolution blocks per sequence encoder."""

    units: int
    blocks: int


SIZES = {
    "tiny": Size(32, 2),
    "small": Size(48, 2),
    "medium": Size(64, 3),
    "large": Size(96, 4),
    "xlarge": Size(128, 5),
    "massive": Size(512, 6),
    "gigantic": Size(1024, 8),
}


def count_parameters(schema: Schema, model_size: str) -> int:
    """Return the trainable parameters of the forecaster for this schema."""
    size = SIZES[model_size]
    units, token = size.units, 2 * size.units
    encoders = sum(_count_encoder(feature, size) for feature in schema.features)
    attention = 4 * (token * token + token) + 2 * token
    trunk = token * token + token
    hidden = units // 2
    heads = schema.horizons * (token * hidden + hidden + hidden + 1)
    return encoders + attention + trunk + heads


def _count_encoder(feature: Feature, size: Size) -> int:
    units, token = size.units, 2 * size.units
    if not feature.is_sequence:
        return _dense(feature.channels, token) + _dense(token, token)
    first = _dense(KERNEL_STEPS * 2 * feature.channels, units)
    further = (size.blocks - 1) * (_dense(KERNEL_STEPS * units, units) + 2 * units)
    one_way = 4 * (units * units + units * units + units)
    return first + further + 2 * units + 2 * one_way


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
