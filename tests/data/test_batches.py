import gc
import threading
import time

import numpy as np
import pytest

from deeptrade.data.batch_cache import BatchCache
from deeptrade.data.batches import BatchReader
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, DoesNotFitError, RunConflictError
from deeptrade.memory import ByteBudget
from deeptrade.store.row_range import RowRange


@pytest.fixture
def data(market):
    with open_dataset(market.path) as opened:
        yield opened


def ids(batches):
    return np.concatenate([batch.row_ids for batch in batches])


def background_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("deeptrade")]


def test_a_batch_holds_the_rows_its_ids_name(data, market):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8, features=["arr_ctx"])
    batch = reader.batch(3, epoch=2)
    assert list(batch.inputs) == ["arr_ctx"]
    np.testing.assert_array_equal(
        batch.inputs["arr_ctx"], market.features["arr_ctx"][batch.row_ids, 0].astype(np.float32)
    )
    np.testing.assert_array_equal(batch.targets, market.targets[batch.row_ids].astype(np.float32))


@pytest.mark.parametrize("prefetch", [0, 1, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_the_rows_of_an_epoch_do_not_depend_on_batch_size_or_prefetch(data, batch_size, prefetch):
    plain = BatchReader(data, RowRange(0, 50), batch_size=50, seed=3).batch(0, epoch=1).row_ids
    reader = BatchReader(data, RowRange(0, 50), batch_size=batch_size, seed=3, prefetch=prefetch)
    np.testing.assert_array_equal(ids(reader.stream(1)), plain)
    assert sorted(plain.tolist()) == list(range(50))


def test_a_stream_resumes_at_any_sample(data):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8)
    whole = ids(reader.stream(0))
    for start in range(51):
        rest = [batch.row_ids for batch in reader.stream(0, start=start, batch_size=5)]
        np.testing.assert_array_equal(np.concatenate([whole[:start], *rest]), whole)


def test_arrays_belong_to_the_caller_even_when_they_come_from_the_cache(data):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8, shuffle=False, cache_batches=2)
    first = reader.batch(0)
    kept = first.copy()
    first.inputs["arr_5m"][:] = -1
    first.targets[:] = -1
    again = reader.batch(0)
    np.testing.assert_array_equal(again.inputs["arr_5m"], kept.inputs["arr_5m"])
    np.testing.assert_array_equal(again.targets, kept.targets)


def test_a_cached_batch_is_not_read_again(data, monkeypatch):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8, shuffle=False, cache_batches=1)
    reader.batch(0)
    monkeypatch.setattr(data, "read", lambda *arguments: pytest.fail("read again"))
    reader.batch(0, epoch=1)


def test_the_cache_keeps_the_last_used_within_its_bytes(data):
    reader = BatchReader(data, RowRange(0, 48), batch_size=8, shuffle=False)
    batches = [reader.batch(index) for index in range(4)]
    cache = BatchCache(10, limit_bytes=2 * batches[0].nbytes)
    cache.put((0, 0, 8), batches[0])
    cache.put((0, 8, 16), batches[1])
    assert cache.get((0, 0, 8)) is not None
    cache.put((0, 16, 24), batches[2])
    assert cache.get((0, 8, 16)) is None
    assert cache.get((0, 0, 8)) is not None
    assert cache.nbytes == 2 * batches[0].nbytes


def test_a_batch_larger_than_the_cache_is_not_kept(data):
    batch = BatchReader(data, RowRange(0, 48), batch_size=8).batch(0)
    cache = BatchCache(10, limit_bytes=batch.nbytes - 1)
    cache.put((0, 0, 8), batch)
    assert len(cache) == cache.nbytes == 0


def test_no_thread_is_left_after_the_end_a_break_an_exception_or_a_lost_stream(data):
    reader = BatchReader(data, RowRange(0, 50), batch_size=4, prefetch=3)
    for _ in reader.stream(0):
        pass
    for _ in reader.stream(0):
        break
    with pytest.raises(ZeroDivisionError):
        for _ in reader.stream(0):
            1 / 0  # noqa: B018
    lost = reader.stream(0)
    next(lost)
    del lost
    gc.collect()
    assert not background_threads()


def test_an_error_while_reading_ahead_reaches_the_caller(data, market):
    reader = BatchReader(data, RowRange(0, 50), batch_size=4, shuffle=False, prefetch=3)
    data.rejected = np.array([9])
    stream = reader.stream(0)
    with pytest.raises(DataError, match="row 9 is rejected"):
        for _ in stream:
            pass
    assert not background_threads()


def test_batches_are_read_ahead_while_the_caller_works(data, monkeypatch):
    reader = BatchReader(data, RowRange(0, 50), batch_size=4, shuffle=False, prefetch=2)
    read, plain = [], data.read
    monkeypatch.setattr(data, "read", lambda rows, names: read.append(rows[0]) or plain(rows, names))
    stream = reader.stream(0)
    next(stream)
    deadline = time.monotonic() + 5
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [0, 4, 8]
    stream.close()


def test_the_budget_bounds_what_is_read_ahead_and_an_epoch_is_still_complete(data):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8, seed=3, prefetch=5)
    expected = ids(reader.stream(0))
    one = 8 * (data.schema.row_bytes + 8)
    for room in (1.0, 2.5, 9.0):
        most, data.budget = [0], ByteBudget(lambda room=room: int(room * one))
        plain = data.read

        def read(rows, names, most=most, plain=plain):
            most[0] = max(most[0], data.budget.leased_bytes)
            return plain(rows, names)

        data.read = read
        np.testing.assert_array_equal(ids(reader.stream(0)), expected)
        data.read = plain
        assert 0 < most[0] <= room * one
        assert data.budget.leased_bytes == 0


