"""What `build` did not use, and where bars are missing: the lines of OUT.ledger.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LEDGER_COLUMNS = ("row", "line", "byte_offset", "column", "reason", "detail")
"""Those of every ledger; what is not known of an entry stays empty, and the byte offset is never known of a kline."""


@dataclass(frozen=True)
class KlineEntry:
    """A bar not used or a gap. `row` counts a file's data rows from 0, `line` its text lines from 1; None: unknown.

    `reason` is bad_bar, duplicate_bar or gap; `detail` names file or market, and times.
    """

    row: int | None
    line: int | None
    column: str
    reason: str
    detail: str


def ledger_path(out: str | Path) -> Path:
    """Return the ledger's path: rows.ledger.csv beside rows.csv.

    >>> ledger_path("rows.csv").name
    'rows.ledger.csv'
    """
    out = Path(out)
    return out.with_name((out.stem if out.suffix.lower() == ".csv" else out.name) + ".ledger.csv")


def write_entries(file: BinaryIO, entries: Iterable[KlineEntry]) -> None:
    """Write the header and the entries as CSV."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LEDGER_COLUMNS)
    writer.writerows((one.row, one.line, None, one.column, one.reason, one.detail) for one in entries)
    text.detach()
