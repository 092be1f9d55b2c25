"""Rows that ascend in time: rows that go back or repeat are rejected, and files that run backwards or overlap refused.

With targets from prices, a row out of order would turn past into future.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError
from ..settings import AS_THEY_COME, Arrangement
from ..times import iso_time
from .blocks import Block
from .faults import RowFault
from .schema import Feature

ORDER_REASONS = ("out_of_order", "repeated")
"""Reasons of rows that are rejected for their time alone: no step of time passes from such a row to the next."""

RECENT = 64
"""Latest accepted rows whose median step is the usual one."""

_AHEAD = 16
"""Rows after a row that tell whether it or they are out of order: up to seven stamps in a row may lie too far ahead."""

_JUMP = 2.0
"""A row at the end of a block that lies more usual steps ahead than this may be an outlier: later blocks tell."""

_JUDGED_STEPS = 1000
"""Steps from the start of the data that tell whether it runs backwards."""

_MOST_HELD = 4 * _AHEAD
"""Rows per market held back at most: a market that ends, or whose next rows are far away, is judged without them."""

_NONE = np.empty(0, np.int64)


class TimeOrder:
    """Checks the blocks of a source one after the other; every market has an order of its own.

    names: of the files, for messages. recent: by market, '' where rows name none, the times of the latest rows accepted
    (int64 ns, RECENT are enough) where reading goes on after them; `file` is the one they are in. With an
    `arrangement`, only what it does not allow is rejected or refused: nothing if rows are sorted, else rows that go
    back within their file.
    """

    def __init__(
        self,
        names: Sequence[str],
        features: Sequence[Feature],
        *,
        arrangement: Arrangement = AS_THEY_COME,
        recent: Mapping[str, np.ndarray] | None = None,
        file: int = 0,
    ):
        self._arrangement = arrangement
        self._names, self._features, self._recent, self._file = names, features, dict(recent or {}), file
        self._directions = {market: _Direction(rising=_JUDGED_STEPS) for market in self._recent}

    def check(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield every block, with its rows out of order rejected.

        A block whose last rows may be outliers is held back until enough rows follow to tell. Raises DataError for a
        file that runs backwards, and for one that begins before the end of the one before.
        """
        if self._arrangement.sort:
            yield from blocks
            return
        coming, held = iter(blocks), deque[Block]()
        while True:
            while not self._can_tell(held) and (block := next(coming, None)) is not None:
                held.append(block)
            if not held:
                for direction in self._directions.values():
                    direction.refuse_falling()
                return
            yield self._checked(held.popleft(), held)

    def _can_tell(self, held: Sequence[Block]) -> bool:
        """Whether the first of these blocks can be judged."""
        if not held:
            return False
        alike = self._of_one_order(held)
        if len(alike) < len(held):
            return True
        following = sum(block.usable for block in held) - held[0].usable
        return following >= _MOST_HELD * max(1, len(self._recent)) or all(
            len(_following(market, held)) >= _AHEAD or not may_end_ahead(times, self._recent.get(market, _NONE))
            for market, times in _times_by_market(held[0])
        )

    def _of_one_order(self, held: Sequence[Block]) -> list[Block]:
        """The first of these blocks, and those after it whose rows must follow its rows in time."""
        if not self._may_repeat:
            return list(held)
        return [block for block in held if block.place.file == held[0].place.file]

    def _checked(self, block: Block, later: Iterable[Block]) -> Block:
        self._refuse_backwards(block)
        self._begin_file(block)
        faults: dict[int, RowFault] = {}
        for market, rows in rows_by_market(block.markets):
            times, following = block.timestamps[rows], _following(market, self._of_one_order([block, *later]))
            recent = self._recent.get(market, _NONE)
            if not (np.diff(np.concatenate([recent[-1:], times, following])) > 0).all():
                faults |= {int(rows[at]): fault for at, fault in self._faults(times, following, recent).items()}
        if faults:
            block = block.rejecting(faults, self._features)
        for market, times in _times_by_market(block):
            self._recent[market] = np.concatenate([self._recent.get(market, _NONE), times])[-RECENT:]
        return block

    def _faults(self, times: np.ndarray, following: np.ndarray, recent: np.ndarray) -> dict[int, RowFault]:
        """The rows of one market to reject, by position among these."""
        faults: dict[int, RowFault] = {}
        last = int(recent[-1]) if len(recent) else None
        around = np.concatenate([times, following])
        for position, time in enumerate(times.tolist()):
            if last is not None and (time < last or (time == last and not self._may_repeat)):
                faults[position] = _not_later(time, last)
            elif _lies_ahead(time, around[position + 1 : position + 1 + _AHEAD], last):
                detail = f"{iso_time(time)} is later than most rows after it"
                faults[position] = RowFault("out_of_order", "timestamp", detail)
            else:
                last = time
        return faults

    def _refuse_backwards(self, block: Block) -> None:
        for market, times in _times_by_market(block):
            direction = self._directions.setdefault(market, _Direction())
            direction.add(times, file=self._names[block.place.file])
            if direction.is_known:
                direction.refuse_falling()

    @property
    def _may_repeat(self) -> bool:
        return self._arrangement.duplicates != "error"

    def _begin_file(self, block: Block) -> None:
        """Compare the start of a new file with the end of the one before; files that are merged begin anew."""
        if block.place.file == self._file or not block.usable:
            return
        before, self._file = self._names[self._file], block.place.file
        if self._may_repeat:
            self._recent = {}
            return
        for market, times in _times_by_market(block):
            last = self._recent.get(market, _NONE)[-1:]
            if (times[0] == last).any() or (len(last) and (times[:2] <= last).all()):
                named = f" of {market}" if market else ""
                advice = "" if market else "; files of several markets need a 'market' column after 'timestamp'"
                raise DataError(
                    f"{self._names[self._file]} begins at {iso_time(int(times[0]))}{named}, before {before} ends at "
                    f"{iso_time(int(last[0]))}: leave one of them out, or give --duplicates first or --duplicates last "
                    f"to merge them by time{advice}"
                )


