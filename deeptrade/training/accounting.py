"""Which row became what: every row that was read is trained, validation, purged, rejected or unused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..ledger import LedgerEntry
from ..order import Split

LeftOut = Mapping[str, Any]
"""One window that changed nothing: its `epoch`, its `rows`, and `detail` saying why."""


def ledger_entries(data: Dataset, split: Split, left_out: Iterable[LeftOut]) -> list[LedgerEntry]:
    """Return rejected and purged rows by number, then rows the trainer left out, each once, as they came."""
    why = "too near the boundary between training and validation"
    purged = [data.entry(int(row), "", "purged", why) for row in split.purged.numbers()]
    first_reason: dict[int, str] = {}
    for window in left_out:
        for row in window["rows"]:
            first_reason.setdefault(row, window["detail"])
    skipped = [data.entry(row, "", "non_finite_step", detail) for row, detail in first_reason.items()]
    return [*sorted([*data.ledger, *purged], key=lambda entry: entry.row), *skipped]


def count_rows(
    data: Dataset, split: Split, *, epochs: int, current: np.ndarray, left_out: Sequence[LeftOut]
) -> dict[str, int]:
    """Return distinct rows by what became of them, after `epochs` whole epochs and the rows `current` of the next.

    Rows of windows that changed nothing, and that no other epoch has trained, count as rejected.
    """
    passed_now = set(current.tolist())
    times_left_out = Counter(row for window in left_out for row in window["rows"])
    never = sum(times >= epochs + (row in passed_now) for row, times in times_left_out.items())
    reached = len(split.train) if epochs else len(current)
    return {
        "read": data.rows,
        "trained": reached - never,
        "validation": len(split.validation),
        "purged": len(split.purged),
        "rejected": len(data.rejected) + never,
        "unused": len(split.train) - reached,
    }
