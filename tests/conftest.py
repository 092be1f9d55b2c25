"""Small DeepTrade files written the plain way: json.dumps cell by cell."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

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


def make_market(path: Path, *, rows: int = 60, horizons: int = 2, shapes: dict | None = None, seed: int = 0) -> Market:
    """Write a small seeded file of random numbers and return what it holds."""
    generator = np.random.default_rng(seed)
    shapes = shapes or SHAPES
    features = {name: generator.normal(100, 5, (rows, *shape)) for name, shape in shapes.items()}
    targets = generator.normal(0, 0.01, (rows, horizons))
    header = ["timestamp", *shapes, *(f"y_{step + 1}" for step in range(horizons))]
    cells = [
        [
            str(1_700_000_000 + 1200 * row),
            *(json.dumps(values[row].tolist()) for values in features.values()),
            *(repr(float(value)) for value in targets[row]),
        ]
        for row in range(rows)
    ]
    market = Market(path, features, targets, header, cells)
    market.write()
    return market


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """Sixty rows, three features (one with an odd name), two horizons."""
    return make_market(tmp_path / "market.csv")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 KiB, so that a small file has many."""
    from deeptrade.sources import csv as csv_module

    monkeypatch.setattr(csv_module, "BLOCK_BYTES", 4 << 10)


@pytest.fixture
def bad_market(tmp_path):
    """Two hundred rows, three of them rejected, a missing target and a NaN."""
    market = make_market(tmp_path / "market.csv", rows=200)
    market.cells[20][1] = "[[[1]]]"
    market.cells[21][3] = ""
    market.cells[150][3] = "[[NaN, NaN, null, Infinity]]"
    market.cells[90][4] = ""
    values = market.features["arr_ctx"][91].tolist()
    values[0][1] = float("nan")
    market.cells[91][3] = json.dumps(values)
    market.write()
    return market


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the notebooks on a small file with an odd name, an odd shape, a rejected row; home is there."""
    from deeptrade import run

    folder = tmp_path_factory.mktemp("run")
    market = make_market(folder / "market.csv", rows=120, shapes=SHAPES | {"arr_book": (5, 2, 3)})
    market.cells[7][1] = "[[[1]]]"
    market.write()
    parameters = {"model_size": "tiny", "batch_size": "4", "max_steps": 3, "quick": True, "skip_rl": "yes"}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", os.path.expanduser("~/.config/matplotlib")))
        environment.setenv("HOME", str(folder))
        run(market.path, out=folder / "out", parameters=parameters)
    return folder / "out"
