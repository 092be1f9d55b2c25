"""Small DeepTrade files written the plain way: json.dumps cell by cell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.support.markets import SHAPES, Market, make_market

if TYPE_CHECKING:
    from tests.support.object_store import ObjectStore


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
def s3_server() -> Iterator[tuple[str, int]]:
    """Where a real S3 server listens; skips where it, or the client, is not installed."""
    for name in ("obstore", "moto", "boto3"):
        pytest.importorskip(name, reason="needs the extra: pip install -e '.[cloud-test]', as `make test-all` does")
    from tests.support.object_store import start_server

    process, server = start_server()
    yield server
    process.stdin.close()
    process.wait(20)


@pytest.fixture
def object_store(s3_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """A fresh bucket, for this process and its children: by the environment, as users do; the user's cache is empty."""
    from deeptrade.sources.remote import client
    from tests.support.object_store import KEY_ID, SECRET, Door, ObjectStore, client_of

    door, past = Door(s3_server), client_of(s3_server)
    bucket = f"bucket{uuid4().hex[:12]}"
    past.create_bucket(Bucket=bucket)
    endpoint = f"http://127.0.0.1:{door.server_port}"
    given = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    given |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "RETRY", client.RETRY | {"backoff": {"init_backoff": timedelta(milliseconds=10)}})
    client._connected.cache_clear()
    door.store = ObjectStore(endpoint, past, bucket, door)
    yield door.store
    door.shutdown()
    door.server_close()


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
