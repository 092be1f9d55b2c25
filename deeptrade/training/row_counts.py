"""What became of each row: every row that was read is trained, inner, validation, purged, rejected or unused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.split import Split
from ..store.ledger import LedgerEntry

TimesLeftOut = Sequence[Mapping[str, Any]]
"""Rows skipped when their turn came, in that order: `row`, `reason`, `detail` and `epoch`."""


def ledger_entries(data: Dataset, split: Split, left_out: TimesLeftOut) -> list[LedgerEntry]:
    """Return rejected, purged and embargoed rows by number, then those the trainer left out, each once, as skipped."""
    why = "too close to a boundary between training, inner and validation rows"
    purged = [data.entry(int(row), "", "purged", why) for row in split.purged]
    purged += [data.entry(int(row), "", "embargo", "in the embargo after a boundary") for row in split.embargoed]
    first: dict[int, Mapping[str, Any]] = {}
    for one in left_out:
        first.setdefault(one["row"], one)
    skipped = [data.entry(row, "", one["reason"], one["detail"]) for row, one in first.items()]
    return [*sorted([*data.ledger, *purged], key=lambda entry: entry.row), *skipped]


def absent_markets(data: Dataset, split: Split, chosen: Sequence[str] | None) -> list[str]:
    """Return a line for each part of the split that has no row of some of the markets that are used."""
    wanted = data.markets if chosen is None else chosen
    lines = []
    for name, part in (("training", split.train), ("validation", split.validation)):
        missing = sorted(set(wanted) - set(data.read_markets(part.numbers())))
        if missing:
            lines.append(f"no {name} row is of {', '.join(missing)}: nothing this run says of {name} is about them")
    return lines


def count_rows(
    data: Dataset,
    split: Split,
    *,
    epochs: int,
    current: np.ndarray,
    left_out: TimesLeftOut,
    unread: int = 0,
    unread_inner: int = 0,
) -> dict[str, int]:
    """Return the number of distinct rows by outcome, after `epochs` full epochs and the rows `current` of the next.

    Rows left out every time their turn came count as rejected, and so do unread rows: `unread` of validation,
    `unread_inner` of the inner rows.
    """
    passed_now = set(current.tolist())
    times_left_out = Counter(one["row"] for one in left_out)
    never = sum(times >= epochs + (row in passed_now) for row, times in times_left_out.items())
    reached = len(split.train) if epochs else len(current)
    return {
        "read": data.rows,
        "trained": reached - never,
        "inner": len(split.inner) - unread_inner,
        "validation": len(split.validation) - unread,
        "purged": len(split.purged) + len(split.embargoed),
        "rejected": len(data.rejected) + never + unread + unread_inner,
        "unused": len(split.train) - reached + len(split.unused),
    }
