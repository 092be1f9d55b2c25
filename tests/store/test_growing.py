"""A store is read while it is made: what is there is what will be there, and nothing is lost when nobody waits."""

import time

import numpy as np
import pytest

from deeptrade.data.dataset import Dataset
from deeptrade.errors import DataError
from deeptrade.memory import ByteBudget, MemoryLimits
from deeptrade.store import compile_store, locate, read_store
from deeptrade.store.growing import GrowingStore
from deeptrade.store.locate import partial_path

pytestmark = pytest.mark.usefixtures("small_blocks")


def opened(found):
    return Dataset(*found, ByteBudget.of_process(MemoryLimits()))


def contents(data):
    rows = data.usable.numbers()
    return [data.timestamps.copy(), data.read_targets(rows), *data.read(rows).values()]


@pytest.mark.parametrize("use_mmap", [True, False])
def test_the_first_blocks_are_those_of_the_finished_store(bad_market, tmp_path, monkeypatch, use_mmap):
    note, growing = GrowingStore._note, GrowingStore(locate(bad_market.path), max_bad_rows=0.1)
    held = []

    def look(self, folder, records):
        note(self, folder, records)
        if len(records) == 12:
            with opened(self.read(use_mmap=use_mmap)) as data:
                held.append((data.rows, data.ledger, data.data_id, contents(data), data.statistics(data.usable)))

    monkeypatch.setattr(GrowingStore, "_note", look)
    with growing:
        growing.wait(10_000, is_wanted=lambda: True)
    assert growing.is_whole
    ((rows, ledger, data_id, found, statistics),) = held
    with opened(read_store(tmp_path / "market.dtstore")) as whole:
        part = whole.first(rows)
        assert rows < whole.rows
        assert (ledger, data_id) == (part.ledger, whole.data_id)
        for one, other in zip(found, contents(part), strict=True):
            np.testing.assert_array_equal(one, other)
        for name, of_part in part.statistics(part.usable).items():
            np.testing.assert_array_equal(statistics[name].mean, of_part.mean)


def test_a_store_that_is_there_is_whole_at_once(market):
    compile_store(market.path)
    with GrowingStore(locate(market.path)) as growing:
        growing.wait(1, is_wanted=lambda: True)
        assert growing.is_whole
        assert growing.rows == 0


def test_what_ends_the_compile_is_raised_where_rows_are_waited_for(bad_market):
    with GrowingStore(locate(bad_market.path), max_bad_rows=0.0) as growing:
        with pytest.raises(DataError, match="3 of 200 rows are rejected"):
            growing.wait(10_000, is_wanted=lambda: True)
        assert growing.has_failed
        assert not growing.is_whole


def test_when_nobody_waits_any_more_the_compile_ends_and_a_later_one_goes_on(market, monkeypatch):
    note, lines = GrowingStore._note, []

    def slowly(self, folder, records):
        note(self, folder, records)
        time.sleep(0.1)

    monkeypatch.setattr(GrowingStore, "_note", slowly)
    with GrowingStore(locate(market.path)) as growing:
        growing.wait(8, is_wanted=lambda: True)
        assert 8 <= growing.rows < 60
    assert partial_path(market.path.with_name("market.dtstore")).exists()
    compile_store(market.path, sink=lines.append)
    assert lines[0].startswith("resuming after row")


def test_waiting_ends_when_it_is_not_wanted(market, monkeypatch):
    monkeypatch.setattr(GrowingStore, "_make", lambda self: None)
    with GrowingStore(locate(market.path)) as growing:
        growing.wait(1, is_wanted=lambda: False)
    assert growing.rows == 0
