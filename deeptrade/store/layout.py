"""A store on disk: flat files of numbers with a fixed stride, and a manifest that describes them.

    manifest.json      format, schema, the source's identity, blocks with their checksums
    feature_N.f32      float32 (usable rows, *shape), little-endian as all files; N counts features in column order
    targets.f32        float32 (usable rows, horizons), NaN where missing
    prices.f32         float32 (usable rows,), only where targets are computed from prices
    timestamps.i64     int64 (usable rows,), ns UTC
    markets.i32        int32 (usable rows,), which of the manifest's markets; only where rows name theirs
    positions.i64      int64 (usable rows, 2), line from 1 and byte offset in the source
    statistics.f64     float64 (blocks, numbers), mergeable moments of every feature
    ledger.csv         the rejected rows

Rejected rows are in the ledger and nowhere else: usable row i is at place i of every file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import DataError
from ..files import friendly_os_errors, read_json
from ..sources.blocks import Fault, Place, fault_detail
from ..sources.schema import Schema
from ..sources.statistics import Moments
from .ledger import LedgerEntry

FORMAT, VERSION = "deeptrade store", 2
MANIFEST, LEDGER, JOURNAL = "manifest.json", "ledger.csv", "journal.jsonl"
TARGETS, PRICES, TIMESTAMPS, POSITIONS = "targets.f32", "prices.f32", "timestamps.i64", "positions.i64"
MARKETS, STATISTICS = "markets.i32", "statistics.f64"
ORIGIN, EVICTIONS = "origin.json", "evictions.i64"
"""Only in the copy of a store that is at an address: see `origin` and `cache`."""
ENDING = ".dtstore"
CHECKSUM_DIGITS, SOURCE_HASH_DIGITS = 16, 32
"""Of XXH3-64 and XXH3-128, in hexadecimal."""


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
        *([Column(MARKETS, "<i4", ())] if schema.has_markets else []),
        Column(POSITIONS, "<i8", (2,)),
        Column(STATISTICS, "<f8", (width,), per_block=True),
    ]


def derived_columns(schema: Schema) -> list[Column]:
    """Return the columns computed once all blocks are written: targets from prices."""
    return [_targets(schema)] if schema.target_source == "price" else []


def all_columns(schema: Schema) -> list[Column]:
    """Return every column of a finished store."""
    return [*written_columns(schema), *derived_columns(schema)]


def _targets(schema: Schema) -> Column:
    return Column(TARGETS, "<f4", (schema.horizons,))


@dataclass
class BlockRecord:
    """One block as the journal records it; `checksums` are XXH3-64 of its part of each file.

    markets: names of those that occur first in this block.
    """

    place: Place
    rows: int
    usable: int
    lines: int
    source_hash: str
    nonfinite: list[int]
    checksums: dict[str, str]
    faults: list[Fault] = field(default_factory=list)
    markets: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `from_json` reverses it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BlockRecord:
        """Return the record that `to_json` wrote."""
        faults = [Fault(**fault) for fault in data["faults"]]
        return cls(**{**data, "place": Place(**data["place"]), "faults": faults})


class BlockTable(Sequence[BlockRecord]):
    """The records of a finished store, column by column: objects would hold ten times the memory."""

    def __init__(self, table: dict[str, Any]):
        self._places, self._nonfinite = (np.array(table[name], np.int64) for name in ("places", "nonfinite"))
        self.rows, self.usable, self._lines = (np.array(table[name], np.int64) for name in ("rows", "usable", "lines"))
        self._source_hashes, self._checksums = table["source_hashes"], table["checksums"]
        self._markets = {int(block): names for block, names in table.get("markets", {}).items()}
        self._faults = {int(block): [Fault(**fault) for fault in faults] for block, faults in table["faults"].items()}

    @classmethod
    def of(cls, records: Sequence[BlockRecord]) -> BlockTable:
        """Return the table of these records."""
        files = records[0].checksums if records else {}
        return cls(
            {
                "places": [[record.place.file, record.place.start, record.place.stop] for record in records],
                "rows": [record.rows for record in records],
                "usable": [record.usable for record in records],
                "lines": [record.lines for record in records],
                "nonfinite": [record.nonfinite for record in records],
                "source_hashes": "".join(record.source_hash for record in records),
                "checksums": {file: "".join(record.checksums[file] for record in records) for file in files},
                "faults": {n: [asdict(f) for f in record.faults] for n, record in enumerate(records) if record.faults},
                "markets": {n: record.markets for n, record in enumerate(records) if record.markets},
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which the table can be rebuilt; hashes are concatenated."""
        return {
            "places": self._places.tolist(),
            "rows": self.rows.tolist(),
            "usable": self.usable.tolist(),
            "lines": self._lines.tolist(),
            "nonfinite": self._nonfinite.tolist(),
            "source_hashes": self._source_hashes,
            "checksums": self._checksums,
            "faults": {block: [asdict(fault) for fault in faults] for block, faults in self._faults.items()},
            **({"markets": self._markets} if self._markets else {}),
        }

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return BlockRecord(
            place=Place(*self._places[index].tolist()),
            rows=int(self.rows[index]),
            usable=int(self.usable[index]),
            lines=int(self._lines[index]),
            source_hash=_part(self._source_hashes, SOURCE_HASH_DIGITS, index),
            nonfinite=self._nonfinite[index].tolist(),
            checksums={file: self.checksum(file, index) for file in self._checksums},
            faults=self._faults.get(index, []),
            markets=self._markets.get(index, []),
        )

    @property
    def markets(self) -> tuple[str, ...]:
        """The names of all markets, as they first occur; none where rows name none."""
        return tuple(name for block in sorted(self._markets) for name in self._markets[block])

    @property
    def reasons(self) -> Counter[str]:
        """How many rows are rejected for each reason."""
        return Counter(fault.reason for faults in self._faults.values() for fault in faults)

    def checksum(self, file: str, block: int) -> str:
        """Return the checksum of a block's part of a file."""
        return _part(self._checksums[file], CHECKSUM_DIGITS, block)


