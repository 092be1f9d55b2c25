"""The forecasts of a run over its inner or validation rows, in file order, leaving out those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..data.batch_cache import Batch
from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..errors import Interrupted
from ..settings import FitSettings
from ..store.row_range import RowRange
from ..units import count_of
from .feed import Feed, LeftOut
from .metrics import Forecasts, Forward
from .runtime import StopRequest

VALIDATION_ROWS = 32
"""Minimum rows per validation pass: without gradients a pass takes a tenth of the memory of training."""


def validation_batch(settings: FitSettings) -> int:
    """Return the rows per pass without gradients."""
    return max(VALIDATION_ROWS, settings.batch_size)


class Validator:
    """Forecasts rows of one part of the split, called `name`; `unread` holds those that could not be read last time."""

    def __init__(
        self,
        forward: Forward,
        data: Dataset,
        rows: RowRange,
        settings: FitSettings,
        *,
        name: str,
        sink: Callable[[str], None],
    ):
        self.unread: list[LeftOut] = []
        self._forward, self._horizons, self._name, self._sink = forward, data.schema.horizons, name, sink
        self._reader = BatchReader(
            data,
            rows,
            batch_size=validation_batch(settings),
            features=settings.feature_names,
            shuffle=False,
            prefetch=settings.prefetch,
        )

    def __len__(self) -> int:
        return self._reader.samples

    def forecast(self, stop: StopRequest) -> Forecasts:
        """Return the model's forecasts of all readable rows.

        Raises Interrupted between two passes after a signal.
        """
        feed = Feed(self._reader, 0, sink=self._sink)
        try:
            batches = _until_stopped(feed.passes(0, self._reader.samples), stop)
            found = self._forward.over(batches, horizons=self._horizons)
        finally:
            feed.close()
        self.unread = list(feed.left_out.values())
        if self.unread:
            rows = count_of(len(self.unread), f"{self._name} row")
            self._sink(f"{rows} could not be read; left out, see the ledger")
        return found

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()


def _until_stopped(batches: Iterator[Batch], stop: StopRequest) -> Iterator[Batch]:
    for batch in batches:
        if stop.signal_number:
            raise Interrupted(stop.signal_number)
        yield batch
