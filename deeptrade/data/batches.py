"""Batches of a dataset in a fixed order, read ahead by a background thread; plain NumPy, no TensorFlow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import RLock
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, RunConflictError, SettingsError
from ..memory.budget import ByteBudget, Lease
from ..sources.schema import Schema
from ..store.row_range import RowRange
from ..units import count_of, format_bytes
from .batch_cache import Batch, BatchCache
from .order import ORDER_VERSION, ArrivingOrder, Permutation, WindowedOrder, epoch_order, windowed_order
from .share import Share

_SLAB = 4096
"""Positions of an epoch's order computed at a time: one by one they cost as much as gathering the rows."""

_MOST_WAIT_SECONDS = 30.0


class ReadableRows(Protocol):
    """What batches are gathered from, such as a `Dataset`. Thread-safe."""

    @property
    def data_id(self) -> str:
        """'sha256:...' of the content, the key of the row order."""

    @property
    def former_data_ids(self) -> tuple[str, ...]:
        """Ids that earlier versions gave the same content."""

    @property
    def rows(self) -> int:
        """Rows in the data, including rejected ones."""

    @property
    def schema(self) -> Schema:
        """What a row holds."""

    @property
    def budget(self) -> ByteBudget:
        """The bytes that all readers of these rows may hold together."""

    def block_edges(self, rows: RowRange) -> np.ndarray:
        """Return int64, the positions among these rows at which blocks of the data begin, from 0, and their number."""

    def read(self, row_ids: np.ndarray, features: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return float32 (len(row_ids), *shape) by feature name, fresh arrays."""

    def read_targets(self, row_ids: np.ndarray) -> np.ndarray:
        """Return float32 (len(row_ids), horizons), NaN where missing, a fresh array."""


@dataclass(frozen=True)
class _Window:
    """One window of a windowed order in memory; `contents` holds its rows in ascending order."""

    epoch: int
    number: int
    contents: Batch

    def take(self, rows: np.ndarray) -> Batch:
        places = np.searchsorted(self.contents.row_ids, rows)
        inputs = {name: np.take(values, places, axis=0) for name, values in self.contents.inputs.items()}
        return Batch(inputs, np.take(self.contents.targets, places, axis=0), rows)


@dataclass(frozen=True)
class BatchOptions:
    """How rows become batches; every way to ask for batches takes these as keyword arguments.

    batch_size in rows; features by name (None: all); shuffle, a full permutation per epoch drawn from seed;
    cache_batches, assembled batches kept in memory; prefetch, batches read ahead in the background; window_rows, for
    data larger than memory: shuffle inside windows of about this many rows, each read once and held in memory (0: a
    full permutation); whole_blocks, such windows take whole blocks of the data, for what comes from far; order_version,
    see `ORDER_VERSION`; arriving_rows, take the rows of epoch 0 as they come, shuffled within so many (0: as others).

    Raises SettingsError for a number that is not accepted.
    """

    batch_size: int
    features: Sequence[str] | None = None
    shuffle: bool = True
    seed: int = 0
    cache_batches: int = 0
    prefetch: int = 2
    window_rows: int = 0
    whole_blocks: bool = False
    order_version: int = ORDER_VERSION
    arriving_rows: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("cache_batches", 0), ("prefetch", 0), ("window_rows", 0)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name}={getattr(self, name)} is not accepted; use at least {least}")


class BatchReader:
    """Batches of some rows of a dataset; their order depends only on the numbers of the rows, seed and epoch.

    Arguments: dataset; rows to serve; share, the part of them that `stream` yields where several workers train
    together (None: all); options, those of BatchOptions. The last batch of an epoch may be short; it is never dropped.
    """

    def __init__(self, dataset: ReadableRows, rows: RowRange, *, share: Share | None = None, **options: Any):
        given = BatchOptions(**options)
        self.dataset, self.rows, self.share = dataset, rows, share
        self.batch_size, self.prefetch = given.batch_size, given.prefetch
        self.schema = dataset.schema.select(given.features)
        self._order_version, self._data_id = given.order_version, dataset.data_id
        self._shuffle, self._seed = given.shuffle, given.seed
        self.window_rows = given.window_rows if given.shuffle else 0
        self._arriving_rows = given.arriving_rows
        self._edges = dataset.block_edges(rows) if self.window_rows and given.whole_blocks else None
        self._window: _Window | None = None
        self._unreadable_window: tuple[int, int] | None = None
        self._window_lock = RLock()
        self._window_lease: Lease | None = None
        self._cache = BatchCache(given.cache_batches, budget=dataset.budget)
        dataset.budget.on_shortage(self._cache.free)
        self._slab = (-1, 0, np.empty(0, np.int64))

    def __enter__(self) -> BatchReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop cached batches; a stream ends with the loop that uses it."""
        self._drop_window()
        self.dataset.budget.off_shortage(self._cache.free)
        self._cache.free(self._cache.nbytes)
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
            order = self.order(epoch)
            first, rows = start, self.rows.at(order[start : max(stop, start + _SLAB)])
            self._slab = (epoch, first, rows)
        return rows[start - first : stop - first].copy()

    def state(self, epoch: int, position: int) -> dict[str, Any]:
        """Return the position of a stream as plain data for `restore`; `position` counts samples of the epoch."""
        return {**self._order_names(), "epoch": epoch, "position": position}

    def restore(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """Return (epoch, position) of a state, to continue with `stream`; batch size, prefetch and budget may differ.

        A state of an earlier version is continued in its order. Raises RunConflictError naming the difference if the
        state is of other data or another order.
        """
        if state.get("data_id") in (self.dataset.data_id, *self.dataset.former_data_ids):
            self._take_order(state.get("order_version"), state["data_id"])
        for name, value in self._order_names().items():
            if state.get(name) != value and not (name == "rows" and self._are_in(state.get(name))):
                raise RunConflictError(
                    f"the state has {name}={state.get(name)!r}, these batches have {value!r}; "
                    f"restore into batches made as before"
                )
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int) and epoch >= 0 and 0 <= position <= self.samples):
            raise RunConflictError(
                f"the state has epoch={epoch!r}, position={position!r}; accepted are an epoch of at least 0 and a "
                f"position from 0 to {self.samples}"
            )
        return epoch, position

    def _take_order(self, version: Any, data_id: str) -> None:
        """Use the order of a version and an id of the data; drop what is held of another order."""
        known = version if version in (1, ORDER_VERSION) else self._order_version
        if (known, data_id) != (self._order_version, self._data_id):
            self._order_version, self._data_id, self._slab = known, data_id, (-1, 0, np.empty(0, np.int64))
            self._window = self._unreadable_window = None
            self._cache.free(self._cache.nbytes)

    def _are_in(self, edges: Any) -> bool:
        """Whether these rows lie in a range [first, stop) that a state of version 1 names."""
        return self._order_version == 1 and edges[0] <= self.rows.start and self.rows.stop <= edges[1]

    def _order_names(self) -> dict[str, Any]:
        return {
            "order_version": self._order_version,
            "data_id": self._data_id,
            "rows": [self.rows.start, self.rows.stop] if self._order_version == 1 else self.rows.key,
            "seed": self._seed if self._shuffle else None,
            "window_rows": self.window_rows,
            **({} if self._edges is None else {"whole_blocks": True}),
            **({"arriving_rows": self._arriving_rows} if self._arriving_rows else {}),
        }

    def order(self, epoch: int) -> Permutation | WindowedOrder | ArrivingOrder:
        """Return the order of an epoch, as positions among the rows."""
        if self._takes_as_they_come(epoch):
            return ArrivingOrder(self.samples, window_rows=self._arriving_rows, permute=self._permute_arriving)
        key = self._data_id if self._order_version == 1 else self.rows.key
        names: dict[str, Any] = {"key": key, "seed": self._seed, "epoch": epoch}
        if self.window_rows:
            return windowed_order(self.samples, window_rows=self.window_rows, edges=self._edges, **names)
        return epoch_order(self.samples, **names)

    def _takes_as_they_come(self, epoch: int) -> bool:
        return bool(self._arriving_rows) and epoch == 0

    def _permute_arriving(self, number: int, size: int) -> Permutation:
        first = number * self._arriving_rows
        key = self.rows.part(first, first + size).key
        return epoch_order(size, key=f"{key}/arriving", seed=self._seed, epoch=0)

    def _from_windows(self, epoch: int, start: int, rows: np.ndarray) -> Batch:
        """Gather a batch from the windows it spans; each window is read when first needed."""
        order, parts, done = self.order(epoch), [], 0
        assert isinstance(order, WindowedOrder)
        while done < len(rows):
            number = order.window_of(start + done)
            stop = min(len(rows), order.window(number)[1] - start)
            window = self._load_window(order, epoch, number)
            wanted = rows[done:stop]
            parts.append(self._gather(wanted) if window is None else window.take(wanted))
            done = stop
        if len(parts) == 1:
            return parts[0]
        inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in self.schema.names}
        return Batch(inputs, np.concatenate([part.targets for part in parts]), rows)

    def _gather(self, rows: np.ndarray) -> Batch:
        return Batch(self.dataset.read(rows, self.schema.names), self.dataset.read_targets(rows), rows)

    def _load_window(self, order: WindowedOrder, epoch: int, number: int) -> _Window | None:
        """The window, from memory or read in file order after the previous one is dropped.

        None if part of it cannot be read: its rows are then read one by one, and the window is not tried again.
        """
        with self._window_lock:
            if self._unreadable_window == (epoch, number):
                return None
            window = self._window
            if window is None or (window.epoch, window.number) != (epoch, number):
                self._window = window = None
                self._lease_window(order)
                try:
                    contents = self._gather(self.rows.at(self._entries(order, number)))
                except (DataError, OSError):
                    self._unreadable_window = (epoch, number)
                    return None
                self._window = window = _Window(epoch, number, contents)
            return window

    def _entries(self, order: WindowedOrder, number: int) -> np.ndarray:
        """The int64 entries of a window, ascending; with a share, only those that are in it."""
        if self.share is None:
            return order.rows_of(number)
        start, stop = order.window(number)
        return np.sort(order[start:stop][self.share.holds(np.arange(start, stop), self.samples)])

    def _lease_window(self, order: WindowedOrder) -> None:
        """Lease room for the largest window until `close`, before batches, which need the window, lease theirs."""
        if self._window_lease is None:
            rows = max(len(self._entries(order, number)) for number in (0, order.windows - 1))
            self._window_lease = self.dataset.budget.lease(
                self._batch_bytes(rows),
                f"a window of {count_of(rows, 'row')}",
                advice=f"use a smaller window than window_rows={self.window_rows}",
                timeout_seconds=_MOST_WAIT_SECONDS,
            )

    def _drop_window(self) -> None:
        self._window = None
        if self._window_lease is not None:
            self._window_lease.release()
            self._window_lease = None

    def fetch(self, epoch: int, start: int, stop: int) -> Batch:
        """Return the batch of positions [start, stop) of an epoch."""
        key = (epoch if self._shuffle else 0, start, stop)
        batch = self._cache.get(key)
        if batch is None:
            rows = self.epoch_rows(epoch, start, stop)
            in_windows = self.window_rows and not self._takes_as_they_come(epoch)
            batch = self._from_windows(epoch, start, rows) if in_windows else self._gather(rows)
            self._cache.put(key, batch)
        return batch

    def batch(self, index: int, *, epoch: int = 0) -> Batch:
        """Return batch `index` of an epoch."""
        if not 0 <= index < len(self):
            batches = count_of(len(self), "batch", "batches")
            raise IndexError(f"index={index} is not accepted; an epoch has {batches}, numbered from 0")
        return self.fetch(epoch, index * self.batch_size, (index + 1) * self.batch_size)

    def passes(self, start: int, batch_size: int) -> Iterator[tuple[int, int]]:
        """Yield the positions [first, stop) of the batches of `batch_size` rows from `start` on, all or the share's."""
        if self.share is not None:
            return self.share.passes(start, self.samples, batch_size=batch_size)
        return ((first, first + batch_size) for first in range(start, self.samples, batch_size))

    def stream(self, epoch: int, *, start: int = 0, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield the batches of an epoch from sample `start` to its end, reading `prefetch` of them ahead.

        They are those of `passes`. Fewer are read ahead if the budget has no room; a batch's lease ends when it is
        yielded. The background thread ends with the loop: at the end, a break or an exception. Raises DoesNotFitError
        for a batch that alone exceeds the budget.
        """
        size = batch_size or self.batch_size
        for name, value, least in (("batch_size", size, 1), ("start", start, 0), ("epoch", epoch, 0)):
            if value < least:
                raise SettingsError(f"{name}={value} is not accepted; use at least {least}")
        order = self.order(epoch)
        if isinstance(order, WindowedOrder):
            self._lease_window(order)
        if not self.prefetch:
            for first, stop in self.passes(start, size):
                with self._needed_lease(size):
                    batch = self.fetch(epoch, first, stop)
                yield batch
            return
        passes = self.passes(start, size)
        ahead: deque[tuple[Future[Batch], Lease]] = deque()
        pool = ThreadPoolExecutor(1, thread_name_prefix="deeptrade-prefetch")
        try:
            at = next(passes, None)
            while at is not None or ahead:
                while at is not None and len(ahead) <= self.prefetch:
                    lease = self._try_lease(size) if ahead else self._needed_lease(size)
                    if lease is None:
                        break
                    ahead.append((pool.submit(self.fetch, epoch, *at), lease))
                    at = next(passes, None)
                future, lease = ahead.popleft()
                with lease:
                    batch = future.result()
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for _, lease in ahead:
                lease.release()

    def _batch_bytes(self, rows: int) -> int:
        return rows * (self.schema.row_bytes + 8)

    def _try_lease(self, rows: int) -> Lease | None:
        """A lease for a batch read ahead; it is optional, so nothing is freed for it."""
        return self.dataset.budget.try_lease(self._batch_bytes(rows), needed=False)

    def _needed_lease(self, rows: int) -> Lease:
        """A lease for a batch that the caller is waiting for."""
        lease = self._try_lease(rows)
        if lease is not None:
            return lease
        one = format_bytes(self._batch_bytes(1))
        return self.dataset.budget.lease(
            self._batch_bytes(rows),
            f"a batch of {count_of(rows, 'row')}",
            advice=f"use a smaller batch_size (one row takes {one}) or fewer features",
            timeout_seconds=_MOST_WAIT_SECONDS,
        )
