"""Batches of a dataset in a fixed order, read ahead by a background thread; plain numpy, no TensorFlow."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from .dataset import Dataset
from .errors import SettingsError
from .order import Rows, epoch_order

_SLAB = 4096
"""Positions of an epoch's order that are computed at once: one by one they cost as much as gathering the rows."""

CACHE_BYTES = 256 << 20
"""Most bytes the batch cache holds, whatever cache_batches asks for."""


@dataclass(frozen=True)
class Batch:
    """Rows ready for a model.

    inputs: float32 (rows, *shape) by feature name; targets: float32 (rows, horizons), NaN where missing; row_ids:
    int64 (rows,). The arrays belong to the caller.
    """

    inputs: dict[str, np.ndarray]
    targets: np.ndarray
    row_ids: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.targets.nbytes + self.row_ids.nbytes + sum(values.nbytes for values in self.inputs.values())

    def copy(self) -> Batch:
        """Return a batch with arrays of its own."""
        inputs = {name: values.copy() for name, values in self.inputs.items()}
        return Batch(inputs, self.targets.copy(), self.row_ids.copy())


class BatchCache:
    """The batches used last, at most `batches` of them and at most `limit_bytes` together."""

    def __init__(self, batches: int, limit_bytes: int = CACHE_BYTES):
        self._batches, self._limit_bytes = batches, limit_bytes
        self._kept: OrderedDict[tuple[int, int, int], Batch] = OrderedDict()
        self._lock = Lock()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple[int, int, int]) -> Batch | None:
        """Return a copy of a kept batch, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key].copy()

    def put(self, key: tuple[int, int, int], batch: Batch) -> None:
        """Keep a copy of a batch, and drop the ones unused for longest until all fit."""
        if not self._batches or batch.nbytes > self._limit_bytes:
            return
        with self._lock:
            self.nbytes += batch.nbytes - (self._kept[key].nbytes if key in self._kept else 0)
            self._kept[key] = batch.copy()
            while len(self._kept) > self._batches or self.nbytes > self._limit_bytes:
                self.nbytes -= self._kept.popitem(last=False)[1].nbytes


class BatchReader:
    """Batches of some rows of a dataset, the same for the same (data, rows, seed, epoch), whatever their size.

    Arguments: dataset; rows to serve; batch_size in rows; features by name (None: all);
    shuffle, a full permutation per epoch drawn from seed; cache_batches, assembled batches kept in memory;
    prefetch, batches read ahead in the background. The last batch of an epoch is short, never dropped.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        *,
        batch_size: int,
        features: Sequence[str] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        cache_batches: int = 0,
        prefetch: int = 2,
    ):
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("cache_batches", cache_batches, 0),
            ("prefetch", prefetch, 0),
        ):
            if value < least:
                raise SettingsError(f"{name}={value} is not accepted; use at least {least}")
        self.dataset, self.rows = dataset, rows
        self.batch_size, self.prefetch = batch_size, prefetch
        self.schema = dataset.schema.select(features)
        self._shuffle, self._seed = shuffle, seed
        self._cache = BatchCache(cache_batches)
        self._slab = (-1, 0, np.empty(0, np.int64))

    def __enter__(self) -> BatchReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop cached batches; streams end with the loop that uses them."""
        self._cache = BatchCache(0)

    @property
    def samples(self) -> int:
        """Rows per epoch."""
        return len(self.rows)

    def __len__(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def epoch_rows(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Return the int64 row numbers at positions [start, stop) of an epoch."""
        stop = min(stop, self.samples)
        if not self._shuffle:
            return self.rows.numbers(start, stop)
        slab_epoch, first, rows = self._slab
        if slab_epoch != epoch or not first <= start <= stop <= first + len(rows):
            order = epoch_order(self.samples, key=self.dataset.data_id, seed=self._seed, epoch=epoch)
            first, rows = start, self.rows.at(order[start : max(stop, start + _SLAB)])
            self._slab = (epoch, first, rows)
        return rows[start - first : stop - first].copy()

    def fetch(self, epoch: int, start: int, stop: int) -> Batch:
        """Return the batch of positions [start, stop) of an epoch."""
        key = (epoch if self._shuffle else 0, start, stop)
        batch = self._cache.get(key)
        if batch is None:
            rows = self.epoch_rows(epoch, start, stop)
            batch = Batch(self.dataset.read(rows, self.schema.names), self.dataset.read_targets(rows), rows)
            self._cache.put(key, batch)
        return batch

    def batch(self, index: int, *, epoch: int = 0) -> Batch:
        """Return batch `index` of an epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self.fetch(epoch, index * self.batch_size, (index + 1) * self.batch_size)

    def stream(self, epoch: int, *, start: int = 0, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield the batches of an epoch from sample `start` to its end, `prefetch` of them read ahead.

        The background thread ends with the loop: at the end, at a break, at an exception.
        """
        size = batch_size or self.batch_size
        starts = range(start, self.samples, size)
        if not self.prefetch:
            yield from (self.fetch(epoch, at, at + size) for at in starts)
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="deeptrade-prefetch")
        try:
            ahead: deque[Future[Batch]] = deque()
            for at in starts:
                ahead.append(pool.submit(self.fetch, epoch, at, at + size))
                if len(ahead) > self.prefetch:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
