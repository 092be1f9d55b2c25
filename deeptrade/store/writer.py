"""An unfinished store: blocks appended to its files, and a journal of the complete ones.

A block's numbers are written first, then its line in the journal. Whatever ends the process between two writes, the
journal's complete lines name exactly the blocks that are there; anything after them is cut off when work continues.
Checksums tell whether a power cut lost data that the journal lists.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..files import friendly_os_errors, sync_folder, write_at
from ..sources.blocks import Block
from ..sources.schema import Schema
from ..sources.time_order import rows_by_market
from .checked_file import checksum
from .layout import (
    JOURNAL,
    MARKETS,
    POSITIONS,
    PRICES,
    STATISTICS,
    TARGETS,
    TIMESTAMPS,
    BlockRecord,
    Column,
    feature_columns,
    written_columns,
)

_SYNC_BYTES = 256 << 20
"""Bytes between two background flushes to disk, so that the last flush has little left to do."""


class StoreWriter:
    """The files of an unfinished store in `folder`, open for appending; `head` identifies its source and schema."""

    def __init__(self, folder: Path, schema: Schema, head: dict[str, Any]):
        self.folder, self.schema = folder, schema
        self.columns = written_columns(schema)
        self.records: list[BlockRecord] = []
        self.usable = 0
        self.markets: list[str] = []
        self._head = json.dumps(head, sort_keys=True)
        self._files: dict[str, int] = {}
        self._syncing: Future[None] | None = None
        self._unsynced = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="deeptrade-sync")

    def __enter__(self) -> StoreWriter:
        with friendly_os_errors(f"writing the store {self.folder.name}"):
            for name in [JOURNAL, *(column.file for column in self.columns)]:
                self._files[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def journaled(self) -> list[BlockRecord]:
        """Return the blocks that the journal lists; none if it belongs to another source or schema."""
        lines = (
            (self.folder / JOURNAL).read_bytes().split(b"\n")[:-1]
        )  # a last line without its line break is incomplete
        if not lines or lines[0].decode(errors="replace") != self._head:
            return []
        records = []
        for line in lines[1:]:
            try:
                records.append(BlockRecord.from_json(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                break
        return records

    def keep(self, records: list[BlockRecord]) -> None:
        """Continue after these blocks: cut every file and the journal to them."""
        with friendly_os_errors(f"writing the store {self.folder.name}"):
            for column in self.columns:
                os.ftruncate(self._files[column.file], _items(column, records) * column.stride)
            journal = "".join(line + "\n" for line in [self._head, *map(_line, records)]).encode()
            if not (self.folder / JOURNAL).read_bytes().startswith(journal):
                os.ftruncate(self._files[JOURNAL], 0)
                self._append(JOURNAL, 0, journal)
            os.ftruncate(self._files[JOURNAL], len(journal))
        self.records, self.usable = list(records), sum(record.usable for record in records)
        self.markets = [name for record in records for name in record.markets]

    def sound_blocks(self, records: list[BlockRecord]) -> Iterator[BlockRecord]:
        """Yield the blocks whose bytes in the files match their checksums, up to the first that does not."""
        ends = {column.file: 0 for column in self.columns}
        for record in records:
            for column in self.columns:
                size = _items(column, [record]) * column.stride
                data = os.pread(self._files[column.file], size, ends[column.file])
                if len(data) != size or checksum(np.frombuffer(data, np.uint8)) != record.checksums[column.file]:
                    return
                ends[column.file] += size
            yield record

    def times_by_market(self, start: int, stop: int, markets: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the times of usable rows start..stop-1 by market ('' where rows name none): int64, ns UTC."""
        times = np.frombuffer(os.pread(self._files[TIMESTAMPS], 8 * (stop - start), 8 * start), np.int64)
        if not self.schema.has_markets:
            return {"": times} if len(times) else {}
        codes = np.frombuffer(os.pread(self._files[MARKETS], 4 * (stop - start), 4 * start), np.int32)
        return {markets[code]: times[rows] for code, rows in rows_by_market(codes)}

    def add(self, block: Block, *, first_line: int) -> BlockRecord:
        """Append a block and return its record; `first_line` is the number of its first line in its file."""
        new = [name for name in dict.fromkeys(filter(None, block.markets)) if name not in self.markets]
        self.markets += new
        parts = self._parts(block, first_line)
        record = BlockRecord(
            place=block.place,
            rows=block.rows,
            usable=block.usable,
            lines=block.lines,
            source_hash=block.source_hash,
            nonfinite=[block.nonfinite[name] for name in self.schema.names],
            checksums={name: checksum(values) for name, values in parts.items()},
            faults=block.faults,
            markets=new,
        )
        with friendly_os_errors(f"writing the store {self.folder.name}"):
            for column in self.columns:
                items = len(self.records) if column.per_block else self.usable
                self._append(column.file, items * column.stride, parts[column.file])
            self._append(JOURNAL, os.fstat(self._files[JOURNAL]).st_size, (_line(record) + "\n").encode())
            self.records.append(record)
            self.usable += record.usable
            self._unsynced += sum(values.nbytes for values in parts.values())
            if self._unsynced >= _SYNC_BYTES:
                self._sync_in_background()
        return record

    def rewrite(self, column: Column, parts: Iterable[np.ndarray]) -> None:
        """Replace a column's file by these parts, one after the other; the old file can be read until then."""
        path = self.folder / column.file
        fresh = path.with_name(f"{path.name}.new")
        with friendly_os_errors(f"writing the store {self.folder.name}"):
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            os.close(self._files[column.file])
            self._files[column.file], offset = file, 0
            for part in parts:
                data = np.ascontiguousarray(part, np.dtype(column.dtype))
                self._append(column.file, offset, data)
                offset += data.nbytes
            os.replace(fresh, path)

    def _parts(self, block: Block, first_line: int) -> dict[str, np.ndarray]:
        """Return a block's part of every file, in the store's byte order."""
        names = [column.file for column in feature_columns(self.schema)]
        parts = {file: block.features[name] for file, name in zip(names, self.schema.names, strict=True)}
        if self.schema.target_source == "price":
            parts[PRICES] = block.numbers
        elif self.schema.target_source == "none":
            parts[TARGETS] = np.full((block.usable, self.schema.horizons), np.nan, np.float32)
        else:
            parts[TARGETS] = np.where(np.isfinite(block.numbers), block.numbers, np.float32(np.nan))
        parts[TIMESTAMPS] = block.timestamps
        if self.schema.has_markets:
            codes = {name: code for code, name in enumerate(self.markets)}
            parts[MARKETS] = np.array([codes[name] for name in block.markets], np.int32)
        parts[POSITIONS] = block.positions[:, :2] + np.array([first_line, 0])
        parts[STATISTICS] = np.concatenate([block.moments[name].numbers() for name in self.schema.names])
        return {
            column.file: np.ascontiguousarray(parts[column.file], np.dtype(column.dtype)) for column in self.columns
        }

    def _append(self, name: str, offset: int, data: Any) -> None:
        write_at(self._files[name], memoryview(data).cast("B") if len(data) else memoryview(b""), offset)

    def _sync_in_background(self) -> None:
        """Flush in the background what has been written, unless the last flush is still running."""
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        self._unsynced = 0
        self._syncing = self._pool.submit(self._sync)

    def _sync(self) -> None:
        for file in list(self._files.values()):
            os.fsync(file)

    def sync(self) -> None:
        """Flush everything to disk."""
        with friendly_os_errors(f"writing the store {self.folder.name}"):
            if self._syncing is not None:
                self._syncing.result()
            self._sync()
            sync_folder(self.folder)

    def written(self, column: Column) -> np.ndarray:
        """Return what has been written to a column so far, (usable rows, *shape)."""
        with friendly_os_errors(f"reading {column.file}"):
            return np.fromfile(self.folder / column.file, column.dtype).reshape(-1, *column.shape)


def _line(record: BlockRecord) -> str:
    return json.dumps(record.to_json(), ensure_ascii=False)


def _items(column: Column, records: list[BlockRecord]) -> int:
    """Return how many strides of a column these blocks take."""
    return len(records) if column.per_block else sum(record.usable for record in records)
