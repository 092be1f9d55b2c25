"""A Dask cluster of two workers on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dask import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two workers, whose working folder is not that of the tests."""
    pytest.importorskip("distributed", reason="needs the extra: pip install -e '.[cluster]', as `make test-all` does")
    with Cluster(tmp_path) as started:
        started.add_worker()
        started.add_worker()
        yield started
