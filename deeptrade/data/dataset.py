"""A checked dataset: every row has been parsed once, and what is wrong with any of them is in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, DoesNotFitError, SettingsError
from ..memory.budget import ByteBudget, Lease
from ..sources.schema import Feature, Schema
from ..sources.statistics import FeatureStatistics, Moments, merge_all
from ..store.gaps import Gaps, find_gaps
from ..store.ledger import LedgerEntry
from ..store.row_range import RowRange
from ..store.summary import BlockSummary, Summary, find_warnings
from ..store.targets import known_targets, label_ends, market_rows
from ..times import parse_duration, parse_periods
from ..units import format_bytes
from .batches import BatchReader
from .split import Labels, Split, first_training_rows, split_by_count, split_by_time, split_in

SPLITS = ("train", "inner", "validation", "all")
_LOAD_ROWS = 256


class UsableRows(Protocol):
    """Where the numbers are: the usable rows, numbered from 0 without gaps. Safe to use from several threads."""

    @property
    def timestamps(self) -> np.ndarray:
        """int64 (usable rows,), ns UTC."""

    @property
    def targets(self) -> np.ndarray:
        """float32 (usable rows, horizons), NaN where missing."""

    @property
    def market_codes(self) -> np.ndarray | None:
        """int32 (usable rows,), which of the markets each row is of; None where rows name none."""

    def read_targets(self, usable: np.ndarray) -> np.ndarray:
        """Return float32 (rows, horizons), a fresh array."""

    def read(self, usable: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        """Return float32 (rows, *shape) by feature name, fresh arrays."""

    def locate(self, usable: int) -> tuple[int, int]:
        """Return (line from 1, byte offset) in the source."""

    def release(self) -> None:
        """Give mapped pages back to the system; they come again when they are used."""

    def close(self) -> None:
        """Give back maps and files."""


class Dataset:
    """Rows of one data file (or several in time order), numbered from 0 in file order; use as a context manager.

    name, file_bytes: of the data. schema: what a row holds. data_id: 'sha256-2:...' of the content; former_data_ids:
    what earlier versions called it, which runs begun then go on with. rows: in the file. rejected: int64, the numbers
    of the rows that are not usable; ledger: why; bad_rows: the entries that count as bad. markets: names, none where
    rows name none. timestamps: int64 (usable rows,), ns UTC. targets: float32 (usable rows, horizons), NaN where
    missing. nonfinite: NaN or infinite numbers by feature, in usable rows. warnings: one line each. budget: of bytes,
    which all readers of these rows share.
    """

    def __init__(self, summary: Summary, contents: UsableRows, budget: ByteBudget):
        self._summary, self._contents, self.budget = summary, contents, budget
        self._loaded: Lease | None = None
        budget.on_shortage(self._release_maps)
        self.name, self.file_bytes = summary.name, summary.file_bytes
        self.data_id, self.content_hash = summary.data_id, summary.content_hash
        self.former_data_ids = summary.former_data_ids
        self.schema, self.rows, self.ledger = summary.schema, summary.rows, summary.ledger
        self.nonfinite, self.warnings = summary.nonfinite, summary.warnings
        self.rejected = np.array([entry.row for entry in summary.ledger], np.int64)
        self.usable, self.bad_rows, self.markets = summary.usable, summary.bad_rows, summary.markets

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back maps, files and loaded rows."""
        self.budget.off_shortage(self._release_maps)
        self._contents.close()
        if self._loaded is not None:
            self._loaded.release()

    def _release_maps(self, wanted: int) -> None:
        self._contents.release()

    @property
    def timestamps(self) -> np.ndarray:
        """int64 (usable rows,), ns UTC, in file order."""
        return self._contents.timestamps[: len(self.usable)]

    @property
    def targets(self) -> np.ndarray:
        """float32 (usable rows, horizons), NaN where missing, in file order."""
        return self._contents.targets[: len(self.usable)]

    def is_usable(self, row: int) -> bool:
        """Whether a row is not rejected."""
        at = np.searchsorted(self.rejected, row)
        return not (at < len(self.rejected) and self.rejected[at] == row)

    def entry(self, row: int, column: str, reason: str, detail: str) -> LedgerEntry:
        """Return a ledger entry for a usable row."""
        return LedgerEntry(row, *self._contents.locate(int(self.positions(np.array([row]))[0])), column, reason, detail)

    def read(self, row_ids: np.ndarray, features: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return float32 (len(row_ids), *shape) by feature name, fresh arrays; safe from several threads.

        Raises DataError for a row that is rejected or has changed since it was checked.
        """
        return self._contents.read(self.positions(row_ids), self.schema.select(features).features)

    def read_targets(self, row_ids: np.ndarray) -> np.ndarray:
        """Return float32 (len(row_ids), horizons), NaN where missing, a fresh array."""
        return self._contents.read_targets(self.positions(row_ids))

    def read_times(self, row_ids: np.ndarray) -> np.ndarray:
        """Return int64 (len(row_ids),), ns UTC."""
        return np.take(self.timestamps, self.positions(row_ids))

    def read_markets(self, row_ids: np.ndarray) -> np.ndarray:
        """Return the names of the rows' markets, objects (len(row_ids),), '' where rows name none."""
        codes = self.market_codes
        if codes is None:
            return np.full(len(row_ids), "", object)
        return np.array(self.markets, object)[np.take(codes, self.positions(row_ids))]

    def positions(self, row_ids: np.ndarray) -> np.ndarray:
        """Return the int64 positions of rows among the usable ones; DataError for a rejected row."""
        rows = np.asarray(row_ids, np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.rows):
            raise IndexError(
                f"rows {rows.min()} to {rows.max()} are not all in the data; it has rows 0 to {self.rows - 1}"
            )
        if not len(self.rejected):
            return rows
        before = np.searchsorted(self.rejected, rows)
        bad = self.rejected[np.minimum(before, len(self.rejected) - 1)] == rows
        if bad.any():
            raise DataError(f"row {rows[bad][0]} is rejected; see the ledger, and read usable rows only")
        return rows - before

    @property
    def market_codes(self) -> np.ndarray | None:
        """int32 (usable rows,), which of `markets` each row is of; None where rows name none."""
        codes = self._contents.market_codes
        return None if codes is None else codes[: len(self.usable)]

    def block_edges(self, rows: RowRange) -> np.ndarray:
        """Return int64, the positions among these rows at which blocks of the data begin, from 0, and their number."""
        edges = np.cumsum([0, *(block.usable for block in self._summary.blocks)])
        inside = np.searchsorted(self.positions(rows.numbers()), edges[:-1])
        return np.unique(np.concatenate([[0], inside, [len(rows)]]))

    def rows_of(self, market: str) -> RowRange:
        """Return the usable rows of one market, '' where rows name none."""
        if self.market_codes is None:
            return self.usable
        numbers, is_of = self.usable.numbers(), self._is_of([market])
        first, last = numbers[is_of][[0, -1]].tolist()
        return RowRange(first, last + 1, np.union1d(self.rejected, numbers[~is_of]))

    @property
    def places(self) -> np.ndarray:
        """int64 (usable rows,), which step of its market each usable row is."""
        return self._summary.places(self.market_codes)

    def gaps(self) -> dict[str, tuple[np.ndarray, Gaps]]:
        """Return by market ('' where rows name none) its usable rows, the usual step, and where rows are missing."""
        times, places, codes = self.timestamps, self.places, self.market_codes
        return {
            "" if codes is None else self.markets[codes[rows[0]]]: (rows, find_gaps(times[rows], places[rows]))
            for rows in market_rows(codes, len(times))
        }

    def split(
        self,
        val_ratio: float = 0.1,
        *,
        inner_ratio: float = 0.0,
        embargo: str = "",
        target_step: str = "",
        markets: Sequence[str] | None = None,
        validation_period: str = "",
        training_period: str = "",
        by_count: bool = False,
    ) -> Split:
        """Return the split at an instant, with the rows near it purged by the times of their labels.

        inner_ratio: share of the training rows, the latest ones, that choose what is kept of a training. embargo, such
        as '1D': more time left out after the purge. target_step, markets: as `labels` has them; the instant is that of
        all rows. validation_period, training_period: those of `split_in`, as text, instead of an instant. by_count: as
        runs begun by earlier versions split the rows.
        """
        if by_count:
            return split_by_count(self.rows, self.rejected, val_ratio=val_ratio, horizons=self.schema.horizons)
        labels = self.labels(target_step=target_step, markets=markets)
        options: dict[str, Any] = {
            "inner_ratio": inner_ratio,
            "embargo": parse_duration(embargo) if embargo else 0,
        }
        if not validation_period:
            return split_by_time(labels, self.rows, self.rejected, val_ratio=val_ratio, **options)
        return split_in(
            labels,
            self.rows,
            self.rejected,
            validation=parse_periods(validation_period),
            training=parse_periods(training_period) if training_period else (),
            **options,
        )

    def first_training_rows(self, *, target_step: str = "", **options: Any) -> Split:
        """Return the rows that `split` of the whole data has for training, as far as these first rows of it tell.

        options: val_ratio, inner_ratio and whole of `split.first_training_rows`.
        """
        return first_training_rows(self.labels(target_step=target_step), self.rows, self.rejected, **options)

    def labels(self, *, target_step: str = "", markets: Sequence[str] | None = None) -> Labels:
        """Return what a split must know of the usable rows.

        target_step, such as '1h': the time from one target to the next where it is not that between rows. markets:
        only their rows are used, None for all.
        """
        times, codes = self.timestamps, self.market_codes
        steps = [gaps.step for name, (_, gaps) in self.gaps().items() if markets is None or name in markets]
        row_step = round(max(steps, default=0.0))
        step = parse_duration(target_step) if target_step else row_step
        return Labels(
            self.usable.numbers(),
            times,
            label_ends(self.schema, times, self.places, target_step=step, markets=codes),
            np.isfinite(self.targets).any(axis=1),
            self._is_of(markets),
            horizons=self.schema.horizons,
            target_step=step,
            overlap=-(-self.schema.horizons * step // row_step) if row_step else self.schema.horizons,
            markets=max(1, len(self.markets)),
        )

    def _is_of(self, markets: Sequence[str] | None) -> np.ndarray:
        """Whether each usable row is of one of these markets."""
        codes = self.market_codes
        if markets is None:
            return np.ones(len(self.usable), bool)
        for name in markets:
            if name not in self.markets:
                known = f"choose from {', '.join(self.markets)}" if self.markets else "its rows name no market"
                raise SettingsError(f"markets={name!r} is not in the data; {known}")
        wanted = [code for code, name in enumerate(self.markets) if name in markets]
        return np.isin(codes, wanted) if codes is not None else np.ones(len(self.usable), bool)

    def part(self, split: str, **options: Any) -> RowRange:
        """Return the rows of 'train', 'inner', 'validation' or 'all'; `options` are those of `split`."""
        if split not in SPLITS:
            raise SettingsError(f"split={split!r} is not accepted; choose from {', '.join(SPLITS)}")
        return self.usable if split == "all" else getattr(self.split(**options), split)

    def batches(self, *, split: str = "train", val_ratio: float = 0.1, **options: Any) -> BatchReader:
        """Return a reader of batches of one split; `options` are those of BatchOptions, no TensorFlow needed."""
        return BatchReader(self, self.part(split, val_ratio=val_ratio), **options)

    def statistics(self, rows: RowRange, features: Sequence[str] | None = None) -> dict[str, FeatureStatistics]:
        """Return the statistics over exactly these rows: from whole blocks, and from parts read again."""
        chosen = self.schema.select(features).features
        parts: dict[str, list[Moments]] = {feature.name: [] for feature in chosen}
        wanted, start = self.positions(rows.numbers()), 0
        for block in self._summary.blocks:
            stop = start + block.usable
            left, right = np.searchsorted(wanted, (start, stop))
            if left < right:
                whole = right - left == block.usable
                moments = block.moments if whole else self._moments(wanted[left:right], chosen)
                for name, list_of_parts in parts.items():
                    list_of_parts.append(moments[name])
            start = stop
        return {feature.name: merge_all(feature, parts[feature.name]) for feature in chosen}

    def _moments(self, usable: np.ndarray, features: Sequence[Feature]) -> dict[str, Moments]:
        values = self._contents.read(usable, features)
        moments = {feature.name: Moments(feature) for feature in features}
        for name, table in moments.items():
            table.add(values[name])
        return moments

    def first(self, rows: int) -> Dataset:
        """Return the dataset of the first `rows` rows (all if there are fewer); use it instead of this one."""
        if rows >= self.rows:
            return self
        whole, summary = self._summary, replace(self._summary, rows=rows)
        summary.ledger = [entry for entry in whole.ledger if entry.row < rows]
        usable, blocks, start = summary.usable, [], 0
        for block in whole.blocks:
            if start + block.usable > len(usable):
                block = self._part_of_block(start, len(usable))
            blocks.append(block)
            start += block.usable
            if start == len(usable):
                break
        summary.blocks = blocks
        contents, targets = self._contents, self._contents.targets[: len(usable)]
        if self.schema.target_source == "price":  # what comes after the first rows is not known to them
            codes = self.market_codes
            codes = None if codes is None else codes[: len(usable)]
            contents = _KnownPrices(contents, summary.places(codes), targets, codes)
            targets = contents.targets
        summary.warnings = find_warnings(summary, contents.timestamps[: len(usable)], targets, notes=())
        return Dataset(summary, contents, self.budget)

    def _part_of_block(self, start: int, stop: int) -> BlockSummary:
        values = self._contents.read(np.arange(start, stop), self.schema.features)
        nonfinite = {name: int(np.count_nonzero(~np.isfinite(array))) for name, array in values.items()}
        moments = self._moments(np.arange(start, stop), self.schema.features)
        return BlockSummary(stop - start, stop - start, nonfinite, moments)

    def load(self) -> None:
        """Read all rows into memory.

        Raises DoesNotFitError with the needed and the available bytes when they do not fit.
        """
        needed = self.rows * self.schema.row_bytes
        self._loaded = self.budget.try_lease(needed)
        if self._loaded is None:
            raise DoesNotFitError(
                f"no_lazy_loading needs {format_bytes(needed)} for {self.rows} rows, "
                f"{format_bytes(self.budget.limit_bytes)} are available; leave it out, or use fewer rows with max_rows"
            )
        self._contents = _LoadedRows(self._contents, self.schema, len(self.usable))


class _KnownPrices:
    """The first rows of price data; their targets look no further than these rows."""

    def __init__(self, contents: UsableRows, places: np.ndarray, targets: np.ndarray, markets: np.ndarray | None):
        self._contents, self.market_codes = contents, markets
        self.read, self.locate, self.release, self.close = (
            contents.read,
            contents.locate,
            contents.release,
            contents.close,
        )
        self.targets = known_targets(targets, places, markets=markets)

    @property
    def timestamps(self) -> np.ndarray:
        return self._contents.timestamps

    def read_targets(self, usable: np.ndarray) -> np.ndarray:
        return self.targets[usable]


class _LoadedRows:
    """All usable rows in memory."""

    def __init__(self, contents: UsableRows, schema: Schema, rows: int):
        self._contents, self.market_codes = contents, contents.market_codes
        self._arrays = {f.name: np.empty((rows, *f.shape), np.float32) for f in schema.features}
        for start in range(0, rows, _LOAD_ROWS):
            some = np.arange(start, min(start + _LOAD_ROWS, rows))
            for name, values in contents.read(some, schema.features).items():
                self._arrays[name][some] = values

    @property
    def timestamps(self) -> np.ndarray:
        return self._contents.timestamps

    @property
    def targets(self) -> np.ndarray:
        return self._contents.targets

    def read_targets(self, usable: np.ndarray) -> np.ndarray:
        return self._contents.read_targets(usable)

    def read(self, usable: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        return {feature.name: self._arrays[feature.name][usable] for feature in features}

    def locate(self, usable: int) -> tuple[int, int]:
        return self._contents.locate(usable)

    def release(self) -> None:
        self._contents.release()

    def close(self) -> None:
        self._arrays.clear()
        self._contents.close()
