"""The order in which rows are trained on: pure functions of seed and epoch, so training can resume at any position."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..mixing import mix

ORDER_VERSION = 2
"""What the key of an order is: the rows themselves (`RowRange.key`). Orders of version 1 have the data's id for a key,
so that a change in any row of the file gives another order; what was begun in one is continued in it."""

_PERMUTATION_VERSION, _ROUNDS = 1, 6

BLOCK_ROWS = 16
"""Neighboring rows that a windowed shuffle reads together: 139 KB for rows of 241 x 9, so the pages read only for the
edges of such a block are 3% of it; with a tenth of 20,000 rows in memory, the spread inside a batch is within 5% of a
full shuffle's (benchmarks/epoch_rate.py prints both)."""


@dataclass(frozen=True)
class Permutation:
    """A shuffle of 0..count-1 in constant memory: entry i is computed from i alone.

    A balanced Feistel network over the next even number of bits, with cycle walking (Black and Rogaway 2002).
    """

    count: int
    keys: tuple[int, ...]

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return int64 entries [start, stop)."""
        start, stop, _ = part.indices(self.count)
        return self.at(np.arange(start, stop))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the entries at int64 positions."""
        half = max(1, ((self.count - 1).bit_length() + 1) // 2)
        values = self._encrypt(positions.astype(np.uint64), half)
        # The network permutes fewer than 4 * count numbers; values out of range are encrypted again.
        while (outside := values >= self.count).any():
            values[outside] = self._encrypt(values[outside], half)
        return values.astype(np.int64)

    def _encrypt(self, values: np.ndarray, half: int) -> np.ndarray:
        mask = np.uint64((1 << half) - 1)
        left, right = values >> np.uint64(half), values & mask
        for key in self.keys:
            left, right = right, left ^ (mix(right, key) & mask)
        return (left << np.uint64(half)) | right


class WindowedOrder:
    """A shuffle of 0..count-1 for data larger than memory, in constant memory: entry i is computed from i alone.

    Blocks of `block_rows` neighboring rows are permuted and grouped into windows of about `window_rows` rows, then the
    rows of each window are permuted: with one window in memory, every row is read once, in blocks (as in CorgiPile, Xu
    et al. 2022). `permute(count, name)` returns the permutations. Rows that do not fill a block are in the last window.
    """

    def __init__(
        self, count: int, *, window_rows: int, permute: Callable[[int, str], Permutation], block_rows: int = BLOCK_ROWS
    ):
        self.count, self.block_rows = count, block_rows
        self._blocks = count // block_rows
        self._window_blocks = max(1, min(window_rows, count) // block_rows)
        self.windows = max(1, self._blocks // self._window_blocks)
        self._permute = permute
        self._order = permute(max(1, self._blocks), "blocks")

    def window(self, number: int) -> tuple[int, int]:
        """Return the positions [start, stop) of a window; the last window includes the remainder."""
        rows = self._window_blocks * self.block_rows
        stop = self.count if number == self.windows - 1 else (number + 1) * rows
        return number * rows, stop

    def window_of(self, position: int) -> int:
        """Return the number of the window that contains a position."""
        return min(position // (self._window_blocks * self.block_rows), self.windows - 1)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return int64 entries [start, stop)."""
        start, stop, _ = part.indices(self.count)
        pieces = [np.empty(0, np.int64)]
        while start < stop:
            number = self.window_of(start)
            first, end = self.window(number)
            end = min(end, stop)
            pieces.append(self._in_window(number, np.arange(start - first, end - first)))
            start = end
        return np.concatenate(pieces)

    def rows_of(self, number: int) -> np.ndarray:
        """Return the int64 entries of a window, ascending."""
        first, end = self.window(number)
        return np.sort(self._unshuffled(number, np.arange(end - first)))

    def _in_window(self, number: int, places: np.ndarray) -> np.ndarray:
        first, end = self.window(number)
        return self._unshuffled(number, self._permute(end - first, f"window {number}").at(places))

    def _unshuffled(self, number: int, places: np.ndarray) -> np.ndarray:
        """The entries at places of a window before its rows are permuted."""
        block = number * self._window_blocks + places // self.block_rows
        tail = block >= self._blocks
        whole = np.where(tail, 0, block)
        rows = self._order.at(whole) * self.block_rows + places % self.block_rows
        return np.where(tail, block * self.block_rows + places % self.block_rows, rows)


class BlockOrder(WindowedOrder):
    """A windowed shuffle whose runs are given, of any lengths: so that a window takes whole blocks of a store.

    edges: int64 (runs + 1,), the entries at which the runs begin, from 0, and `count`. A window takes as many runs as
    have about `window_rows` rows, at least one.
    """

    def __init__(self, edges: np.ndarray, *, window_rows: int, permute: Callable[[int, str], Permutation]):
        runs = len(edges) - 1
        super().__init__(int(edges[-1]), window_rows=window_rows, permute=permute, block_rows=1)
        order = permute(runs, "blocks").at(np.arange(runs))
        self._starts = edges[order]
        self._positions = np.concatenate([[0], np.cumsum(np.diff(edges)[order])])
        window_runs = max(1, min(window_rows, self.count) * runs // self.count)
        self.windows = max(1, runs // window_runs)
        self._windows = np.append(self._positions[: self.windows * window_runs : window_runs], self.count)

    def window(self, number: int) -> tuple[int, int]:
        """Return the positions [start, stop) of a window; the last window includes the remainder."""
        start, stop = self._windows[number : number + 2].tolist()
        return start, stop

    def window_of(self, position: int) -> int:
        """Return the number of the window that contains a position."""
        return int(np.searchsorted(self._windows, position, side="right")) - 1

    def _unshuffled(self, number: int, places: np.ndarray) -> np.ndarray:
        positions = self._windows[number] + places
        run = np.searchsorted(self._positions, positions, side="right") - 1
        return self._starts[run] + positions - self._positions[run]


class ArrivingOrder:
    """A shuffle of rows that are still arriving: windows of `window_rows` rows as they come, each permuted.

    `permute(number, size)` returns the permutation of a window. What it is for a window depends on no later row.
    """

    def __init__(self, count: int, *, window_rows: int, permute: Callable[[int, int], Permutation]):
        self._count, self._window_rows, self._permute = count, window_rows, permute

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return int64 entries [start, stop)."""
        start, stop, _ = part.indices(self._count)
        pieces = [np.empty(0, np.int64)]
        while start < stop:
            number = start // self._window_rows
            first = number * self._window_rows
            end = min(first + self._window_rows, self._count)
            permutation = self._permute(number, end - first)
            pieces.append(first + permutation.at(np.arange(start - first, min(end, stop) - first)))
            start = end
        return np.concatenate(pieces)


def batch_spread(order: Any, count: int, *, batch_size: int, batches: int = 200) -> float:
    """Return how far apart the entries of a batch are, relative to a full permutation: 1 is equal, 0 is neighbors.

    It is the mean standard deviation inside a batch, over `batches` batches spread evenly over the epoch, divided by
    its value for independent uniform draws from 0..count-1.
    """
    starts = np.linspace(0, max(0, count - batch_size), batches).astype(np.int64)
    spread = np.mean([np.std(order[int(start) : int(start) + batch_size], ddof=1) for start in starts])
    return float(spread / (np.sqrt((count**2 - 1) / 12) * _std_bias(batch_size)))


def read_amplification(order: WindowedOrder, strides: Sequence[int], *, windows: int = 8) -> float:
    """Return the ratio of bytes read, in whole pages, to bytes used, when rows are read window by window.

    strides: bytes of a row in each file. It is measured on `windows` windows spread evenly over the epoch.
    """
    read = used = 0
    for number in np.unique(np.linspace(0, order.windows - 1, windows).astype(np.int64)).tolist():
        rows = order.rows_of(number)
        for stride in filter(None, strides):
            first, last = rows * stride // mmap.PAGESIZE, ((rows + 1) * stride - 1) // mmap.PAGESIZE
            # Rows are ascending: pages up to the last one of the previous row are already read.
            seen = np.concatenate([[-1], last[:-1]])
            read += int((last - np.maximum(first, seen + 1) + 1).sum()) * mmap.PAGESIZE
            used += len(rows) * stride
    return read / used


def _std_bias(size: int) -> float:
    """E[sample standard deviation] / standard deviation for `size` >= 2 uniform draws, to 5e-4.

    With u = s^2 / sigma^2 - 1 it is E[sqrt(1 + u)] = 1 - E[u^2] / 8 + E[u^3] / 16 - 5 E[u^4] / 128 + ...; for uniform
    draws E[u^2] = -1.2 / n + 2 / (n - 1), E[u^3] = 0.457 / n^2 and E[u^4] = 1.92 / n^2 to that order, which gives the
    first two terms. The last two are fitted to 16 million draws per size.
    """
    n = float(size)
    return 1 - 0.1 / n - 0.2964 / n**2 - 0.8 / n**3 + 0.65 / n**4


def windowed_order(
    count: int, *, window_rows: int, key: str, seed: int, epoch: int, edges: np.ndarray | None = None
) -> WindowedOrder:
    """Return the windowed shuffle of `count` samples for one epoch; it depends only on the arguments.

    edges: those of `BlockOrder`, None for runs of BLOCK_ROWS.
    """

    def permute(size: int, name: str) -> Permutation:
        return epoch_order(size, key=f"{key}/{window_rows}/{name}", seed=seed, epoch=epoch)

    if edges is not None:
        return BlockOrder(edges, window_rows=window_rows, permute=permute)
    return WindowedOrder(count, window_rows=window_rows, permute=permute)


def epoch_order(count: int, *, key: str, seed: int, epoch: int) -> Permutation:
    """Return the shuffle of `count` samples for one epoch; `key` identifies the rows.

    >>> sorted(epoch_order(5, key="data", seed=0, epoch=0)[0:5].tolist())
    [0, 1, 2, 3, 4]
    """
    text = f"{_PERMUTATION_VERSION}/{key}/{seed}/{epoch}/"
    digests = (hashlib.sha256(f"{text}{number}".encode()).digest() for number in range(_ROUNDS))
    return Permutation(count, tuple(int.from_bytes(digest[:8], "little") for digest in digests))
