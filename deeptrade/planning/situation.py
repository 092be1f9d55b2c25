"""What a choice of settings is based on: the data, the limits, and the bytes a training process may hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..data.opening import look_at
from ..memory.limits import Limit, MemoryLimits
from ..settings import FitSettings
from ..sources.schema import Schema
from ..units import format_bytes
from .memory_model import predict_peak, training_room
from .rules import Decision, batch_settings, batch_sizes

PLAN_HEADROOM = 0.1
"""Share of the room that stays free: predictions are within 15% and usually too high."""


@dataclass(frozen=True)
class Situation:
    """What `optimize` chooses for: the file, the limits, and the rows per optimizer step, which stay.

    `room_bytes` is what a training process may hold as anonymous memory.
    """

    schema: Schema
    file_bytes: int
    rows: int
    limit: Limit
    limits: MemoryLimits
    room_bytes: int
    effective_batch: int
    is_stored: bool
    markets: int = 1

    def predict(self, settings: FitSettings) -> dict[str, int]:
        """Return the predicted peak by term."""
        return predict_peak(self.schema, settings, rows=self.rows)

    def peak(self, settings: FitSettings) -> int:
        """Return the predicted peak."""
        return sum(self.predict(settings).values())

    def leaves_headroom(self, peak_bytes: int) -> bool:
        """Return whether a tenth of the room stays free."""
        return peak_bytes <= (1 - PLAN_HEADROOM) * self.room_bytes

    def fits(self, settings: FitSettings) -> bool:
        """Return whether the settings are predicted to leave the headroom."""
        return self.leaves_headroom(self.peak(settings))

    def sizes(self, settings: FitSettings) -> list[int]:
        """Return rows per pass that are worth a trial and predicted to fit, ascending."""
        return [size for size in batch_sizes(self.effective_batch) if self.fits(self.with_batch(settings, size))]

    def with_batch(self, settings: FitSettings, batch_size: int) -> FitSettings:
        """Return the settings with `batch_size` rows per pass, and the passes that make up the step."""
        return replace(settings, **batch_settings(batch_size, self.effective_batch // batch_size))

    def limit_name(self) -> str:
        """Return the limit in words."""
        return f"{self.limit.source} limit of {format_bytes(self.limit.limit_bytes)}"

    def decide_batch(self, settings: FitSettings, why: str, *, found: str = "") -> Decision:
        """Return the decision for the settings' batch."""
        room = f"{format_bytes(self.room_bytes)} for a training run under the {self.limit_name()}"
        size, passes = settings.batch_size, settings.steps_per_update
        changed = f"batch_size {size} with accum_steps {passes}, {self.effective_batch} rows a step"
        override = "give --batch_size and --accum_steps, or another --effective_batch, to choose it yourself"
        return Decision(room + found, changed, why, override)


def read_situation(base: FitSettings, effective_batch: int, limits: MemoryLimits) -> Situation:
    """Return the situation of the data that the settings name, under these limits; reads the head of the file."""
    head = look_at(base.csv, store=base.store, arrangement=base.arrangement)
    room_bytes = training_room(limits)
    return Situation(
        schema=head.schema,
        file_bytes=head.file_bytes,
        rows=base.max_rows or head.rows,
        limit=replace(limits.smallest(), available_bytes=room_bytes),
        limits=limits,
        room_bytes=room_bytes,
        effective_batch=effective_batch,
        is_stored=bool(head.content_hash),
        markets=head.markets,
    )
