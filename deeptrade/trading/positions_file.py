"""positions.csv: which position the agent holds at each row, for anyone's own backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import atomic_write
from .market import Market


def write_positions(path: Path, parts: Mapping[str, tuple[Market, np.ndarray]]) -> None:
    """Write the positions, int (turns,), of each part: train, inner, validation.

    Columns: timestamp (ISO 8601), market ('' where rows name none), row, split, position, and y_1, what a position of 1
    earns until the next step. A position is held from its row's time on for one step, and on if the next row follows at
    once; each part begins and ends flat.
    """
    tables = []
    for name, (market, held) in parts.items():
        judged, rows = market.judged, market.plan.rows
        tables.append(
            pd.DataFrame(
                {
                    "timestamp": pd.to_datetime(judged.times[rows], utc=True),
                    "market": judged.markets[rows],
                    "row": judged.rows[rows],
                    "split": name,
                    "position": held.astype(np.int64),
                    "y_1": judged.targets[rows, 0].astype(np.float64),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    table["timestamp"] = table["timestamp"].map(pd.Timestamp.isoformat)
    with atomic_write(path) as file:
        table.to_csv(file, index=False)
