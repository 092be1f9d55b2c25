"""Prediction of the bytes a training run holds at its peak, term by term, before anything is built.

The terms are everything in memory at the same moment, in the middle of a training step. Sizes that follow from shapes
are computed; the few constants were measured, and each says where. `optimize` checks the sum against a real run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..data.batch_cache import CACHE_BYTES
from ..errors import DoesNotFitError
from ..memory.limits import Limit, MemoryLimits
from ..settings import MODEL_SIZES, FitSettings
from ..sources.blocks import BLOCK_BYTES
from ..sources.schema import Feature, Schema
from ..units import format_bytes
from .sizes import SCALES, SIZES, Size, count_parameters, count_patches, equal_shapes

FLOAT_BYTES = 4

MODEL_ERROR = 0.15
"""Share by which a prediction may miss the real peak (benchmarks/predicted_peak.py prints it for many runs)."""

BASELINE_BYTES = 277_000_000
"""Anonymous bytes of a process that has imported TensorFlow 2.21 and the data path and multiplied two matrices.

Measured in a fresh process on 2 cores, Linux, three times within 0.1%; its test repeats the measurement.
RSS was 706 MB: the rest is mapped library files, which the kernel can drop.
"""

RESERVED_BYTES = {"RLIMIT_AS": 2_500_000_000, "RLIMIT_DATA": 400_000_000}
"""Bytes that training counts against an rlimit beyond its anonymous bytes, measured at its peak (small and large
models, 8 and 32 rows: 2.4 to 2.5 GB, 0.31 to 0.39 GB).

RLIMIT_AS counts mapped libraries and reserved stacks and arenas, RLIMIT_DATA the writable ones; both count pages that
malloc has released until their whole region is unmapped.
"""

PROGRAM_BYTES = 85_000_000
PROGRAM_PART_BYTES = {"multiscale": 8_000_000, "recurrent": 5_000_000}
"""The traced step, its optimized graph or compiled program, and the kernels' scratch space: a constant, and an amount
per part, see `_program_parts`.

Measured as what real runs held beyond the other terms: 95 to 214 MB (one sequence, and all seven features, from tiny to
xlarge; benchmarks/predicted_peak.py).
"""

INPUT_COPIES = {"multiscale": 6, "recurrent": 3}
"""Tensors of (steps, channels) that a sequence is kept as: given, stacked, in two views, XLA's own; measured."""

CONVOLUTION_COPIES, RECURRENT_COPIES = 6, 11
"""Tensors of (steps, units) that a convolution block keeps for its gradient, and one recurrent direction, gates and
states.

Together they give 3.2, 4.7 and 7.4 MiB per row for tiny, small and medium; measured are 3.1, 4.7 and 7.2 between 32 and
128 rows.
"""

PATCH_COPIES = 6
"""Tensors of (patches, units) that a block over patches keeps for its gradient.

With the inputs they give 0.44, 0.59 and 1.01 MiB per row for tiny, small and medium; measured are 0.42, 0.52 and 0.94
between 32 and 128 rows.
"""


_OFF = {"cache_batches": 0, "prefetch": 0, "no_lazy_loading": False}
"""Settings that trade memory for speed, and the value at which they hold none."""

PARTS = {
    "process": ("baseline",),
    "model": ("program", "weights", "gradients", "accumulators", "optimizer slots", "averages", "cache", "rows"),
    "rows of a pass": ("activations", "batches", "prefetch"),
}
"""Terms of the prediction, grouped into what trials can tell apart: what exists before the model, and what grows with
the batch."""


def predict_peak(schema: Schema, settings: FitSettings, *, rows: int = 0) -> dict[str, int]:
    """Return the anonymous bytes of each term at the peak of `fit` with these settings; the sum is the peak.

    `rows` is the number of rows in the data file, 0 if unknown; it sizes the row index, and with no_lazy_loading all
    rows.

    Raises SettingsError for a feature that the schema does not have.
    """
    used = schema.select(settings.feature_names)
    weight_bytes = FLOAT_BYTES * count_parameters(used, settings.model_size, settings.encoder)
    batch_bytes = settings.batch_size * used.row_bytes
    return {
        "baseline": BASELINE_BYTES,
        "program": PROGRAM_BYTES + PROGRAM_PART_BYTES[settings.encoder] * _program_parts(used, settings),
        "weights": weight_bytes,
        "gradients": 2 * weight_bytes,  # averaged and clipped
        "accumulators": 2 * weight_bytes,  # float64
        "optimizer slots": 2 * weight_bytes,
        "averages": weight_bytes,
        "activations": settings.batch_size * activation_bytes(used, settings),
        "batches": 2 * batch_bytes,  # the reader's arrays and TensorFlow's copy
        "prefetch": settings.prefetch * batch_bytes,
        "cache": min(settings.cache_batches * batch_bytes, CACHE_BYTES),
        "rows": _row_bytes(schema, settings, rows),
    }


@dataclass(frozen=True)
class Alternative:
    """Settings that would hold less: the changes by name, and the bytes by which they lower the predicted peak."""

    change: dict[str, Any]
    saved_bytes: int


