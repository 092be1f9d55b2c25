"""The seven sizes and their parameter counts, by arithmetic alone: planning needs no TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from ..sources.schema import Feature, Schema

KERNEL_STEPS = 3
"""Time steps a convolution sees."""

SEGMENT_STEPS = 4
"""Time steps of a segment; a patch of the multiscale encoder is two neighbouring ones."""

SCALES = 10
"""Time scales over which the multiscale encoder averages its patches."""

ATTENTION_HEADS = 4

COMPILED = frozenset({"multiscale"})
"""Encoders that train as one XLA program; XLA has no version of the kernel that runs a recurrence."""


class Size(NamedTuple):
    """Units U of the encoders, and blocks per sequence encoder: convolutions, or layers over patches."""

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


def count_parameters(schema: Schema, model_size: str, encoder: str) -> int:
    """Return the trainable parameters of the forecaster for this schema."""
    size = SIZES[model_size]
    units, token = size.units, 2 * size.units
    encoders = sum(_count_encoder(feature, size, encoder) for feature in schema.features)
    attention = 4 * (token * token + token) + 2 * token
    trunk = token * token + token
    hidden = units // 2
    heads = schema.horizons * (token * hidden + hidden + hidden + 1)
    return encoders + attention + trunk + heads


def _count_encoder(feature: Feature, size: Size, encoder: str) -> int:
    units, token, further = size.units, 2 * size.units, size.blocks - 1
    if not feature.is_sequence:
        return _dense(feature.channels, token) + _dense(token, token)
    if encoder == "multiscale":
        patch = SEGMENT_STEPS * 2 * feature.channels * 2 * units + units
        blocks = further * (_dense(units, units) + 2 * units)
        return patch + blocks + 2 * SCALES * units + _dense(SCALES * units, token) + _dense(token, token)
    first = _dense(KERNEL_STEPS * 2 * feature.channels, units)
    blocks = further * (_dense(KERNEL_STEPS * units, units) + 2 * units)
    one_way = 4 * (units * units + units * units + units)
    return first + blocks + 2 * units + 2 * one_way


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def count_patches(steps: int) -> int:
    """Return the patches of a sequence: one for every two neighbouring segments, at least one.

    >>> count_patches(241), count_patches(24), count_patches(5), count_patches(1)
    (60, 5, 1, 1)
    """
    return max(1, -(-steps // SEGMENT_STEPS) - 1)


def equal_shapes(schema: Schema) -> list[list[int]]:
    """Return the numbers of the features in groups of equal kind, steps and channels, each group one computation."""
    groups: dict[tuple[bool, int, int], list[int]] = {}
    for number, feature in enumerate(schema.features):
        steps = feature.shape[0] if feature.is_sequence else 1
        groups.setdefault((feature.is_sequence, steps, feature.channels), []).append(number)
    return list(groups.values())
