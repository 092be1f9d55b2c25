"""What one pass over a source found: its rows, the rejected ones with reasons, and what a user should know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from ..sources.protocol import Source
from ..sources.schema import Schema
from ..sources.statistics import Moments
from ..units import count_of
from .ledger import LedgerEntry
from .row_range import RowRange


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
    if not known. former_data_ids: ids from earlier versions for the same content. rows: usable and rejected. ledger:
    the rejected ones. blocks in file order. warnings: what a user should know of data that was accepted, one line each.
    """

    name: str
    file_bytes: int
    data_id: str
    schema: Schema
    content_hash: str = ""
    former_data_ids: tuple[str, ...] = ()
    rows: int = 0
    ledger: list[LedgerEntry] = field(default_factory=list)
    blocks: Sequence[BlockSummary] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def usable(self) -> RowRange:
        """The rows that are not rejected."""
        return RowRange(0, self.rows, [entry.row for entry in self.ledger])

    @property
    def nonfinite(self) -> dict[str, int]:
        """NaN or infinite numbers by feature, in usable rows."""
        return {name: sum(block.nonfinite[name] for block in self.blocks) for name in self.schema.names}


def refuse_too_many(ledger: list[LedgerEntry], rows: int, max_bad_rows: float) -> None:
    """Raise TooManyBadRowsError if more than the share `max_bad_rows` of the rows, or all rows, are rejected."""
    rejected = len(ledger)
    if rejected > max_bad_rows * rows or rejected == rows:
        first = ledger[0]
        raise TooManyBadRowsError(
            f"{rejected} of {rows} rows are rejected, max_bad_rows={max_bad_rows:g} allows "
            f"{int(max_bad_rows * rows)}; first: line {first.line}, column {first.column!r}, "
            f"{first.reason}: {first.detail}; fix the file or raise --max_bad_rows",
            ledger,
        )


def find_warnings(summary: Summary, timestamps: np.ndarray, targets: np.ndarray, *, notes: Iterable[str]) -> list[str]:
    """Return what a user should know of data that was accepted, one line each; `notes` of the source come first."""
    lines = list(notes)
    steps = np.diff(timestamps)
    phrases = (("goes back in time", "go back in time"), ("repeats the one before", "repeat the one before"))
    for found, (verb, verbs) in zip((steps < 0, steps == 0), phrases, strict=True):
        count = int(found.sum())
        if count:
            first = int(summary.usable.at(np.array([found.argmax() + 1]))[0])
            lines.append(
                f"{count_of(count, 'timestamp')} {verb if count == 1 else verbs}, first at row {first}; "
                f"their rows are kept"
            )
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


def source_notes(source: Source) -> Iterator[str]:
    """Yield what is notable about a source itself: unused columns, a file that may be cut off."""
    if source.unused_columns:
        count = len(source.unused_columns)
        verb = "column is" if count == 1 else "columns are"
        yield f"{count} {verb} not used (named neither arr_* nor y_*): {', '.join(source.unused_columns)[:200]}"
    if not source.ends_whole():
        yield "a file does not end with a line break; its last line may be cut off"
