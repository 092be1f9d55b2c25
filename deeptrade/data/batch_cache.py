"""A batch of rows, and the batches used last, kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock

import numpy as np

from ..memory.budget import ByteBudget, Lease

CACHE_BYTES = 256 << 20
"""Most bytes the batch cache holds, whatever cache_batches says."""


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
    """The most recently used batches, at most `batches` of them and at most `limit_bytes` in total."""

    def __init__(self, batches: int, limit_bytes: int = CACHE_BYTES, budget: ByteBudget | None = None):
        self._batches, self._limit_bytes = batches, limit_bytes
        self._budget = budget or ByteBudget(lambda: limit_bytes)
        self._kept: OrderedDict[tuple[int, int, int], tuple[Batch, Lease]] = OrderedDict()
        self._lock = RLock()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple[int, int, int]) -> Batch | None:
        """Return a copy of a cached batch, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0].copy()

    def put(self, key: tuple[int, int, int], batch: Batch) -> None:
        """Keep a copy of a batch, dropping the least recently used ones until all fit."""
        if not self._batches or batch.nbytes > self._limit_bytes:
            return
        lease = self._budget.try_lease(batch.nbytes, needed=False)
        if lease is None:
            self.free(batch.nbytes)
            lease = self._budget.try_lease(batch.nbytes, needed=False)
        if lease is None:
            return
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self.nbytes += batch.nbytes
            self._kept[key] = batch.copy(), lease
            while len(self._kept) > self._batches or self.nbytes > self._limit_bytes:
                self._drop(next(iter(self._kept)))

    def free(self, wanted: int) -> None:
        """Drop the least recently used batches until `wanted` bytes are freed or none is left."""
        with self._lock:
            before = self.nbytes
            while self._kept and before - self.nbytes < wanted:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[int, int, int]) -> None:
        batch, lease = self._kept.pop(key)
        self.nbytes -= batch.nbytes
        lease.release()
