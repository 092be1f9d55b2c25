"""What a store holds of all its blocks together, once they are written: derived targets, the ledger, the manifest."""

from __future__ import annotations

import numpy as np
import xxhash

from ..errors import DataError
from ..files import atomic_write, write_json
from ..sources.protocol import Source
from ..sources.schema import Schema
from .arrange import arrange, may_rewrite
from .checked_file import checksum
from .layout import (
    LEDGER,
    MANIFEST,
    MARKETS,
    TIMESTAMPS,
    BlockTable,
    Column,
    Manifest,
    derived_columns,
    ledger_entries,
)
from .ledger import ledger_text
from .locate import reading_of
from .summary import BlockSummary, Summary, find_warnings, refuse_too_many, source_notes
from .targets import make_targets
from .writer import StoreWriter

CHECKED = {"in_time_order": True}
"""Marks what was made since rows out of order are rejected."""

REWRITTEN = "rewritten"
"""Whether the rows of a store were rewritten in order of time: its blocks do not hold what the source has there."""


def finish(writer: StoreWriter, source: Source, max_bad_rows: float) -> Manifest:
    """Write derived targets, the ledger and the manifest, which is returned; DataError for no rows or too many bad."""
    was_rewritten = arrange(writer, source)
    schema, records = writer.schema, writer.records
    ledger = list(ledger_entries(records, first_line=source.first_line(0), files=len(source.files)))
    rows = sum(record.rows for record in records)
    if not rows:
        raise DataError(f"{source.name} has a header but no rows")
    summary = Summary(
        source.name,
        source.file_bytes,
        "",
        schema,
        arrangement=source.arrangement,
        markets=tuple(writer.markets),
        rows=rows,
        ledger=ledger,
    )
    refuse_too_many(summary.bad_rows, rows, max_bad_rows)
    summary.blocks = [
        BlockSummary(record.rows, record.usable, dict(zip(schema.names, record.nonfinite, strict=True)), {})
        for record in records
    ]
    timestamps = writer.written(next(column for column in writer.columns if column.file == TIMESTAMPS))
    of_markets = next((column for column in writer.columns if column.file == MARKETS), None)
    markets = None if of_markets is None else writer.written(of_markets)
    targets = _write_targets(writer, summary, timestamps, markets)
    content = ledger_text(ledger).encode()
    with atomic_write(writer.folder / LEDGER) as file:
        file.write(content)
    hashes = [[record.place.file, record.place.start, record.place.stop, record.source_hash] for record in records]
    manifest = Manifest(
        schema,
        {
            "kind": source.kind,
            "reading": reading_of(source),
            **CHECKED,
            **({REWRITTEN: was_rewritten} if may_rewrite(source.arrangement, writer.markets) else {}),
            "data_id": source.content_id(),
            "former_data_ids": list(source.former_content_ids()),
            "content_hash": "xxh3:" + xxhash.xxh3_128_hexdigest(repr(hashes).encode()),
            "file_bytes": source.file_bytes,
            "file_sizes": [file.size for file in source.watched],
            "ledger_checksum": xxhash.xxh3_64_hexdigest(content),
        },
        BlockTable.of(records),
        find_warnings(summary, timestamps, targets, notes=source_notes(source), markets=markets),
    )
    write_json(writer.folder / MANIFEST, manifest.to_json())
    writer.sync()
    return manifest


def _write_targets(
    writer: StoreWriter, summary: Summary, timestamps: np.ndarray, markets: np.ndarray | None
) -> np.ndarray:
    """Return the targets of all usable rows; where they come from prices, write them and their checksums first."""
    schema, records = writer.schema, writer.records
    numbers = writer.written(_number_column(writer, schema))
    targets = make_targets(schema, numbers, timestamps, summary.places(markets), markets=markets)
    for column in derived_columns(schema):
        with atomic_write(writer.folder / column.file) as file:
            file.write(np.ascontiguousarray(targets, column.dtype).data)
        start = 0
        for record in records:
            record.checksums[column.file] = checksum(targets[start : start + record.usable])
            start += record.usable
    return targets


def _number_column(writer: StoreWriter, schema: Schema) -> Column:
    return writer.columns[len(schema.features)]
