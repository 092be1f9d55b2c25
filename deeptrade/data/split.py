"""The split into training, inner and validation rows: at instants, with rows near them purged by their labels' times.

A label y_i of a row at t ends at t + i times the target step; one computed from prices ends at the row i steps on. See
Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7, for purging and embargo. Inner rows, the
latest of those before the instant, choose what is kept of a training; validation rows only judge it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import DataError, SettingsError
from ..store.row_range import RowRange
from ..times import FIRST_TIME, Period, iso_time, name_period
from ..units import count_of


def _no_rows() -> np.ndarray:
    return np.empty(0, np.int64)


class EmptyPartError(SettingsError):
    """A split that leaves no row to learn from or to judge; `given`, `why` and `advice` make up the message."""

    def __init__(self, given: str, why: str, advice: str):
        super().__init__(f"{given} {why}; {advice}")
        self.why = why


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
    usable = labels.has_target & labels.is_used
    before, after, near, held = _divide(labels, usable, instant, embargo)
    parts = _Parts(before, after, near, held, unused=~usable)
    return parts.with_inner(labels, inner_ratio, embargo).split(labels.numbers, rows, rejected)


LEEWAY = 4
"""How many times longer than so far the usual step between rows may become in rows to come, for `first_training_rows`
to hold."""


def first_training_rows(
    labels: Labels,
    rows: int,
    rejected: np.ndarray | Sequence[int] = (),
    *,
    val_ratio: float,
    inner_ratio: float = 0.0,
    whole: int = 1,
) -> Split:
    """Return the training rows of `rows` first rows that stay training rows whatever rows follow; all others unused.

    whole: their number is a multiple of this.

    `split_by_time` puts its instants at shares of the rows, so with more rows they move on, never back: what lies
    before those of the rows so far, by LEEWAY horizons, lies before those of all. Training rows of all are the first
    ones that have a target, and so are these. Of one market only.
    """
    usable = labels.has_target & labels.is_used
    labelled = np.flatnonzero(labels.has_target)
    certain = np.zeros(len(usable), bool)
    if len(labelled):
        counted = int(labels.numbers[labelled[-1]]) + 1
        instant = labels.times[np.searchsorted(labels.numbers, counted - max(1, round(counted * val_ratio)))]
        ends = labels.times + LEEWAY * labels.horizon
        certain = usable & (ends < instant)
        candidates = np.flatnonzero(certain)
        inner = round(inner_ratio * len(candidates))
        if inner:
            certain &= ends < labels.times[candidates[len(candidates) - inner]]
        candidates = np.flatnonzero(certain)
        certain[candidates[len(candidates) // whole * whole :]] = False
    nothing = np.zeros_like(certain)
    return _Parts(certain, nothing, nothing, nothing, unused=~certain).split(labels.numbers, rows, rejected)


def split_in(
    labels: Labels,
    rows: int,
    rejected: np.ndarray | Sequence[int] = (),
    *,
    validation: Sequence[Period],
    training: Sequence[Period] = (),
    inner_ratio: float = 0.0,
    embargo: int = 0,
) -> Split:
    """Return the split with every row of the periods `validation` for validation, and rows of `training` to learn from.

    training: all that is before the first of the others where none is given. A training row is purged where its labels
    overlap in time with those of a validation period, and embargoed where no more than `embargo` ns lie between them;
    all other rows are unused. Inner rows are the latest of training, as `split_at` has them. Raises SettingsError where
    training or validation would be empty.
    """
    usable = labels.has_target & labels.is_used
    after = usable & _within(labels.times, validation)
    wanted = usable & ~after & _within(labels.times, training or [(FIRST_TIME, validation[0][0])])
    near, held = np.zeros(len(wanted), bool), np.zeros(len(wanted), bool)
    for period in validation:
        judged = after & _within(labels.times, [period])
        begin = period[0]
        end = int(labels.ends[judged].max()) if judged.any() else begin
        near |= wanted & (labels.times <= end) & (labels.ends >= begin)
        held |= wanted & (labels.times <= end + embargo) & (labels.ends >= begin - embargo)
    before, held = wanted & ~held, held & ~near
    parts = _Parts(before, after, near, held, unused=~(before | after | near | held))
    split = parts.with_inner(labels, inner_ratio, embargo).split(labels.numbers, rows, rejected)
    for name, part in (("training", split.train), ("validation", split.validation)):
        if not len(part):
            named = ",".join(map(name_period, validation))
            held_back = f" and an embargo on {count_of(int(held.sum()), 'row')}" if held.any() else ""
            raise EmptyPartError(
                f"validation_period={named}",
                f"leaves no {name} row of {count_of(rows, 'row')}, which span {iso_time(int(labels.times[0]))} to "
                f"{iso_time(int(labels.times[-1]))}, after purging {count_of(int(near.sum()), 'row')}{held_back}",
                "give other periods",
            )
    return split


def _within(times: np.ndarray, periods: Sequence[Period]) -> np.ndarray:
    return np.logical_or.reduce([(times >= begin) & (times < end) for begin, end in periods])


@dataclass(frozen=True)
class _Parts:
    """Which of the usable rows are in each part, bool (usable rows,)."""

    train: np.ndarray
    validation: np.ndarray
    purged: np.ndarray
    embargoed: np.ndarray
    unused: np.ndarray
    inner: np.ndarray | None = None

    def with_inner(self, labels: Labels, inner_ratio: float, embargo: int) -> _Parts:
        """Return the parts with the latest share of the training rows as inner rows, where that leaves both."""
        candidates = np.flatnonzero(self.train)
        count = round(inner_ratio * len(candidates))
        if not count:
            return self
        start = int(labels.times[candidates[len(candidates) - count]])
        earlier, later, near, held = _divide(labels, self.train, start, embargo)
        if not (earlier.any() and later.any()):
            return self
        return replace(self, train=earlier, inner=later, purged=self.purged | near, embargoed=self.embargoed | held)

    def split(self, numbers: np.ndarray, rows: int, rejected: np.ndarray | Sequence[int]) -> Split:
        """Return the split of these row numbers, int64 (usable rows,), of `rows` rows."""

        def rows_of(part: np.ndarray | None) -> RowRange:
            return _range_of(numbers, np.zeros(len(numbers), bool) if part is None else part, rows, rejected)

        return Split(
            rows_of(self.train),
            rows_of(self.validation),
            purged=numbers[self.purged],
            embargoed=numbers[self.embargoed],
            unused=numbers[self.unused],
            inner=rows_of(self.inner),
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
