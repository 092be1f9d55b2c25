"""The rules for large files: what they find, what they change, and why; options that were given are not changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ..memory.limits import Limit
from ..settings import FitSettings
from ..units import count_of, format_bytes

LARGE_FILE_BYTES = 5_000_000_000
LARGE_FILE_CHUNK = 5000
CACHE_SHARE, PASS_SHARE = 8, 16
"""Of the available memory the batch cache may take 1 / CACHE_SHARE, and a pass of a large file 1 / PASS_SHARE."""

LARGEST_BATCH = 256
"""Rows of the largest pass that is considered."""


@dataclass(frozen=True)
class Decision:
    """One automatic choice in plain sentences: what was found, what was changed, why, and how to override it."""

    found: str
    changed: str
    why: str
    override: str

    def line(self) -> str:
        """Return the decision as one line of a log."""
        return f"{self.found}: {self.changed}, because {self.why}; {self.override}"


def apply_rules(
    settings: FitSettings,
    *,
    given: Collection[str],
    file_bytes: int,
    limit: Limit,
    pass_row_bytes: int,
    row_bytes: int = 0,
    batch_is_measured: bool = False,
) -> tuple[FitSettings, list[Decision]]:
    """Return the settings after the rules for large files, and one decision per rule that applied.

    `given` names the options the user set: they are never changed, and the decision says what the rule would have
    done. The rows per optimizer step stay the same. `pass_row_bytes`, what a pass holds per row, bounds the rows per
    pass; `row_bytes`, the size of a row as float32, bounds the cache, and 0 leaves the cache as it is. With
    `batch_is_measured` the batch size is left to trials.
    """
    decisions = []
    found = find_large(file_bytes, limit)
    if found:
        for wanted, why in ([] if batch_is_measured else [_wanted_batch(settings, limit, pass_row_bytes)]) + [
            _wanted_chunk(settings)
        ]:
            settings, decision = _decide(settings, wanted, given=given, found=found, why=why)
            decisions.append(decision)
    wanted_cache = _wanted_cache(settings, limit, row_bytes)
    if wanted_cache:
        wanted, found, why = wanted_cache
        settings, decision = _decide(settings, wanted, given=given, found=found, why=why)
        decisions.append(decision)
    return settings, decisions


def find_large(file_bytes: int, limit: Limit) -> str:
    """Return why the file counts as large, as a clause; '' if it does not."""
    size = f"the data file holds {format_bytes(file_bytes)}"
    if file_bytes > LARGE_FILE_BYTES:
        return f"{size}, more than the {format_bytes(LARGE_FILE_BYTES)} above which a file counts as large"
    if file_bytes > limit.available_bytes:
        return f"{size}, more than the {format_bytes(limit.available_bytes)} of memory available"
    return ""


def split_batch(effective_batch: int, most_rows: int) -> tuple[int, int]:
    """Return (batch_size, accum_steps) with the largest batch up to `most_rows` that divides the effective batch.

    >>> split_batch(32, 2), split_batch(9, 2), split_batch(30, 8)
    ((2, 16), (1, 9), (6, 5))
    """
    batch_size = max(size for size in range(1, most_rows + 1) if effective_batch % size == 0)
    return batch_size, effective_batch // batch_size


def batch_sizes(effective_batch: int) -> list[int]:
    """Return the rows per pass to consider: divisors of the effective batch, ascending, each at least double the last.

    >>> batch_sizes(32), batch_sizes(30), batch_sizes(7)
    ([1, 2, 4, 8, 16, 32], [1, 3, 6, 15, 30], [1, 7])
    """
    sizes = [min(effective_batch, LARGEST_BATCH)]
    while effective_batch % sizes[0]:
        sizes[0] -= 1
    while sizes[0] > 1:
        below = range(sizes[0] // 2, 0, -1)
        sizes.insert(0, next(size for size in below if effective_batch % size == 0))
    return sizes


def batch_settings(batch_size: int, accum_steps: int) -> dict[str, Any]:
    """Return the options for this batch size and accumulation."""
    if accum_steps == 1:
        return {"batch_size": batch_size, "grad_accum": False}
    return {"batch_size": batch_size, "grad_accum": True, "accum_steps": accum_steps}


def _wanted_batch(settings: FitSettings, limit: Limit, pass_row_bytes: int) -> tuple[dict[str, Any], str]:
    bound = limit.available_bytes // PASS_SHARE
    most_rows = max(1, bound // pass_row_bytes)
    rows = count_of(settings.effective_batch, "row")
    why = (
        f"a pass may take a sixteenth of the available memory, {format_bytes(bound)}, and a row takes "
        f"{format_bytes(pass_row_bytes)} of it"
    )
    if settings.batch_size <= most_rows:
        return {"batch_size": settings.batch_size}, why
    chosen = batch_settings(*split_batch(settings.effective_batch, most_rows))
    return chosen, f"{why}; an optimizer step still has {rows}"


def _wanted_chunk(settings: FitSettings) -> tuple[dict[str, Any], str]:
    return {"chunk_size": min(settings.chunk_size, LARGE_FILE_CHUNK)}, "smaller chunks hold fewer parsed rows"


def _wanted_cache(settings: FitSettings, limit: Limit, row_bytes: int) -> tuple[dict[str, Any], str, str] | None:
    batch_bytes = settings.batch_size * row_bytes
    bound = limit.available_bytes // CACHE_SHARE
    if settings.cache_batches * batch_bytes <= bound:
        return None
    verb = "holds" if settings.cache_batches == 1 else "hold"
    batches = count_of(settings.cache_batches, "cached batch", "cached batches")
    found = f"{batches} {verb} {format_bytes(settings.cache_batches * batch_bytes)}"
    why = f"the cache may take an eighth of the available memory, {format_bytes(bound)}"
    return {"cache_batches": bound // batch_bytes}, found, why


def _decide(
    settings: FitSettings, wanted: dict[str, Any], *, given: Collection[str], found: str, why: str
) -> tuple[FitSettings, Decision]:
    changes = {name: value for name, value in wanted.items() if getattr(settings, name) != value}
    blocked = [name for name in changes if name in given]
    if not changes:
        values = ", ".join(f"{name}={getattr(settings, name)}" for name in wanted)
        changed = f"nothing: {values} is small enough"
    elif blocked:
        verb = "was" if len(blocked) == 1 else "were"
        changed = f"nothing: {_options(blocked)} {verb} given; the rule would have set {_values(changes)}"
    else:
        changed = ", ".join(f"{name} {getattr(settings, name)} -> {value}" for name, value in changes.items())
        settings = replace(settings, **changes)
    override = f"give {_options(wanted)} to choose it yourself"
    return settings, Decision(found, changed, why, override)


def _options(names: Collection[str]) -> str:
    return " and ".join(f"--{name}" for name in names)


def _values(changes: dict[str, Any]) -> str:
    return " and ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in changes.items())
