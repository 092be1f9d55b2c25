"""What one pass over a source found: its rows, the rejected ones with reasons, and what a user should know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from ..settings import AS_THEY_COME, Arrangement
from ..sources.protocol import Source
from ..sources.schema import Schema
from ..sources.statistics import Moments
from ..sources.time_order import ORDER_REASONS
from ..times import SECOND, era_warnings
from ..units import count_of
from .ledger import LedgerEntry
from .row_range import RowRange
from .targets import market_rows

_LEAST_STEP = SECOND // 10
"""Rows closer than this, in ns, are probably times in another unit."""


class TooManyBadRowsError(DataError):
    """More rows are rejected than max_bad_rows allows; `ledger` names them all."""

    def __init__(self, line: str, ledger: list[LedgerEntry]):
        super().__init__(line)
        self.ledger = ledger


@dataclass(frozen=True)
class BlockSummary:
    """Facts about a block: its rows, usable rows, NaN or infinite numbers by feature, and moments."""

    rows: int
    usable: int
    nonfinite: Mapping[str, int]
    moments: Mapping[str, Moments]


@dataclass
class Summary:
    """What one pass over a source found.

    name, file_bytes: of the source. data_id: 'sha256-2:...' of its content by samples; content_hash: of all bytes, ''
    if not known. former_data_ids: ids from earlier versions for the same content. arrangement: of rows that do not
    ascend in time. markets: names, none where rows name none. rows: usable and rejected. ledger: the rejected ones.
    blocks in file order. warnings: what a user should know of data that was accepted, one line each.
    """

    name: str
    file_bytes: int
    data_id: str
    schema: Schema
    content_hash: str = ""
    former_data_ids: tuple[str, ...] = ()
    arrangement: Arrangement = AS_THEY_COME
    markets: tuple[str, ...] = ()
    rows: int = 0
    ledger: list[LedgerEntry] = field(default_factory=list)
    blocks: Sequence[BlockSummary] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def usable(self) -> RowRange:
        """The rows that are not rejected."""
        return RowRange(0, self.rows, [entry.row for entry in self.ledger])

    def places(self, markets: np.ndarray | None = None) -> np.ndarray:
        """Return int64 (usable rows,): see `places_of`; `markets` holds the rows' codes, None where they name none.

        Where rows are arranged by time, or are of several markets, rejected ones take no step.
        """
        if self.arrangement.is_default and len(self.markets) < 2:
            return places_of(self.usable, self.ledger)
        places = np.empty(len(self.usable), np.int64)
        for rows in market_rows(markets, len(places)):
            places[rows] = np.arange(len(rows))
        return places

    @property
    def bad_rows(self) -> list[LedgerEntry]:
        """The rejected rows that count as bad: not those of whose time the user keeps another."""
        kept = ("repeated",) if self.arrangement.duplicates != "error" else ()
        return [entry for entry in self.ledger if entry.reason not in kept]

    @property
    def nonfinite(self) -> dict[str, int]:
        """NaN or infinite numbers by feature, in usable rows."""
        return {name: sum(block.nonfinite[name] for block in self.blocks) for name in self.schema.names}


def places_of(usable: RowRange, ledger: Sequence[LedgerEntry]) -> np.ndarray:
    """Return int64 (usable rows,), which step of the data each usable row is, from 0.

    A rejected row takes a step of its own, unless its time is the reason.
    """
    rows = usable.numbers()
    no_step = np.array([entry.row for entry in ledger if entry.reason in ORDER_REASONS], np.int64)
    return rows - np.searchsorted(no_step, rows)


def refuse_too_many(ledger: list[LedgerEntry], rows: int, max_bad_rows: float) -> None:
    """Raise TooManyBadRowsError if more than the share `max_bad_rows` of the rows, or all rows, are bad."""
    rejected = len(ledger)
    if rejected > max_bad_rows * rows or rejected == rows:
        first = ledger[0]
        raise TooManyBadRowsError(
            f"{rejected} of {rows} rows are rejected, max_bad_rows={max_bad_rows:g} allows "
            f"{int(max_bad_rows * rows)}; first: line {first.line}, column {first.column!r}, "
            f"{first.reason}: {first.detail}; fix the file or raise --max_bad_rows",
            ledger,
        )


def find_warnings(
    summary: Summary,
    timestamps: np.ndarray,
    targets: np.ndarray,
    *,
    notes: Iterable[str],
    markets: np.ndarray | None = None,
) -> list[str]:
    """Return what a user should know of data that was accepted, one line each; `notes` of the source come first."""
    lines = list(notes)
    for rows in market_rows(markets, len(timestamps)):
        lines += (line for line in time_warnings(timestamps[rows]) if line not in lines)
    missing = int(np.isnan(targets).sum())
    if missing:
        lines.append(f"{count_of(missing, 'target is', 'targets are')} missing and masked in the loss")
    for name, count in summary.nonfinite.items():
        if count:
            verb = "is" if count == 1 else "are"
            lines.append(
                f"{count_of(count, 'number')} of {name!r} {verb} NaN or infinite; "
                f"the model sees the training mean there"
            )
    return lines


def time_warnings(timestamps: np.ndarray) -> Iterator[str]:
    """Yield what is odd about ascending times (int64 ns): far outside the exchange era, or too close to each other."""
    if not len(timestamps):
        return
    yield from era_warnings(int(timestamps[0]), int(timestamps[-1]), what="rows")
    step = float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else SECOND
    if step < _LEAST_STEP:
        yield (
            f"rows are {step / SECOND:.1g} seconds apart: are the timestamps in one unit? Numbers below 1e11 are read "
            f"as s, below 1e14 as ms, below 1e17 as us, others as ns"
        )


def source_notes(source: Source) -> Iterator[str]:
    """Yield what is notable about a source itself: unused columns, a file that may be cut off."""
    if source.unused_columns:
        count = len(source.unused_columns)
        verb = "column is" if count == 1 else "columns are"
        yield f"{count} {verb} not used (named neither arr_* nor y_*): {', '.join(source.unused_columns)[:200]}"
    if not source.ends_whole():
        yield "a file does not end with a line break; its last line may be cut off"
