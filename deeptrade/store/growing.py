"""A store that is made in a thread while the blocks it has so far are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

from ..errors import DataError
from .compile import compile_store
from .layout import BlockRecord
from .locate import Located
from .reader import StoreRows, read_unfinished
from .summary import Summary

_LOOK_SECONDS = 0.2


class _CancelledError(Exception):
    """Nobody waits for the store any more; what has been made of it stays, for the next compile to go on with."""


class GrowingStore:
    """The store of some data, made in a thread of its own within a with-block; options are those of `compile_store`.

    rows: usable ones, so far. is_whole: whether it is there under its own name.
    """

    def __init__(self, located: Located, **options: Any):
        self._located, self._options = located, options
        self._changed, self._cancelled = Condition(), Event()
        self._folder, self._records = Path(), list[BlockRecord]()
        self._error: BaseException | None = None
        self.rows, self.is_whole = 0, False
        self._thread = Thread(target=self._make, name="deeptrade-compile", daemon=True)

    def __enter__(self) -> GrowingStore:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._cancelled.set()
        self._thread.join()

    @property
    def has_failed(self) -> bool:
        """Whether the compile has ended without a store."""
        return self._error is not None

    def refuse_failure(self) -> None:
        """Raise what has ended the compile, if anything has."""
        if self._error is not None:
            raise self._error

    def wait(self, rows: int, *, is_wanted: Callable[[], bool]) -> None:
        """Wait for so many usable rows, or for the whole store, while that is wanted; raises as `refuse_failure`."""
        with self._changed:
            while self.rows < rows and not self.is_whole and self._error is None and is_wanted():
                self._changed.wait(_LOOK_SECONDS)
        self.refuse_failure()

    def read(self, *, use_mmap: bool = True) -> tuple[Summary, StoreRows] | None:
        """Return the summary and the rows of what is there, None where the whole store has just come."""
        with self._changed:
            records = list(self._records)
        try:
            return read_unfinished(self._folder, self._located.opened(), records, use_mmap=use_mmap)
        except DataError:  # its folder has been given its own name meanwhile, or is about to be
            self._thread.join()
            self.refuse_failure()
            if self.is_whole:
                return None
            raise

    def _make(self) -> None:
        try:
            compile_store(self._located, written=self._note, **self._options)
            self.is_whole = True
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            self._error = error
        with self._changed:
            self._changed.notify_all()

    def _note(self, folder: Path, records: Sequence[BlockRecord]) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        with self._changed:
            new = records[len(self._records) :]
            self._folder, self.rows = folder, self.rows + sum(record.usable for record in new)
            self._records.extend(new)
            self._changed.notify_all()
