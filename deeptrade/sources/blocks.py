"""A block: the numbers of some hundred consecutive rows, what is wrong with any of them, and where they came from.

Every source is cut into blocks at places that follow from its bytes alone, so that blocks can be made in any order
and by any number of workers, and come out the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .faults import RowFault
from .schema import Feature
from .statistics import Moments

BLOCK_BYTES = 8 << 20
"""Text per block: some 80 rows of the original's layout. With 2 workers a compile then holds 50 MiB; blocks of 4 and
16 MiB compiled at the same rate."""


@dataclass(frozen=True)
class Place:
    """Where a block lies: `file` counts from 0; [start, stop) in bytes of a text file, in rows of a table."""

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
    """What reading a block gives; all arrays hold its usable rows only.

    place: as it turned out. rows: usable and rejected ones. lines: text lines, blank ones too. source_hash: XXH3-128
    of the block's bytes in the source. features: float32 (usable, *shape) by name. numbers: float32 (usable,
    horizons), or (usable, 1) prices. timestamps: int64 (usable,) ns UTC. positions: int64 (usable, 3): line from 0
    within the block, byte offset of the row and of its end within the file. nonfinite: NaN or infinite numbers by
    feature. moments by feature.
    """

    place: Place
    rows: int
    lines: int
    source_hash: str
    features: dict[str, np.ndarray]
    numbers: np.ndarray
    timestamps: np.ndarray
    positions: np.ndarray
    faults: list[Fault] = field(default_factory=list)
    nonfinite: dict[str, int] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    @property
    def usable(self) -> int:
        """Rows that are not rejected."""
        return len(self.timestamps)


def fault_detail(fault: Fault, file: int, files: int) -> str:
    """Return the detail of a rejected row, with the number of its file where there are several."""
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
    positions: np.ndarray,
    faults: Mapping[int, RowFault],
) -> Block:
    """Return the block of these rows; those with a fault are left out of the arrays and named.

    non_finite: int64 (rows, features). A row with a feature that holds not one finite number is rejected too.
    """
    faults = dict(faults)
    for position, slot in np.argwhere(non_finite == [feature.size for feature in schema_features]).tolist():
        if position not in faults:
            feature = schema_features[slot]
            detail = f"all {feature.size} numbers are NaN or infinite"
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
        positions=positions[kept],
    )
    for position, fault in sorted(faults.items()):
        line, offset = (int(value) for value in positions[position, :2])
        block.faults.append(Fault(position, line, offset, fault.column, fault.reason, fault.detail))
    for slot, feature in enumerate(schema_features):
        block.nonfinite[feature.name] = int(non_finite[good, slot].sum())
        block.moments[feature.name] = Moments(feature)
        block.moments[feature.name].add(block.features[feature.name])
    return block
