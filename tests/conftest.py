"""Small DeepTrade files written the plain way: json.dumps cell by cell."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.markets import SHAPES, Market, make_market


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
