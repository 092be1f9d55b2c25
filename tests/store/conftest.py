"""Stores in an object store."""

import pytest

from deeptrade.store import compile_store
from tests.support.markets import make_market
from tests.support.remote_stores import ROWS, SEVEN, forget


@pytest.fixture
def seven(tmp_path, small_blocks, monkeypatch):
    """Seven features of 400 rows in many blocks."""
    monkeypatch.setattr("deeptrade.sources.csv.BLOCK_BYTES", 256 << 10)
    return make_market(tmp_path / "seven.csv", rows=ROWS, shapes=SEVEN)


@pytest.fixture
def published(object_store, seven, tmp_path):
    """The address of a store of it; nothing of it is here."""
    address = object_store.address("stores/seven.dtstore")
    compile_store(seven.path, store=address)
    forget(tmp_path)
    object_store.requests.clear()
    return address
