"""A store on disk: flat files of numbers with a fixed stride, and a manifest that says what they are.

    manifest.json      format, schema, the source's identity, blocks with their checksums
    feature_N.f32      float32 (usable rows, *shape), little-endian as all files; N counts features in column order
    targets.f32        float32 (usable rows, horizons), NaN where missing
    prices.f32         float32 (usable rows,), only where targets are computed from prices
    timestamps.i64     int64 (usable rows,), ns UTC
    positions.i64      int64 (usable rows, 2), line from 1 and byte offset in the source
    statistics.f64     float64 (blocks, numbers), mergeable moments of every feature
    ledger.csv         the rejected rows

Rejected rows are in the ledger and nowhere else: usable row i is at place i of every file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import read_json
from ..ledger import LedgerEntry
from ..schema import Schema
from ..sources.blocks import Fault, Place, fault_detail
from ..statistics import Moments

FORMAT, VERSION = "deeptrade store", 1
MANIFEST, LEDGER, JOURNAL = "manifest.json", "ledger.csv", "journal.jsonl"
TARGETS, PRICES, TIMESTAMPS, POSITIONS = "targets.f32", "prices.f32", "timestamps.i64", "positions.i64"
STATISTICS = "statistics.f64"
ENDING = ".dtstore"


@dataclass(frozen=True)
class Column:
    """One flat file: `file` its name, `dtype` of its numbers, `shape` of one row (of one block: `per_block`)."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    per_block: bool = False

    @property
    def stride(self) -> int:
        """Bytes per row, or per block."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def feature_columns(schema: Schema) -> list[Column]:
    """Return the column of every feature, in the schema's order."""
    return [Column(f"feature_{n}.f32", "<f4", feature.shape) for n, feature in enumerate(schema.features)]


def written_columns(schema: Schema) -> list[Column]:
    """Return the columns that are written block by block as a source is read."""
    numbers = Column(PRICES, "<f4", (1,)) if schema.target_source == "price" else _targets(schema)
    width = sum(Moments.width(feature) for feature in schema.features)
    return [
        *feature_columns(schema),
        numbers,
        Column(TIMESTAMPS, "<i8", ()),
        Column(POSITIONS, "<i8", (2,)),
        Column(STATISTICS, "<f8", (width,), per_block=True),
    ]


def derived_columns(schema: Schema) -> list[Column]:
    """Return the columns that are computed when all blocks are there: targets from prices."""
    return [_targets(schema)] if schema.target_source == "price" else []


def all_columns(schema: Schema) -> list[Column]:
    """Return every column of a finished store."""
    return [*written_columns(schema), *derived_columns(schema)]


def _targets(schema: Schema) -> Column:
    return Column(TARGETS, "<f4", (schema.horizons,))


@dataclass
class BlockRecord:
    """One block as the journal and the manifest hold it; `checksums` are XXH3-64 of its part of each file."""

    place: Place
    rows: int
    usable: int
    lines: int
    source_hash: str
    nonfinite: list[int]
    checksums: dict[str, str]
    faults: list[Fault] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `from_json` reverses it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BlockRecord:
        """Return the record that `to_json` wrote."""
        faults = [Fault(**fault) for fault in data["faults"]]
        return cls(**{**data, "place": Place(**data["place"]), "faults": faults})


@dataclass
class Manifest:
    """What a store holds. `source` is plain data: kind, data_id, content_hash, and the bytes of each file."""

    schema: Schema
    source: dict[str, Any]
    blocks: list[BlockRecord]
    warnings: list[str]

    @property
    def rows(self) -> int:
        """Rows of the source, rejected ones too."""
        return sum(block.rows for block in self.blocks)

    @property
    def usable(self) -> int:
        """Rows in the files."""
        return sum(block.usable for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `read_manifest` reverses it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "rows": {"read": self.rows, "stored": self.usable, "rejected": self.rows - self.usable},
            "schema": self.schema.to_json(),
            "source": self.source,
            "files": [asdict(column) for column in all_columns(self.schema)],
            "warnings": self.warnings,
            "blocks": [block.to_json() for block in self.blocks],
        }


def read_manifest(store: Path) -> Manifest:
    """Return the manifest of a store; DataError where it is none, or of another version."""
    if not (store / MANIFEST).is_file():
        raise DataError(f"{store} is not a store: it holds no {MANIFEST}; make one with deeptrade compile")
    content = read_json(store / MANIFEST)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        found = content.get("version") if isinstance(content, dict) else None
        raise DataError(f"{store.name} is a store of version {found!r}, read is version {VERSION}; compile it again")
    return Manifest(
        Schema.from_json(content["schema"]),
        content["source"],
        [BlockRecord.from_json(block) for block in content["blocks"]],
        content["warnings"],
    )


def ledger_entries(blocks: list[BlockRecord], *, first_line: int, files: int) -> Iterator[LedgerEntry]:
    """Yield the rejected rows of blocks, rows counted from the source's beginning, lines from their file's.

    `first_line` is the number of the line that follows a file's header, `files` how many the source has.
    """
    row, line, file = 0, first_line, 0
    for block in blocks:
        if block.place.file != file:
            file, line = block.place.file, first_line
        for fault in block.faults:
            detail = fault_detail(fault, file, files)
            place = row + fault.row, line + fault.line, fault.byte_offset
            yield LedgerEntry(*place, fault.column, fault.reason, detail)
        row, line = row + block.rows, line + block.lines
