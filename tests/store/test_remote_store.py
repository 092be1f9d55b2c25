"""Stores in an object store are read through a cache of checked blocks, whatever is harmed there or on the way."""

import time
from contextlib import closing

import numpy as np
import psutil
import pytest

from deeptrade.data.opening import open_store
from deeptrade.errors import DataError, RemoteError
from deeptrade.sources.remote.address import Address
from deeptrade.sources.remote.files import AT_ONCE, PART_BYTES
from deeptrade.store import compile_store, verify_store
from deeptrade.store.cache import CachedFile
from deeptrade.store.layout import EVICTIONS, MANIFEST, ORIGIN
from tests.support.markets import make_market
from tests.support.remote_stores import ROWS, SEVEN, assert_same_rows, child, file_of, forget, local_of, rows_of
from tests.support.stores import contents


def test_two_of_seven_features_fetch_little_more_than_their_bytes_and_a_second_epoch_nothing(object_store, published):
    with open_store(published) as data:
        used = ROWS * data.schema.select(["arr_1", "arr_4"]).row_bytes
        reader = data.batches(batch_size=16, features=["arr_1", "arr_4"])
        epochs = []
        for epoch in range(2):
            epochs.append(np.concatenate([batch.inputs["arr_4"] for batch in reader.stream(epoch)]))
            if not epoch:
                first = object_store.fetched(".f32") + object_store.fetched(".i64") + object_store.fetched(".f64")
        assert first <= 1.1 * used
        assert object_store.fetched(".f32") + object_store.fetched(".i64") + object_store.fetched(".f64") == first
        assert epochs[0].shape == epochs[1].shape


def test_a_store_opened_again_fetches_its_manifest_alone(object_store, published):
    with open_store(published) as data:
        before = rows_of(data)
    object_store.requests.clear()
    with open_store(published) as data:
        after = rows_of(data)
    assert {request.key for request in object_store.requests if request.method == "GET" and request.answered} <= {
        f"stores/seven.dtstore/{MANIFEST}",
        "",
    }
    assert all((before[name] == after[name]).all() for name in before)


def test_neighbouring_blocks_of_a_window_are_one_request(object_store, published):
    with open_store(published) as data:
        object_store.requests.clear()
        data.read(np.arange(ROWS), ["arr_0", "arr_3"])
    assert len([request for request in object_store.requests if "feature_" in request.key]) == 2


def test_plain_reads_give_the_same_rows(object_store, published, seven, tmp_path):
    with open_store(published, use_mmap=False) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)


def flipped(name, times):
    """Harm that flips one bit of the answers for a file, so often."""
    left = [times]

    def harm(method, key, content):
        if method == "GET" and key.endswith(name) and left[0] > 0:
            left[0] -= 1
            return bytes([content[0] ^ 1]) + content[1:]
        return None

    return harm


def test_a_bit_that_flips_on_the_way_is_fetched_again(object_store, published, seven, tmp_path):
    object_store.harm(flipped("feature_2.f32", 1))
    with open_store(published) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)


def test_a_bit_that_is_flipped_there_is_named_with_file_and_block(object_store, published, tmp_path):
    key = file_of(object_store, "feature_2.f32")
    content = bytearray(object_store.get(key))
    content[-1] ^= 1
    object_store.put(key, bytes(content))
    with open_store(published) as data:
        data.read(np.arange(10), ["arr_2"])
        with pytest.raises(DataError, match=r"feature_2\.f32 is damaged in block \d+ .*; publish it again"):
            data.read(np.arange(ROWS), ["arr_2"])
        data.read(np.arange(ROWS), ["arr_1"])
    (line,) = verify_store(published)
    assert line.startswith("feature_2.f32, block ")


def test_verify_checks_what_is_there_not_what_is_here(object_store, published):
    with open_store(published) as data:
        rows_of(data)
    assert verify_store(published) == []
    key = file_of(object_store, "feature_0.f32")
    object_store.put(key, bytes(len(object_store.get(key))))
    assert len(verify_store(published)) > 1


def test_a_file_that_is_cut_off_there_is_one_line_when_the_store_is_opened(object_store, published):
    key = file_of(object_store, "feature_5.f32")
    object_store.put(key, object_store.get(key)[:-4])
    with pytest.raises(DataError, match=r"feature_5\.f32 has \d+ bytes instead of \d+; publish the store again"):
        open_store(published)
    object_store.delete(key)
    with pytest.raises(DataError, match=r"feature_5\.f32 is missing; publish the store again"):
        open_store(published)


def test_a_file_that_is_overwritten_while_it_is_read_is_one_line(object_store, published):
    with open_store(published) as data:
        data.read(np.arange(10), ["arr_0"])
        key = file_of(object_store, "feature_0.f32")
        object_store.put(key, object_store.get(key)[::-1])
        with pytest.raises(RemoteError, match=r"feature_0\.f32 was overwritten while it was read; run again"):
            data.read(np.arange(ROWS), ["arr_0"])


