"""Small DeepTrade files written the plain way: json.dumps cell by cell."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPES = {"arr_5m": (1, 7, 3), "arr_<b>/é": (1, 5, 2), "arr_ctx": (1, 4)}


@dataclass
class Market:
    """What a written file holds: float64 arrays by feature, targets, and the cells of every row."""

    path: Path
    features: dict[str, np.ndarray]
    targets: np.ndarray
    header: list[str]
    cells: list[list[str]]

    def write(self, path: Path | None = None) -> Path:
        """Write the cells, as they are now, to `path`."""
        with open(path or self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            writer.writerows(self.cells)
        return path or self.path

    def lines(self) -> list[bytes]:
        """The file's lines as bytes, header first, each with its line break."""
        return self.path.read_bytes().splitlines(keepends=True)


def make_market(
    path: Path, *, rows: int = 60, horizons: int = 2, shapes: dict | None = None, seed: int = 0, start: int = 0
) -> Market:
    """Write a small seeded file of random numbers, its first row `start` steps on, and return what it holds."""
    generator = np.random.default_rng(seed)
    shapes = shapes or SHAPES
    features = {name: generator.normal(100, 5, (rows, *shape)) for name, shape in shapes.items()}
    targets = generator.normal(0, 0.01, (rows, horizons))
    header = ["timestamp", *shapes, *(f"y_{step + 1}" for step in range(horizons))]
    cells = [
        [
            str(1_700_000_000 + 1200 * (start + row)),
            *(json.dumps(values[row].tolist()) for values in features.values()),
            *(repr(float(value)) for value in targets[row]),
        ]
        for row in range(rows)
    ]
    market = Market(path, features, targets, header, cells)
    market.write()
    return market
