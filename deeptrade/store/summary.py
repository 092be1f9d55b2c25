"""What one pass over a source found: its rows, the rejected ones with reasons, and what a user should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from ..settings import AS_THEY_COME, Arrangement
from ..sources.other_markets import market_columns
from ..sources.protocol import Source
from ..sources.schema import FEATURE_PREFIX, MARKET, Schema
from ..sources.spellings import HOW_TO_WRITE
from ..sources.statistics import Moments
from ..sources.time_order import ORDER_REASONS
from ..times import EXCHANGE_ERA, SECOND, era_warnings, iso_time
from ..units import count_of
from .ledger import LedgerEntry
from .row_range import RowRange
from .targets import market_rows

_LEAST_STEP = SECOND // 10
"""Rows closer than this, in ns, are probably times in another unit."""

_DAY = 86_400 * SECOND
_YEAR_2001, _YEAR_1 = 978_307_200 * SECOND, 62_135_596_800 * SECOND
"""From 1970 on to the year from which Apple counts, and back to that from which .NET does, in ns."""

_TICK = 100
"""Nanoseconds in a tick of .NET."""

_LEAST_DATES = 50
"""Rows whose numbers all spell a date before they are called dates."""


class TooManyBadRowsError(DataError):
    """More rows are rejected than max_bad_rows allows; `ledger` names them all."""

    def __init__(self, line: str, ledger: list[LedgerEntry]):
        super().__init__(line)
        self.ledger = ledger


@dataclass(frozen=True)
class BlockSummary:
    """Facts about a block: its rows, usable rows, NaN or infinite numbers by feature, and moments."""

    rows: int
    usable: int
    nonfinite: Mapping[str, int]
    moments: Mapping[str, Moments]


@dataclass
class Summary:
    """What one pass over a source found.

    name, file_bytes: of the source. data_id: 'sha256-2:...' of its content by samples; content_hash: of all bytes, ''
    if not known. former_data_ids: ids from earlier versions for the same content. arrangement: of rows that do not
    ascend in time. markets: names, none where rows name none. rows: usable and rejected. ledger: the rejected ones.
    blocks in file order. warnings: what a user should know of data that was accepted, one line each.
    """

    name: str
    file_bytes: int
    data_id: str
    schema: Schema
    content_hash: str = ""
    former_data_ids: tuple[str, ...] = ()
    arrangement: Arrangement = AS_THEY_COME
    markets: tuple[str, ...] = ()
    rows: int = 0
    ledger: list[LedgerEntry] = field(default_factory=list)
    blocks: Sequence[BlockSummary] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def usable(self) -> RowRange:
        """The rows that are not rejected."""
        return RowRange(0, self.rows, [entry.row for entry in self.ledger])

    def places(self, markets: np.ndarray | None = None) -> np.ndarray:
        """Return int64 (usable rows,): see `places_of`; `markets` holds the rows' codes, None where they name none.

        Where rows are arranged by time, or are of several markets, rejected ones take no step.
        """
        if self.arrangement.is_default and len(self.markets) < 2:
            return places_of(self.usable, self.ledger)
        places = np.empty(len(self.usable), np.int64)
        for rows in market_rows(markets, len(places)):
            places[rows] = np.arange(len(rows))
        return places

    @property
    def bad_rows(self) -> list[LedgerEntry]:
        """The rejected rows that count as bad: not those of whose time the user keeps another."""
        kept = ("repeated",) if self.arrangement.duplicates != "error" else ()
        return [entry for entry in self.ledger if entry.reason not in kept]

    @property
    def nonfinite(self) -> dict[str, int]:
        """NaN or infinite numbers by feature, in usable rows."""
        return {name: sum(block.nonfinite[name] for block in self.blocks) for name in self.schema.names}


def places_of(usable: RowRange, ledger: Sequence[LedgerEntry]) -> np.ndarray:
    """Return int64 (usable rows,), which step of the data each usable row is, from 0.

    A rejected row takes a step of its own, unless its time is the reason.
    """
    rows = usable.numbers()
    no_step = np.array([entry.row for entry in ledger if entry.reason in ORDER_REASONS], np.int64)
    return rows - np.searchsorted(no_step, rows)


def refuse_too_many(ledger: list[LedgerEntry], rows: int, max_bad_rows: float) -> None:
    """Raise TooManyBadRowsError if more than the share `max_bad_rows` of the rows, or all rows, are bad."""
    rejected = len(ledger)
    if rejected > max_bad_rows * rows or rejected == rows:
        first = ledger[0]
        raise TooManyBadRowsError(
            f"{rejected} of {rows} rows are rejected, max_bad_rows={max_bad_rows:g} allows "
            f"{int(max_bad_rows * rows)}; first: line {first.line}, column {first.column!r}, "
            f"{first.reason}: {first.detail}; {_way_out(ledger, rows)}",
            ledger,
        )


def _way_out(ledger: Sequence[LedgerEntry], rows: int) -> str:
    """Return what helps: to allow more rejected rows does not where none is left."""
    reasons = Counter(entry.reason for entry in ledger)
    if 2 * sum(reasons[reason] for reason in ORDER_REASONS) > len(ledger):
        sort = "--sort takes rows by time" if reasons["out_of_order"] else ""
        keep = "--duplicates first or last keeps one row of each time" if reasons["repeated"] else ""
        return f"{' and '.join(filter(None, (sort, keep)))}, or fix the file"
    if len(ledger) < rows:
        return "fix the file or raise --max_bad_rows"
    (column, reason), count = Counter((entry.column, entry.reason) for entry in ledger).most_common(1)[0]
    if count < rows:
        return "fix the file"
    accepted = _accepted(column, reason)
    told = any(way in ledger[0].detail for way in (HOW_TO_WRITE, "write ISO 8601 times"))
    return "all rows are rejected for this reason" + ("" if told else f": {accepted}")


def _accepted(column: str, reason: str) -> str:
    """Return what the cells of a column have to look like, for rows that all are rejected for one reason."""
    if column == "timestamp":
        return "write times as ISO 8601, such as 2024-03-04T09:30:00Z, or as epoch numbers in s, ms, us or ns"
    if column == MARKET:
        return "write the name of a market in every row, or remove the column"
    if not column.startswith(FEATURE_PREFIX):
        return (
            f"write plain numbers in column {column!r}, such as 1234.5, without separators between thousands or units"
        )
    if reason in ("shape", "ragged"):
        return f"write arrays of one shape in column {column!r}"
    if reason == "non_finite":
        return f"write numbers in column {column!r}, or remove it"
    return f"write JSON arrays of numbers in column {column!r}, such as by json.dumps(array.tolist())"


def find_warnings(
    summary: Summary,
    timestamps: np.ndarray,
    targets: np.ndarray,
    *,
    notes: Iterable[str],
    markets: np.ndarray | None = None,
) -> list[str]:
    """Return what a user should know of data that was accepted, one line each; `notes` of the source come first."""
    lines = list(notes)
    for rows in market_rows(markets, len(timestamps)):
        lines += (line for line in time_warnings(timestamps[rows]) if line not in lines)
    missing = int(np.isnan(targets).sum())
    if missing:
        lines.append(f"{count_of(missing, 'target is', 'targets are')} missing and masked in the loss")
    without = int(np.isnan(targets[:, 0]).sum())
    if summary.schema.target_source == "price" and 2 * without > len(targets) > 1:
        lines.append(
            f"{without:,} of {len(targets):,} rows have no return to the next row: column 'price' must be above 0 (0 "
            f"and below count as missing), and rows evenly apart in time"
        )
    for name, count in summary.nonfinite.items():
        if count:
            verb = "is" if count == 1 else "are"
            lines.append(
                f"{count_of(count, 'number')} of {name!r} {verb} NaN or infinite; "
                f"the model sees the training mean there"
            )
    return lines


def time_warnings(timestamps: np.ndarray) -> Iterator[str]:
    """Yield what is odd about ascending times (int64 ns): of another meaning, outside the exchange era, too close."""
    if not len(timestamps):
        return
    meant = _other_meaning(timestamps)
    if meant:
        yield meant
        return
    yield from era_warnings(int(timestamps[0]), int(timestamps[-1]), what="rows")
    step = _usual_step(timestamps)
    if step < _LEAST_STEP:
        yield (
            f"rows are {step / SECOND:.1g} seconds apart: are the timestamps in one unit? Numbers below 1e11 are read "
            f"as s, below 1e14 as ms, below 1e17 as us, others as ns"
        )


def _is_of_the_era(time: int) -> bool:
    return EXCHANGE_ERA[0] <= time < EXCHANGE_ERA[1]


def _usual_step(timestamps: np.ndarray) -> float:
    return float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else float(SECOND)


def _other_meaning(timestamps: np.ndarray) -> str:
    """Return what numbers that were read as epochs probably are instead; empty where they may well be epochs."""
    first, last = int(timestamps[0]), int(timestamps[-1])
    if _spell_dates(timestamps):
        digits = f"{first // SECOND:010d}"
        date = f"20{digits[:2]}-{digits[2:4]}-{digits[4:6]} {digits[6:8]}:{digits[8:]}"
        return (
            f"the timestamps are probably dates written yymmddHHMM, such as {digits} for {date}, but are read as epoch "
            f"seconds, of {iso_time(first)[:4]}; write ISO 8601 times"
        )
    step = _usual_step(timestamps)
    if first < EXCHANGE_ERA[0] or last >= _YEAR_2001 or len(timestamps) < 2 or step >= _DAY:
        return ""
    meanings = []
    if all(_is_of_the_era(time * _TICK - _YEAR_1) for time in (first, last)):
        meanings.append(f".NET ticks of 100 ns since the year 1 ({iso_time(first * _TICK - _YEAR_1)[:10]})")
    if _is_of_the_era(last + _YEAR_2001) and not (timestamps % SECOND).any():
        meanings.append(f"seconds since 2001, as Apple counts ({iso_time(first + _YEAR_2001)[:10]})")
    if not meanings:
        return ""
    return (
        f"the rows begin on {iso_time(first)[:10]} and are {step / SECOND:g} seconds apart: where that is wrong, the "
        f"timestamps are probably {' or '.join(meanings)}; write ISO 8601 times"
    )


def _spell_dates(timestamps: np.ndarray) -> bool:
    """Whether all times, in seconds, are digits of the form yymmddHHMM.

    Epoch seconds soon end in 60 to 99, or in an hour above 23: bars of one minute within 2 rows, of an hour within 2.
    """
    if len(timestamps) < _LEAST_DATES or timestamps[-1] - timestamps[0] < 100 * SECOND:
        return False
    numbers, rest = np.divmod(timestamps, SECOND)
    if rest.any() or numbers[0] < 0 or numbers[-1] >= 10**10:
        return False
    month, day, hour, minute = (numbers // 100**place % 100 for place in (3, 2, 1, 0))
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 24) & (minute < 60)
    return bool(valid.all())


def source_notes(source: Source) -> Iterator[str]:
    """Yield what is notable about a source itself: unused columns, a file that may be cut off."""
    if source.unused_columns:
        count = len(source.unused_columns)
        verb = "column is" if count == 1 else "columns are"
        yield f"{count} {verb} not used (named neither arr_* nor y_*): {', '.join(source.unused_columns)[:200]}"
    for name in market_columns(source.columns, source.unused_columns):
        yield f"column {name!r} is not used; if it tells markets apart, rename it to 'market', after 'timestamp'"
    if not source.ends_whole():
        yield "a file does not end with a line break; its last line may be cut off"