def test_a_file_that_is_cut_while_it_is_read_is_one_line(object_store, published):
    with open_store(published) as data:
        data.read(np.arange(10), ["arr_0"])
        key = file_of(object_store, "feature_0.f32")
        object_store.put(key, object_store.get(key)[:50_000])
        with pytest.raises(RemoteError, match=r"feature_0\.f32 was overwritten while it was read; run again"):
            data.read(np.arange(ROWS - 20, ROWS), ["arr_0"])


def test_a_store_that_is_replaced_while_it_is_read_is_one_line_and_then_the_new_one(object_store, published, tmp_path):
    other = make_market(tmp_path / "other.csv", rows=ROWS, shapes=SEVEN, seed=1)
    with open_store(published) as data:
        data.read(np.arange(10), ["arr_0"])
        compile_store(other.path, store=published, fresh=True)
        with pytest.raises(RemoteError, match=r"feature_0\.f32 was removed while it was read; run again"):
            data.read(np.arange(ROWS), ["arr_0"])
    assert len([key for key in object_store.names() if key.endswith("feature_0.f32")]) == 1
    forget(tmp_path)
    with open_store(published) as data:
        np.testing.assert_allclose(rows_of(data)["arr_3"], other.features["arr_3"], rtol=1e-6)


def test_answers_that_say_slow_down_are_waited_for(object_store, published, seven, tmp_path):
    times = {}

    def harm(method, key, content):
        times[key] = times.get(key, 0) + 1
        return 503 if times[key] % 2 else None

    object_store.harm(harm)
    with open_store(published) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)


def test_an_address_without_a_store_is_one_line(object_store):
    for read in (open_store, verify_store):
        with pytest.raises(DataError, match=r"holds no store: no manifest\.json; publish one: deeptrade compile DATA"):
            read(object_store.address("none.dtstore"))


def test_the_copy_of_a_store_that_was_removed_is_no_store(object_store, published):
    open_store(published).close()
    for key in object_store.names():
        object_store.delete(key)
    with pytest.raises(DataError, match="holds no store"):
        open_store(published)


_READ = """
import sys
import numpy as np
from deeptrade.data.opening import open_store
with open_store(sys.argv[1]) as data:
    for start in range(0, data.rows, 10):
        data.read(np.arange(start, min(start + 10, data.rows)))
"""


def test_a_kill_while_fetching_costs_what_was_under_way(object_store, published, seven, tmp_path):
    object_store.harm(lambda method, key, content: time.sleep(0.05))
    reading = child(_READ, published)
    while object_store.fetched("feature_") < 200_000:
        assert reading.poll() is None, reading.stderr.read()
        time.sleep(0.02)
    reading.kill()
    reading.wait()
    object_store.harm(None)
    time.sleep(0.5)  # what is on its way
    before = object_store.fetched("feature_")
    with open_store(published) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)
        whole = sum(path.stat().st_size for path in (tmp_path / "local.dtstore").glob("feature_*"))
    assert object_store.fetched("feature_") - before < whole  # it went on
    assert object_store.fetched("feature_") < whole + (4 << 20)


def test_a_copy_holds_nothing_but_its_store_and_where_it_comes_from(object_store, published, seven, tmp_path):
    with open_store(published) as data:
        rows_of(data)
    (copy,) = (path.parent for path in (tmp_path / "cache").rglob(ORIGIN))
    here = contents(local_of(seven, tmp_path))
    there = contents(copy)
    assert set(there) - set(here) == {ORIGIN, EVICTIONS}
    assert [name for name in here if "feature" in name and here[name] != there[name]] == []


def test_a_file_dropped_without_being_closed_leaves_no_descriptor(object_store, published, tmp_path):
    def opened():
        files = [one.path for one in psutil.Process().open_files()]  # the client keeps connections of its own
        return sum(path.startswith(str(tmp_path)) for path in files)

    open_store(published).close()
    before = opened()
    for _ in range(3):
        open_store(published).close()
    assert opened() == before


def test_answers_on_their_way_are_booked_until_the_store_is_closed(object_store, published, seven, tmp_path):
    with open_store(local_of(seven, tmp_path)) as here:
        assert here.budget.leased_bytes == 0
    with open_store(published) as there:
        assert there.budget.leased_bytes == AT_ONCE * PART_BYTES
    assert there.budget.leased_bytes == 0


def test_runs_join_neighbours_up_to_a_bound(object_store, published, monkeypatch):
    monkeypatch.setattr("deeptrade.store.cache.PART_BYTES", 50_000)
    with open_store(published) as data, closing(data._contents):
        file = data._contents._features["arr_0"]
        assert isinstance(file, CachedFile)
        runs = file.runs(np.array([0, 1, 2, 3, 5, 6]))
        assert [block for run in runs for block in run] == [0, 1, 2, 3, 5, 6]
        assert all(file.bytes_of(np.array(run)) <= 50_000 for run in runs)
        assert not any({3, 5} <= set(run) for run in runs)
        assert Address.of(published).name == "seven.dtstore"
