"""What every source offers, whatever kind of file it reads: `Source`, its tasks, and the result of checking a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..inputs import InputFile
from ..settings import Arrangement
from .blocks import Block, Place
from .schema import Schema


@dataclass(frozen=True)
class CheckedPlace:
    """What lies at the place of an earlier block now.

    source_hash: of its content. ends_block: whether a block read now would still end there. ends_file: whether the
    file ends there.
    """

    source_hash: str
    ends_block: bool
    ends_file: bool


class Task(Protocol):
    """One block to read; picklable, so that any executor can run it."""

    @property
    def place(self) -> Place:
        """Where the block lies; its true start and stop may differ where `exact` is false."""

    @property
    def exact(self) -> bool:
        """Whether the block's first row is known to begin at place.start."""

    @property
    def reads(self) -> InputFile | None:
        """The file that `run` reads; None where the task carries its rows."""

    def from_start(self, start: int) -> Task:
        """Return the task for the same range, with its first row at `start`."""

    def run(self) -> Block:
        """Read the block."""


class Source(Protocol):
    """Data as blocks of checked rows, in a fixed order; opened by `kinds.open_source`.

    kind: 'csv', 'parquet' or 'hdf5'. name: for messages. arrangement: what the user says about the order of rows.
    watched: the files, then those they link to. seen: what tells whether each of these is what it was when it was
    opened (`InputFile.seen`). columns: all of them, in file order; unused_columns: those that no row uses. file_bytes:
    of all files. row_text_bytes: bytes of text, or of the file, per row.
    """

    kind: str
    name: str
    arrangement: Arrangement
    files: list[InputFile]
    watched: list[InputFile]
    seen: list[list[int | str]]
    schema: Schema
    columns: list[str]
    unused_columns: list[str]
    file_bytes: int
    row_text_bytes: float

    @property
    def seekable(self) -> bool:
        """Whether any row can be read on its own, without a store."""

    @property
    def block_bytes(self) -> int:
        """Memory that reading one block takes."""

    def estimate_rows(self) -> int:
        """Return the number of rows, an estimate for text."""

    def content_id(self) -> str:
        """Return 'sha256-2:...' over schema, sizes and samples of the files."""

    def former_content_ids(self) -> tuple[str, ...]:
        """Return the ids that earlier versions gave the same content."""

    def first_line(self, file: int) -> int:
        """Return the line number, from 1, of a file's first row."""

    def progress(self, place: Place) -> tuple[int, int]:
        """Return (bytes up to the end of a place, bytes in all), estimates except for plain CSV."""

    def tasks(self, *, after: Place | None = None, chunk_size: int = 10_000) -> Iterator[Task]:
        """Yield one task per block in order, starting after the block at `after`."""

    def check(self, places: Sequence[Place]) -> Iterator[CheckedPlace]:
        """Yield what lies at each place now, in order; stops early where the data does."""

    def ends_whole(self) -> bool:
        """Return whether every file ends with a complete row, as far as can be told."""
