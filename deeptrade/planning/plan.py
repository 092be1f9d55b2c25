"""The plan that `optimize` writes and a run reads: plan.json as a dataclass."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_json, user_path
from ..settings import BEFORE, FitSettings
from .rules import Decision, batch_settings

LACKED_MEMORY = 3
"""Exit code of a trial's process that ran out of memory but was not ended by a signal."""


@dataclass(frozen=True)
class Trial:
    """What one short run measured; None where it did not get that far. `message` is its last line if it failed.

    `seconds` is the time of the whole child process, including startup; `rows_per_second` is that of the median
    optimizer step without the first, and `wait_share` the share of those steps spent waiting for data;
    `baseline_anon_bytes` is what the process held before the model was built.
    """

    batch_size: int
    accum_steps: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    seconds: float
    rows_per_second: float | None
    exit_code: int
    message: str = ""
    baseline_anon_bytes: int | None = None
    prefetch: int = 2
    wait_share: float | None = None

    @property
    def lacked_memory(self) -> bool:
        """Whether it failed in a way that a smaller batch may fix: killed, or out of memory."""
        return self.exit_code < 0 or self.exit_code == LACKED_MEMORY


@dataclass(frozen=True)
class Plan:
    """Settings that fit, with the predicted and measured peak in anonymous bytes; the content of plan.json.

    `limit_bytes` is the smallest limit found; `measured_terms` splits the measured peak, {} without trials of two
    batch sizes. `measured_peak_bytes` is None if no trial completed.
    """

    model_size: str
    encoder: str
    batch_size: int
    accum_steps: int
    effective_batch: int
    chunk_size: int
    cache_batches: int
    prefetch: int
    precision: str
    jit: bool
    limit_bytes: int
    limit_source: str
    predicted_peak_bytes: int
    predicted_terms: dict[str, int]
    measured_peak_bytes: int | None
    measured_terms: dict[str, int]
    decisions: tuple[Decision, ...]
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data; `plan_from_json` reverses it."""
        return {"schema_version": 1, **asdict(self)}

    def settings(self, base: FitSettings) -> FitSettings:
        """Return `base` with the settings that the plan chose."""
        return replace(
            base,
            model_size=self.model_size,
            encoder=self.encoder,
            chunk_size=self.chunk_size,
            cache_batches=self.cache_batches,
            prefetch=self.prefetch,
            precision=self.precision,
            **batch_settings(self.batch_size, self.accum_steps),
        )


PLANNED = (
    "model_size",
    "encoder",
    "batch_size",
    "grad_accum",
    "accum_steps",
    "chunk_size",
    "cache_batches",
    "prefetch",
    "precision",
)
"""Settings that a plan chooses."""

_BATCH = {"batch_size", "grad_accum", "accum_steps"}


def planned(path: str | Path, *, given: Collection[str]) -> dict[str, Any]:
    """Return the choices of a plan.json by setting, without those `given`; one of batch_size, grad_accum and
    accum_steps given counts as all three.

    Raises DataError when it cannot be read.
    """
    chosen = read_plan(path).settings(FitSettings())
    kept = set(given) | (_BATCH if _BATCH & set(given) else set())
    if not chosen.grad_accum:
        kept.add("accum_steps")  # it would have no effect
    return {name: getattr(chosen, name) for name in PLANNED if name not in kept}


def plan_from_json(content: dict[str, Any]) -> Plan:
    """Return the plan that `to_json` wrote.

    Raises DataError when a field is missing.
    """
    content = {"encoder": BEFORE["encoder"]} | content
    known = {name: content[name] for name in Plan.__dataclass_fields__ if name in content}
    missing = sorted(set(Plan.__dataclass_fields__) - set(known))
    if missing:
        raise DataError(f"the plan lacks {', '.join(missing)}; make it again with deeptrade optimize")
    known["decisions"] = tuple(Decision(**decision) for decision in known["decisions"])
    known["trials"] = tuple(Trial(**trial) for trial in known["trials"])
    return Plan(**known)


def read_plan(path: str | Path) -> Plan:
    """Return the plan in a plan.json.

    Raises DataError when it cannot be read.
    """
    return plan_from_json(read_json(user_path(path)))
