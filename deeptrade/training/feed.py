"""The passes of a training window: normally read ahead; where that fails, read again row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..data.batch_cache import Batch
from ..data.batches import BatchReader
from ..errors import DataError

READ_ERRORS = (DataError, OSError)
"""What reading damaged or missing data raises; anything else is a bug or lack of memory, and is not caught."""


READ_ERROR, NON_FINITE = "read_error", "non_finite_step"


@dataclass(frozen=True)
class LeftOut:
    """A row that does not count, the reason (READ_ERROR or NON_FINITE), and the detail."""

    row: int
    reason: str
    detail: str


class Feed:
    """Batches of one epoch, without rows that cannot be read and rows the trainer left out.

    `left_out` holds both by row number, since the last `forget`; `known` rows are left out from the start. `waited` is
    the seconds the caller waited for data since then.
    """

    def __init__(
        self,
        reader: BatchReader,
        epoch: int,
        *,
        batch_size: int | None = None,
        known: Mapping[int, LeftOut] | None = None,
        sink: Callable[[str], None] = lambda line: None,
    ):
        self.reader, self.epoch, self.batch_size = reader, epoch, batch_size or reader.batch_size
        self.waited = 0.0
        self.left_out: dict[int, LeftOut] = {}
        self._known, self._sink = known or {}, sink
        self._stream: Iterator[Batch] | None = None
        self._passes: Iterator[tuple[int, int]] = iter(())
        self._at: int | None = None

    @property
    def faults(self) -> list[LeftOut]:
        """Rows newly left out of this window."""
        return [one for row, one in self.left_out.items() if row not in self._known]

    def resize(self, batch_size: int) -> None:
        """Yield passes of `batch_size` rows from now on; batches read ahead in another size are dropped."""
        if batch_size != self.batch_size:
            self.close()
            self.batch_size = batch_size

    def forget(self) -> None:
        """Start a new window, in which no row is left out yet."""
        self.left_out = {}
        self.waited = 0.0

    def leave_out(self, rows: list[LeftOut]) -> None:
        """Leave rows out of all later passes of this window."""
        self.left_out.update((one.row, one) for one in rows)

    def passes(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the passes of positions [start, stop); reading ahead continues beyond `stop`."""
        for first in range(start, stop, self.batch_size):
            began = time.perf_counter()
            batch = self._without_left_out(self._read(first, min(first + self.batch_size, stop)))
            self.waited += time.perf_counter() - began
            yield batch

    def again(self, start: int, stop: int) -> Batch:
        """Return the rows at positions [start, stop), read again."""
        try:
            batch = self.reader.fetch(self.epoch, start, stop)
        except READ_ERRORS:
            batch = self._row_by_row(start, stop)
        return self._without_left_out(batch)

    def kept_rows(self, start: int, stop: int) -> np.ndarray:
        """Return the numbers of the rows at positions [start, stop) that are not left out, whoever reads them."""
        rows = self.reader.epoch_rows(self.epoch, start, stop)
        return rows[[row not in self.left_out for row in rows.tolist()]]

    def close(self) -> None:
        """End the thread that reads ahead."""
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
            self._stream = None

    def _read(self, start: int, stop: int) -> Batch:
        try:
            if self._stream is None or self._at != start:
                self.close()
                self._stream = self.reader.stream(self.epoch, start=start, batch_size=self.batch_size)
                self._passes = self.reader.passes(start, self.batch_size)
                next(self._passes)
            self._at = next(self._passes, (None, None))[0]
            return next(self._stream)
        except READ_ERRORS as error:
            self._stream = None
            batch = self._row_by_row(start, stop)
            if len(batch.row_ids) == stop - start:
                self._sink(f"reading rows {batch.row_ids.tolist()} failed once ({error}) and then worked; they count")
            return batch

    def _row_by_row(self, start: int, stop: int) -> Batch:
        """The readable rows of a batch that cannot be read whole; the others are left out."""
        rows = self.reader.epoch_rows(self.epoch, start, stop)
        found = []
        for position, row in enumerate(rows.tolist(), start):
            try:
                found.append(self.reader.fetch(self.epoch, position, position + 1))
            except READ_ERRORS as error:
                self.leave_out([LeftOut(row, READ_ERROR, str(error))])
        if not found:
            schema = self.reader.schema
            inputs = {feature.name: np.empty((0, *feature.shape), np.float32) for feature in schema.features}
            return Batch(inputs, np.empty((0, schema.horizons), np.float32), rows[:0])
        inputs = {name: np.concatenate([batch.inputs[name] for batch in found]) for name in found[0].inputs}
        targets = np.concatenate([batch.targets for batch in found])
        return Batch(inputs, targets, np.concatenate([batch.row_ids for batch in found]))

    def _without_left_out(self, batch: Batch) -> Batch:
        rows = batch.row_ids.tolist()
        self.leave_out([self._known[row] for row in rows if row in self._known])
        kept = np.array([row not in self.left_out for row in rows], bool)
        if kept.all():
            return batch
        return Batch({name: x[kept] for name, x in batch.inputs.items()}, batch.targets[kept], batch.row_ids[kept])
