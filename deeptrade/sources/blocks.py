"""A block: the numbers of about a hundred consecutive rows, which rows are bad and why, and where they came from.

Every source is cut into blocks at places that depend on its bytes alone. So blocks come out the same in any order of
reading, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .faults import RowFault
from .schema import Feature
from .statistics import Moments

BLOCK_BYTES = 8 << 20
"""Text per block: about 80 rows of the original layout. With 2 workers, compiling then holds 50 MiB; blocks of 4 and
16 MiB compiled at the same rate."""


@dataclass(frozen=True)
class Place:
    """Where a block lies: `file` counts from 0; [start, stop) is in bytes for text files, in rows for tables."""

    file: int
    start: int
    stop: int


@dataclass(frozen=True)
class Fault:
    """One rejected row: `row` and `line` count from 0 within the block, `byte_offset` within the file."""

    row: int
    line: int
    byte_offset: int
    column: str
    reason: str
    detail: str


@dataclass
class Block:
    """A block as read; all arrays hold its usable rows only.

    place: where it really begins and ends. rows: usable and rejected. lines: text lines, including blank ones.
    source_hash: XXH3-128 of the block's bytes in the source. features: float32 (usable, *shape) by name. numbers:
    float32 (usable, horizons) targets, or (usable, 1) prices. timestamps: int64 (usable,) ns UTC. markets: names,
    objects (usable,), '' where rows have none. positions: int64 (usable, 3): line from 0 within the block, byte offsets
    of the row's start and end within the file. nonfinite: count of NaN or infinite numbers by feature. moments: by
    feature.
    """

    place: Place
    rows: int
    lines: int
    source_hash: str
    features: dict[str, np.ndarray]
    numbers: np.ndarray
    timestamps: np.ndarray
    markets: np.ndarray
    positions: np.ndarray
    faults: list[Fault] = field(default_factory=list)
    nonfinite: dict[str, int] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    @property
    def usable(self) -> int:
        """Rows that are not rejected."""
        return len(self.timestamps)

    def row_numbers(self) -> np.ndarray:
        """Return the int64 (usable,) numbers of the usable rows, from 0 within the block."""
        usable = np.ones(self.rows, bool)
        usable[[fault.row for fault in self.faults]] = False
        return np.flatnonzero(usable)

    def rejecting(self, faults: Mapping[int, RowFault], features: Sequence[Feature]) -> Block:
        """Return the block with more rows rejected: `faults` by position among the usable rows. Nothing is shared."""
        rows = self.row_numbers()
        kept = np.ones(self.usable, bool)
        kept[list(faults)] = False
        block = replace(
            self,
            features={name: values[kept] for name, values in self.features.items()},
            numbers=self.numbers[kept],
            timestamps=self.timestamps[kept],
            markets=self.markets[kept],
            positions=self.positions[kept],
            moments={},
            nonfinite={},
        )
        more = [_fault(int(rows[at]), self.positions[at], fault) for at, fault in faults.items()]
        block.faults = sorted([*self.faults, *more], key=lambda fault: fault.row)
        for feature in features:
            values = block.features[feature.name]
            block.nonfinite[feature.name] = int(np.count_nonzero(~np.isfinite(values)))
            block.moments[feature.name] = Moments(feature)
            block.moments[feature.name].add(values)
        return block


def _fault(row: int, position: np.ndarray, fault: RowFault) -> Fault:
    line, offset = (int(value) for value in position[:2])
    return Fault(row, line, offset, fault.column, fault.reason, fault.detail)


def fault_detail(fault: Fault, file: int, files: int) -> str:
    """Return the detail of a rejected row, with its file number if there are several files."""
    return f"file {file + 1} of {files}: {fault.detail}" if files > 1 else fault.detail


def make_block(
    place: Place,
    *,
    lines: int,
    source_hash: str,
    schema_features: Sequence[Feature],
    features: Mapping[str, np.ndarray],
    non_finite: np.ndarray,
    numbers: np.ndarray,
    timestamps: np.ndarray,
    markets: np.ndarray,
    positions: np.ndarray,
    faults: Mapping[int, RowFault],
) -> Block:
    """Return the block of these rows; rows with a fault are left out of its arrays and listed in `faults`.

    non_finite: int64 (rows, features). A row with a feature without a single finite number is rejected too.
    """
    faults = dict(faults)
    for position, slot in np.argwhere(non_finite == [feature.size for feature in schema_features]).tolist():
        if position not in faults:
            feature = schema_features[slot]
            detail = f"no finite numbers among {feature.size:,}"
            faults[position] = RowFault("non_finite", feature.name, detail)
    good = np.ones(len(timestamps), bool)
    good[list(faults)] = False
    kept = slice(None) if good.all() else good
    block = Block(
        place=place,
        rows=len(timestamps),
        lines=lines,
        source_hash=source_hash,
        features={feature.name: features[feature.name][kept] for feature in schema_features},
        numbers=numbers[kept],
        timestamps=timestamps[kept],
        markets=markets[kept],
        positions=positions[kept],
    )
    block.faults = [_fault(position, positions[position], fault) for position, fault in sorted(faults.items())]
    for slot, feature in enumerate(schema_features):
        block.nonfinite[feature.name] = int(non_finite[good, slot].sum())
        block.moments[feature.name] = Moments(feature)
        block.moments[feature.name].add(block.features[feature.name])
    return block
