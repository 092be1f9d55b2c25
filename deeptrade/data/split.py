"""The split into training, inner and validation rows: at instants, with rows near them purged by their labels' times.

A label y_i of a row at t ends at t + i times the target step; one computed from prices ends at the row i steps on. See
Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7, for purging and embargo. Inner rows, the
latest of those before the instant, choose what is kept of a training; validation rows only judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError, SettingsError
from ..store.row_range import RowRange
from ..times import iso_time
from ..units import count_of


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Split:
    """The rows of every part, each in ascending order: training, inner and validation, and the numbers of others.

    purged: too close to a boundary. embargoed: in the time after it that the user leaves out. unused: of a market that
    is left out, or without any target. All int64 row numbers.
    """

    train: RowRange
    validation: RowRange
    purged: np.ndarray
    embargoed: np.ndarray = field(default_factory=_no_rows)
    unused: np.ndarray = field(default_factory=_no_rows)
    inner: RowRange = field(default_factory=lambda: RowRange(0, 0))


@dataclass(frozen=True)
class Labels:
    """What the split must know of every usable row, all (usable rows,): numbers int64, times int64 ns, `ends`, when its
    last target is known, int64 ns, `has_target`, whether it has any, and `is_used`, whether it is of a market that is
    used. horizons: how many targets a row has. target_step: ns, from one to the next as a rule. overlap: how many rows
    of its market follow a row before the end of its last target. markets: how many there are, 1 without names.
    """

    numbers: np.ndarray
    times: np.ndarray
    ends: np.ndarray
    has_target: np.ndarray
    is_used: np.ndarray
    horizons: int
    target_step: int
    overlap: int
    markets: int = 1

    @property
    def horizon(self) -> int:
        """Ns from a row to the end of its last target, as a rule."""
        return self.horizons * self.target_step


def split_by_time(
    labels: Labels,
    rows: int,
    rejected: np.ndarray | Sequence[int] = (),
    *,
    val_ratio: float,
    inner_ratio: float = 0.0,
    embargo: int = 0,
) -> Split:
    """Return the split of `rows` rows at the instant from which on the latest share `val_ratio` of them lies.

    rejected: ascending row numbers that belong to no part. inner_ratio, embargo: as `split_at` has them. Raises
    SettingsError when training or validation would be empty, DataError where no row has a target.
    """
    labelled = np.flatnonzero(labels.has_target)
    if not len(labelled):
        raise DataError("no training row has a target; nothing can be learned from this file")
    counted = int(labels.numbers[labelled[-1]]) + 1
    if rows - counted <= labels.overlap * labels.markets:  # the newest rows have no target yet
        counted = rows
    first = int(np.searchsorted(labels.numbers, counted - max(1, round(counted * val_ratio))))
    if first == len(labels.times):
        raise SettingsError(_empty(val_ratio, rows, "validation", "that is not rejected"))
    instant = int(labels.times[first])
    split = split_at(labels, rows, rejected, instant=instant, inner_ratio=inner_ratio, embargo=embargo)
    for name, part in (("training", split.train), ("validation", split.validation)):
        if not len(part):
            held_back = f" and an embargo on {count_of(len(split.embargoed), 'row')}" if len(split.embargoed) else ""
            why = f"after purging {count_of(len(split.purged), 'row')}{held_back} around {iso_time(instant)}"
            raise SettingsError(_empty(val_ratio, rows, name, why))
    return split


def split_at(
    labels: Labels,
    rows: int,
    rejected: np.ndarray | Sequence[int] = (),
    *,
    instant: int,
    inner_ratio: float = 0.0,
    embargo: int = 0,
) -> Split:
    """Return the split at an instant, int64 ns: what is before is for training, what follows for validation.

    A row before the instant is purged if its last target is known only at the instant or later, a row after it if it
    lies within a horizon; within `embargo` ns more it is embargoed. Of the rows left for training the latest share
    `inner_ratio` are inner rows, with rows at their beginning purged in the same way; none where nothing is left of
    them or of training. Parts may be empty.
    """
    times, usable = labels.times, labels.has_target & labels.is_used
    before, after, near, held = _divide(labels, usable, instant, embargo)
    inner = np.zeros(len(times), bool)
    candidates = np.flatnonzero(before)
    count = round(inner_ratio * len(candidates))
    if count:
        start = int(times[candidates[len(candidates) - count]])
        earlier, later, purged, left_out = _divide(labels, before, start, embargo)
        if earlier.any() and later.any():
            before, inner, near, held = earlier, later, near | purged, held | left_out

    def rows_of(part: np.ndarray) -> RowRange:
        return _range_of(labels.numbers, part, rows, rejected)

    return Split(
        rows_of(before),
        rows_of(after),
        purged=labels.numbers[near],
        embargoed=labels.numbers[held],
        unused=labels.numbers[~usable],
        inner=rows_of(inner),
    )


def _divide(labels: Labels, rows: np.ndarray, instant: int, embargo: int) -> tuple[np.ndarray, ...]:
    """Return which of the rows, bool (usable rows,), are before an instant, after it, purged and embargoed."""
    later, clear = labels.times >= instant, instant + labels.horizon
    fits = np.where(later, labels.times >= clear, labels.ends < instant)
    held = rows & fits & later & (labels.times < clear + embargo)
    kept = rows & fits & ~held
    return kept & ~later, kept & later, rows & ~fits, held


def _range_of(numbers: np.ndarray, part: np.ndarray, rows: int, rejected: np.ndarray | Sequence[int]) -> RowRange:
    """Return these rows as a range with all others left out."""
    if not part.any():
        return RowRange(rows, rows, rejected)
    first, last = numbers[part][[0, -1]].tolist()
    out = np.sort(np.concatenate([np.asarray(rejected, np.int64), numbers[~part]]))
    return RowRange(first, last + 1, out)


def _empty(val_ratio: float, rows: int, part: str, why: str) -> str:
    counted = count_of(rows, "row")
    return f"val_ratio={val_ratio} of {counted} leaves no {part} row {why}; use more rows or another val_ratio"


def split_by_count(rows: int, rejected: np.ndarray | Sequence[int] = (), *, val_ratio: float, horizons: int) -> Split:
    """Return the split by row numbers, `horizons` of them purged on each side; runs of earlier versions keep it.

    Raises SettingsError when training or validation would be empty.
    """
    boundary = rows - max(1, round(rows * val_ratio))
    left, right = max(0, boundary - horizons), min(rows, boundary + horizons)
    purged = RowRange(left, right, rejected).numbers()
    split = Split(RowRange(0, left, rejected), RowRange(right, rows, rejected), purged)
    if not len(split.train) or not len(split.validation):
        part = "validation" if len(split.train) else "training"
        raise SettingsError(_empty(val_ratio, rows, part, f"after purging {count_of(len(purged), 'row')}"))
    return split
