"""The Keras interface of the batch reader: `model.fit(MemoryEfficientGenerator("data.csv", batch_size=32))` works."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..errors import SettingsError
from .backend import keras
from .batch_cache import Batch
from .batches import BatchOptions, BatchReader
from .dataset import SPLITS, Dataset
from .opening import open_dataset

_BATCH_OPTIONS = {item.name for item in fields(BatchOptions)}


class MemoryEfficientGenerator(keras.utils.PyDataset):
    """Batches of one split of a data file, in constant memory.

    `generator[i]` is (inputs, targets): a dict of float32 (rows, *shape) by feature name, and float32
    (rows, horizons), NaN where a target is missing. The arrays belong to the caller. While batches are requested in
    order, a background thread reads ahead.

    Arguments: data, a path as accepted by `open_dataset`, or an open Dataset, which the caller must close; split,
    'train', 'validation' or 'all'; val_ratio, the latest share of rows, used for validation; the options of
    BatchOptions: batch_size, features, shuffle, seed, cache_batches, prefetch, window_rows; other keyword arguments,
    such as chunk_size, are passed to `open_dataset`.

    Give Keras's `fit` shuffle=False: the rows are already shuffled, and Keras would request batches out of order.

    Raises SettingsError and DataError.
    """

    def __init__(
        self,
        data: str | Path | Dataset,
        *,
        split: str = "train",
        val_ratio: float = 0.1,
        **options: Any,
    ):
        if split not in SPLITS:
            raise SettingsError(f"split={split!r} is not accepted; choose from {', '.join(SPLITS)}")
        super().__init__(workers=1, use_multiprocessing=False)
        self.epoch = 0
        self._lock = Lock()
        self._stream: Iterator[Batch] | None = None
        self._expected = 0
        self._offset = 0
        self._in_order = True
        of_batches = {name: options.pop(name) for name in _BATCH_OPTIONS & set(options)}
        BatchOptions(**of_batches)  # before a long check of the data
        self._owned = None if isinstance(data, Dataset) else open_dataset(data, **options)
        self.dataset: Dataset = data if isinstance(data, Dataset) else self._owned  # type: ignore[assignment]
        try:
            self.reader: BatchReader = self.dataset.batches(split=split, val_ratio=val_ratio, **of_batches)
        except BaseException:
            if self._owned is not None:
                self._owned.close()
            raise

    def __enter__(self) -> MemoryEfficientGenerator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return math.ceil((self.reader.samples - self._offset) / self.reader.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        batch = self._next_or_single(range(len(self))[index])
        return batch.inputs, batch.targets

    def row_ids(self, index: int) -> np.ndarray:
        """Return the int64 row numbers of batch `index` in the current epoch, without reading the rows."""
        start = range(len(self))[index] * self.reader.batch_size + self._offset
        return self.reader.epoch_rows(self.epoch, start, start + self.reader.batch_size)

    def on_epoch_end(self) -> None:
        """Go to the next epoch's order; Keras calls this, even after the batches it probes before its first epoch."""
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Use the order of `epoch` (from 0)."""
        with self._lock:
            self.epoch, self._offset, self._in_order = epoch, 0, True
            self._drop_stream()

    def state(self) -> dict[str, Any]:
        """Return the position after the last batch served, in samples, as plain data for `restore`.

        Keras's `fit` requests some batches before it trains on them. Raises SettingsError if batches of this epoch were
        requested out of order.
        """
        if not self._in_order:
            raise SettingsError(
                "batches were requested out of order, so there is no position; use shuffle=False in fit"
            )
        position = min(self._expected * self.reader.batch_size + self._offset, self.reader.samples)
        return self.reader.state(self.epoch, position)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the position of `state`: until the epoch ends, batch 0 is the first one after it.

        Batch size, prefetch and memory may differ from when the state was taken.

        Raises RunConflictError if the state is of other data or another order.
        """
        epoch, position = self.reader.restore(state)
        self.set_epoch(epoch)
        self._offset = position

    def close(self) -> None:
        """End the background thread, and close the data if the generator opened it."""
        self._drop_stream()
        self.reader.close()
        if self._owned is not None:
            self._owned.close()

    def _next_or_single(self, index: int) -> Batch:
        """Serve from the read-ahead stream while batches are requested in order; else read only this one."""
        with self._lock:
            if index != self._expected:
                self._in_order = False
                self._drop_stream()
            elif self._stream is None:
                self._stream = self.reader.stream(self.epoch, start=index * self.reader.batch_size + self._offset)
            self._expected = index + 1
            if self._stream is not None:
                try:
                    return next(self._stream)
                except BaseException:  # the stream has ended; the batch may be requested again
                    self._drop_stream()
                    raise
        start = index * self.reader.batch_size + self._offset
        return self.reader.fetch(self.epoch, start, start + self.reader.batch_size)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        self._expected = 0
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]
