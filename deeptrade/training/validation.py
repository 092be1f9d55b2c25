"""Validation of a run: the split's rows in file order, read ahead, leaving out those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..data.backend import keras
from ..data.batch_cache import Batch
from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..errors import Interrupted
from ..settings import FitSettings
from ..store.row_range import RowRange
from ..units import count_of
from .feed import Feed, LeftOut
from .metrics import Validation
from .runtime import StopRequest

VALIDATION_ROWS = 32
"""Minimum rows per validation pass: without gradients a pass takes a tenth of the memory of training."""


class Validator:
    """Evaluates a model on `rows`; `unread` holds the rows that could not be read the last time.

    `target_scale`, float32 (horizons,), is the unit of the loss.
    """

    def __init__(
        self,
        model: keras.Model,
        data: Dataset,
        rows: RowRange,
        settings: FitSettings,
        *,
        target_scale: np.ndarray,
        sink: Callable[[str], None],
    ):
        batch_size = max(VALIDATION_ROWS, settings.batch_size)
        self.unread: list[LeftOut] = []
        self._sink = sink
        self._sums = Validation(model, batch_size=batch_size, target_scale=target_scale)
        self._reader = BatchReader(
            data,
            rows,
            batch_size=batch_size,
            features=settings.feature_names,
            shuffle=False,
            prefetch=settings.prefetch,
        )

    def validate(self, stop: StopRequest) -> dict[str, Any]:
        """Return loss and errors per horizon, as `Validation.evaluate` does.

        Raises Interrupted between two passes after a signal.
        """
        feed = Feed(self._reader, 0, sink=self._sink)
        try:
            result = self._sums.evaluate(_until_stopped(feed.passes(0, self._reader.samples), stop))
        finally:
            feed.close()
        self.unread = list(feed.left_out.values())
        if self.unread:
            rows = count_of(len(self.unread), "validation row")
            self._sink(f"{rows} could not be read; left out, see the ledger")
        return result

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()


def _until_stopped(batches: Iterator[Batch], stop: StopRequest) -> Iterator[Batch]:
    for batch in batches:
        if stop.signal_number:
            raise Interrupted(stop.signal_number)
        yield batch