def _part(hashes: str, digits: int, number: int) -> str:
    return hashes[number * digits : (number + 1) * digits]


@dataclass
class Manifest:
    """What a store holds. `source` is plain data: kind, data_id, content_hash, and the bytes of each file."""

    schema: Schema
    source: dict[str, Any]
    blocks: BlockTable
    warnings: list[str]

    @property
    def former_data_ids(self) -> tuple[str, ...]:
        """The ids that earlier versions gave the same content; none in a store that one of them made."""
        return tuple(self.source.get("former_data_ids", ()))

    @property
    def rows(self) -> int:
        """Rows of the source, including rejected ones."""
        return int(self.blocks.rows.sum())

    @property
    def usable(self) -> int:
        """Rows in the files."""
        return int(self.blocks.usable.sum())

    def to_json(self) -> dict[str, Any]:
        """Return plain data with its checksum; `read_manifest` reverses it."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "rows": {"read": self.rows, "stored": self.usable, "rejected": self.rows - self.usable},
            "schema": self.schema.to_json(),
            "source": self.source,
            "files": [asdict(column) for column in all_columns(self.schema)],
            "warnings": self.warnings,
            "blocks": self.blocks.to_json(),
        }
        return content | {"checksum": _checksum_of(content)}


def _checksum_of(content: dict[str, Any]) -> str:
    """Return the XXH3-64 of plain data, the same before it is written and after it is read."""
    return xxhash.xxh3_64_hexdigest(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


_STORE_FILE = re.compile(
    r"feature_\d+\.f32|targets\.f32|prices\.f32|markets\.i32|\w+\.[if]64|manifest\.json|ledger\.csv|journal\.jsonl"
    r"|origin\.json"
)


def is_foreign(path: Path) -> bool:
    """Return whether a path holds anything but a store; a damaged or unfinished store counts as a store."""
    if not path.exists():
        return False
    with friendly_os_errors(f"looking at {path}"):
        if not path.is_dir() or any(not _STORE_FILE.fullmatch(entry.name) for entry in path.iterdir()):
            return True
    try:
        content = read_json(path / MANIFEST) if (path / MANIFEST).exists() else {"format": FORMAT}
    except DataError:
        return False
    return not isinstance(content, dict) or ("blocks" not in content and content.get("format") != FORMAT)


def is_complete(store: Path, manifest: Manifest) -> bool:
    """Return whether every file of a store is there and has the right length."""
    sizes = {LEDGER: None} | {
        column.file: (len(manifest.blocks) if column.per_block else manifest.usable) * column.stride
        for column in all_columns(manifest.schema)
    }
    for name, size in sizes.items():
        path = store / name
        if not path.is_file() or (size is not None and path.stat().st_size != size):
            return False
    return True


def read_manifest(store: Path) -> Manifest:
    """Return the manifest of a store; raises DataError if it is not one, or of another version."""
    if not (store / MANIFEST).is_file():
        raise DataError(f"{store} is not a store: it holds no {MANIFEST}; make one with deeptrade compile")
    content = read_json(store / MANIFEST)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{store.name}/{MANIFEST} is damaged or not from a store; compile the data again with --fresh")
    if content.get("version") != VERSION:
        found = content.get("version")
        raise DataError(
            f"{store.name} is a store of version {found!r}; only version {VERSION} can be read; compile the data again"
        )
    if content.pop("checksum", "") != _checksum_of(content):
        raise DataError(f"{store.name}/{MANIFEST} is damaged; make it again: deeptrade compile DATA --fresh")
    return Manifest(
        Schema.from_json(content["schema"]),
        content["source"],
        BlockTable(content["blocks"]),
        content["warnings"],
    )


def ledger_entries(blocks: Sequence[BlockRecord], *, first_line: int, files: int) -> Iterator[LedgerEntry]:
    """Yield the rejected rows of blocks, with rows counted from the start of the source, lines from that of their file.

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