@dataclass
class _Direction:
    """How many of the first steps in time of one market rise and fall, and the first that falls."""

    rising: int = 0
    falling: int = 0
    fall: tuple[int, int, str] | None = None
    last: np.ndarray = field(default_factory=lambda: _NONE)

    @property
    def is_known(self) -> bool:
        """Whether enough steps were counted."""
        return self.rising + self.falling >= _JUDGED_STEPS

    def add(self, times: np.ndarray, *, file: str) -> None:
        """Count the steps to the next times; a step that stands still counts as neither."""
        if self.is_known:
            return
        along = np.concatenate([self.last, times])
        self.last = times[-1:]
        steps = np.diff(along)
        counted = np.cumsum(steps != 0) <= _JUDGED_STEPS - self.rising - self.falling
        falls = np.flatnonzero(counted & (steps < 0))
        if len(falls) and self.fall is None:
            self.fall = int(along[falls[0]]), int(along[falls[0] + 1]), file
        self.rising, self.falling = self.rising + int((counted & (steps > 0)).sum()), self.falling + len(falls)

    def refuse_falling(self) -> None:
        """Raise DataError where more steps fall than rise."""
        if self.fall is not None and self.falling > max(1, self.rising):
            first, second, file = self.fall
            raise DataError(
                f"{file} runs backwards in time, from {iso_time(first)} to {iso_time(second)} and on; give --sort to "
                "take its rows by time"
            )


def rows_by_market(markets: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield every market of these rows' (names or codes, (rows,)), as it first occurs, and its int64 rows."""
    if not len(markets):
        return
    if (markets == markets[0]).all():
        yield markets[0], np.arange(len(markets))
        return
    for market in dict.fromkeys(markets.tolist()):
        yield market, np.flatnonzero(markets == market)


def _times_by_market(block: Block) -> Iterator[tuple[str, np.ndarray]]:
    for market, rows in rows_by_market(block.markets):
        yield market, block.timestamps[rows]


def _following(market: str, held: Sequence[Block]) -> np.ndarray:
    """The times of a market in the blocks after the first, as many as tell."""
    return np.concatenate([_NONE, *(b.timestamps[b.markets == market] for b in list(held)[1:])])[:_AHEAD]


def may_end_ahead(times: np.ndarray, before: np.ndarray) -> bool:
    """Return whether the last of these rows may lie too far ahead, which only the rows after them can tell.

    times, before: int64 ns, of the rows and of those before them.
    """
    steps = np.diff(np.concatenate([before[-1:], times]))[-_AHEAD:]
    usual = np.diff(np.concatenate([before, times[:-_AHEAD]]))
    return len(usual) < _AHEAD or bool((steps > _JUMP * np.median(usual)).any())


def _lies_ahead(time: int, ahead: np.ndarray, last: int | None) -> bool:
    """Whether accepting this time would reject most of the rows after it, which the last accepted one allows."""
    between = (ahead < time) & (True if last is None else ahead > last)
    return int(between.sum()) > max(1, len(ahead) // 2)


def _not_later(time: int, last: int) -> RowFault:
    if time == last:
        return RowFault("repeated", "timestamp", f"{iso_time(time)} is the time of the row before")
    return RowFault(
        "out_of_order", "timestamp", f"{iso_time(time)} is before {iso_time(last)}, the time of an earlier row"
    )