def alternatives(schema: Schema, settings: FitSettings, *, rows: int = 0) -> list[Alternative]:
    """Return changes that would lower the peak of `fit`, largest saving first; arguments as in `predict_peak`.

    Each is taken alone: half the rows per pass at the same rows per step, no cache, no reading ahead, lazy loading, and
    the next smaller model. Changes that save nothing are left out.
    """
    changes: list[dict[str, Any]] = []
    if settings.batch_size % 2 == 0:
        accum_steps = 2 * settings.steps_per_update
        changes.append({"batch_size": settings.batch_size // 2, "grad_accum": True, "accum_steps": accum_steps})
    changes += [{name: off} for name, off in _OFF.items() if getattr(settings, name) != off]
    smaller = MODEL_SIZES.index(settings.model_size) - 1
    if smaller >= 0:
        changes.append({"model_size": MODEL_SIZES[smaller]})
    peak = sum(predict_peak(schema, settings, rows=rows).values())
    found = [
        Alternative(change, peak - sum(predict_peak(schema, replace(settings, **change), rows=rows).values()))
        for change in changes
    ]
    return sorted((one for one in found if one.saved_bytes > 0), key=lambda one: -one.saved_bytes)


def check_fits(schema: Schema, settings: FitSettings, *, room_bytes: int) -> None:
    """Raise DoesNotFitError when training with these settings needs more than `room_bytes` of anonymous memory.

    A prediction may be too high by MODEL_ERROR, so only what exceeds the room even then is refused.
    """
    needed = sum(predict_peak(schema, settings).values())
    if needed <= room_bytes * (1 + MODEL_ERROR):
        return
    sizes = (size for size in range(settings.batch_size - 1, 0, -1) if settings.effective_batch % size == 0)
    fits = next(
        (n for n in sizes if sum(predict_peak(schema, replace(settings, batch_size=n)).values()) <= room_bytes), 0
    )
    advice = (
        f"--grad_accum --batch_size {fits} --accum_steps {settings.effective_batch // fits}"
        if fits
        else "a smaller model_size"
    )
    raise DoesNotFitError(
        f"batch_size={settings.batch_size} with model_size={settings.model_size!r} needs {format_bytes(needed)}, "
        f"{format_bytes(room_bytes)} may be used; use {advice}, or raise --memory_limit"
    )


def _program_parts(schema: Schema, settings: FitSettings) -> int:
    """Parts of the program that grow with the features: for `recurrent` the blocks of every sequence.

    For `multiscale` the groups of features of one shape, and the blocks of each group of sequences.
    """
    blocks = SIZES[settings.model_size].blocks
    if settings.encoder == "recurrent":
        return blocks * sum(feature.is_sequence for feature in schema.features)
    groups = equal_shapes(schema)
    return len(groups) + blocks * sum(schema.features[group[0]].is_sequence for group in groups)


def pass_row_bytes(schema: Schema, settings: FitSettings) -> int:
    """Return the bytes that a pass holds per row: activations, the row itself and TensorFlow's copy of it."""
    used = schema.select(settings.feature_names)
    return activation_bytes(used, settings) + 2 * used.row_bytes


def activation_bytes(schema: Schema, settings: FitSettings) -> int:
    """Return the bytes that the forward pass of one row keeps for the backward pass.

    A sequence of T steps and C channels is kept as given and relative to its last step. Then it passes through D
    convolution blocks and a bidirectional recurrent layer, each with U units, or D blocks over its patches and their
    averages.
    """
    size = SIZES[settings.model_size]
    return FLOAT_BYTES * sum(_activation_floats(feature, size, settings.encoder) for feature in schema.features)


def _activation_floats(feature: Feature, size: Size, encoder: str) -> int:
    units, depth = size
    if not feature.is_sequence:
        return 2 * feature.size + 4 * units
    steps = feature.shape[0]
    inputs = INPUT_COPIES[encoder] * steps * feature.channels
    if encoder == "multiscale":
        return inputs + PATCH_COPIES * depth * count_patches(steps) * units + 4 * SCALES * units
    return inputs + steps * units * (CONVOLUTION_COPIES * depth + 2 * RECURRENT_COPIES)


def _row_bytes(schema: Schema, settings: FitSettings, rows: int) -> int:
    """The reader's share: times and targets of every row, blocks being compiled, and all rows if they are loaded.

    Each of two threads holds the text of a block and its numbers.
    """
    index = rows * (2 * 8 + FLOAT_BYTES * schema.horizons)
    loaded = rows * schema.row_bytes if settings.no_lazy_loading else 0
    return index + 2 * 2 * BLOCK_BYTES + loaded


def training_rooms(limits: MemoryLimits) -> list[tuple[Limit, int]]:
    """Return each limit that applies, with the anonymous bytes it leaves to a training process in place of this one."""
    return limits.rooms(RESERVED_BYTES)


def training_room(limits: MemoryLimits) -> int:
    """Return the anonymous bytes that a training process in place of this one may hold: the least of all rooms."""
    return max(0, min(room for _, room in training_rooms(limits)))
