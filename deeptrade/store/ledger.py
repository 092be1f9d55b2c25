"""The ledger: every row that was rejected or left out for its content, where it is in the file, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..files import atomic_write, friendly_os_errors


@dataclass(frozen=True)
class LedgerEntry:
    """One row left out. `row` counts data rows from 0, `line` counts text lines from 1, offsets are bytes."""

    row: int
    line: int
    byte_offset: int
    column: str
    reason: str
    detail: str


COLUMNS = tuple(field.name for field in fields(LedgerEntry))


def ledger_text(entries: Iterable[LedgerEntry]) -> str:
    """Return the entries as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(entry) for entry in entries)
    return text.getvalue()


def write_ledger(path: str | Path, entries: Iterable[LedgerEntry]) -> None:
    """Write the entries as CSV with a header, whole or not at all."""
    with atomic_write(path) as file:
        file.write(ledger_text(entries).encode())


def read_ledger(path: str | Path) -> list[LedgerEntry]:
    """Return the entries that `write_ledger` wrote."""
    with friendly_os_errors(f"reading {Path(path).name}"), open(path, newline="", encoding="utf-8") as file:
        return [
            LedgerEntry(int(r["row"]), int(r["line"]), int(r["byte_offset"]), r["column"], r["reason"], r["detail"])
            for r in csv.DictReader(file)
        ]