def test_a_batch_that_alone_is_over_the_budget_is_refused_with_what_one_row_takes(data):
    reader = BatchReader(data, RowRange(0, 50), batch_size=8)
    data.budget = ByteBudget(lambda: 1000)
    with pytest.raises(
        DoesNotFitError, match=r"a batch of 8 rows needs .* KiB, 1000 B may be used; .*one row takes 156 B"
    ):
        next(reader.stream(0))


def test_a_cache_gives_way_to_a_batch_that_is_needed(data):
    one = 8 * (data.schema.row_bytes + 8)
    data.budget = ByteBudget(lambda: 3 * one)
    reader = BatchReader(data, RowRange(0, 48), batch_size=8, shuffle=False, cache_batches=9, prefetch=0)
    np.testing.assert_array_equal(ids(reader.stream(0)), np.arange(48))
    assert 0 < len(reader._cache) <= 2
    reader.close()
    assert data.budget.leased_bytes == 0


@pytest.mark.parametrize("batch_size", [1, 7, 48])
@pytest.mark.parametrize("window_rows", [16, 33])
def test_windowed_batches_hold_the_rows_their_ids_name_and_resume_anywhere(data, market, batch_size, window_rows):
    reader = BatchReader(data, RowRange(1, 49), batch_size=batch_size, seed=3, window_rows=window_rows)
    batches = list(reader.stream(1))
    whole = ids(batches)
    assert sorted(whole.tolist()) == list(range(1, 49))
    for batch in batches:
        expected = market.features["arr_5m"][batch.row_ids, 0].astype(np.float32)
        np.testing.assert_array_equal(batch.inputs["arr_5m"], expected)
        np.testing.assert_array_equal(batch.targets, market.targets[batch.row_ids].astype(np.float32))
    for start in (0, 5, 16, 40):
        np.testing.assert_array_equal(ids(reader.stream(1, start=start, batch_size=5)), whole[start:])
    reader.close()
    assert data.budget.leased_bytes == 0


def test_dropped_readers_release_their_leases(data):
    for _ in range(20):
        reader = BatchReader(data, RowRange(0, 50), batch_size=8, cache_batches=5, window_rows=16)
        next(reader.stream(0))
        del reader
        gc.collect()
    assert data.budget.leased_bytes == 0


def test_while_memory_is_scarce_nothing_is_cached_or_read_ahead_and_the_batches_stay_the_same(data):
    one = 8 * (data.schema.row_bytes + 8)
    plain = ids(BatchReader(data, RowRange(0, 50), batch_size=8, seed=3, prefetch=0).stream(0))
    reader = BatchReader(data, RowRange(0, 50), batch_size=8, seed=3, prefetch=4, cache_batches=9)
    held, got = [], []
    for number, batch in enumerate(reader.stream(0)):
        got.append(batch)
        held.append(data.budget.leased_bytes)
        if number == 1:
            data.budget.squeeze(True)
            assert len(reader._cache) == 0
    assert held[0] > 2 * one
    assert held[-1] == 0
    np.testing.assert_array_equal(ids(got), plain)
    data.budget.squeeze(False)
    np.testing.assert_array_equal(ids(reader.stream(0)), plain)
    assert len(reader._cache) > 0
    reader.close()


def test_a_state_with_the_data_id_of_an_earlier_version_continues_in_the_order_of_that_id(market):
    with open_dataset(market.path) as data, open_dataset(market.path) as named_before:
        (named_before.data_id,) = data.former_data_ids
        earlier = BatchReader(named_before, RowRange(0, 60), batch_size=4)
        reader = BatchReader(data, RowRange(0, 60), batch_size=4, cache_batches=5)
        first = ids(reader.stream(1))
        epoch, position = reader.restore(earlier.state(1, 8))
        np.testing.assert_array_equal(ids(reader.stream(epoch, start=position)), ids(earlier.stream(1, start=8)))
        assert reader.state(1, 8) == earlier.state(1, 8)
        reader.restore({**reader.state(1, 8), "data_id": data.data_id})
        np.testing.assert_array_equal(ids(reader.stream(1)), first)


@pytest.mark.parametrize("window_rows", [0, 16])
def test_only_the_first_epoch_takes_rows_as_they_come(data, window_rows):
    options = {"batch_size": 4, "seed": 5, "window_rows": window_rows}
    reader = BatchReader(data, RowRange(0, 40), arriving_rows=16, **options)
    found = ids(reader.stream(0))
    assert sorted(found[:16].tolist()) == list(range(16))
    assert sorted(found[16:32].tolist()) == list(range(16, 32))
    assert sorted(found.tolist()) == list(range(40))
    np.testing.assert_array_equal(ids(reader.stream(0, start=20, batch_size=3)), found[20:])
    fewer = BatchReader(data, RowRange(0, 32), arriving_rows=16, batch_size=4, seed=5)
    np.testing.assert_array_equal(ids(fewer.stream(0)), found[:32])
    plain = BatchReader(data, RowRange(0, 40), **options)
    np.testing.assert_array_equal(ids(reader.stream(1)), ids(plain.stream(1)))
    with pytest.raises(RunConflictError, match="arriving_rows"):
        reader.restore(plain.state(0, 4) | {"arriving_rows": 8})
