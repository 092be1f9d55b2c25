"""Stores in an object store: published whole, read through a cache of checked blocks, whatever is killed or harmed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset, open_store
from deeptrade.errors import DataError, DiskFullError, RemoteError, SettingsError
from deeptrade.sources.remote import client
from deeptrade.sources.remote.address import Address
from deeptrade.sources.remote.files import AT_ONCE, PART_BYTES
from deeptrade.store import compile_store, verify_store
from deeptrade.store import origin as origin_module
from deeptrade.store.cache import CachedFile
from deeptrade.store.export import export_parquet
from deeptrade.store.layout import EVICTIONS, LEDGER, MANIFEST, ORIGIN
from deeptrade.store.reader import trim_copy
from tests.support.markets import make_market
from tests.support.stores import contents

ROWS = 400
SEVEN = {f"arr_{number}": (12, 9) for number in range(7)}


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


def forget(tmp_path):
    """Remove the user's cache."""
    subprocess.run(["rm", "-rf", tmp_path / "cache"], check=True)


def file_of(object_store, name):
    """The key of a file of the one store in the bucket."""
    (key,) = (key for key in object_store.names() if key.endswith(f"/{name}"))
    return key


def local_of(seven, tmp_path):
    return compile_store(seven.path, store=tmp_path / "local.dtstore")


def rows_of(data, features=None):
    return data.read(np.arange(data.rows), features)


def assert_same_rows(one, other):
    for name, values in rows_of(one).items():
        np.testing.assert_array_equal(values, rows_of(other)[name])
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.timestamps, other.timestamps)


def held(tmp_path):
    """Bytes of disk that the cache takes."""
    return sum(path.stat().st_blocks * 512 for path in (tmp_path / "cache").rglob("*.f32"))


def test_what_is_published_has_the_bytes_of_a_store_here(object_store, published, seven, tmp_path):
    there = {key.rpartition("/")[2]: object_store.get(key) for key in object_store.names()}
    assert there == contents(local_of(seven, tmp_path))


def test_a_store_compiled_from_one_address_to_another_is_the_same(object_store, seven, tmp_path):
    data, store = object_store.put("seven.csv", seven.path), object_store.address("s.dtstore")
    compile_store(data, store=store)
    forget(tmp_path)
    with open_store(store) as there, open_store(local_of(seven, tmp_path)) as here:
        assert there.data_id == here.data_id
        assert there.name == "s"
        assert_same_rows(there, here)


def test_the_manifest_is_written_last(object_store, seven):
    compile_store(seven.path, store=object_store.address("s.dtstore"))
    written = [request.key for request in object_store.requests if request.method in ("PUT", "POST")]
    assert written[-1] == f"s.dtstore/{MANIFEST}"
    assert sum(key.endswith(MANIFEST) for key in written) == 1


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


def test_a_store_copied_there_by_other_means_is_read(object_store, seven, tmp_path):
    local = local_of(seven, tmp_path)
    for path in local.iterdir():
        object_store.put(f"copied/{path.name}", path)
    with open_dataset(object_store.address("copied")) as there, open_store(local) as here:
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


def test_the_same_data_again_changes_nothing(object_store, published, seven):
    lines = []
    compile_store(seven.path, store=published, sink=lines.append)
    assert lines == ["seven.dtstore holds this data already, nothing was changed"]
    assert not [request for request in object_store.requests if request.method in ("PUT", "POST", "DELETE")]


def test_other_data_is_refused_before_it_is_read(object_store, published, market):
    with pytest.raises(client.ExistsError, match="holds a store of other data or options; give another --store, or"):
        compile_store(market.path, store=published)
    assert not [request for request in object_store.requests if request.method == "PUT"]


def test_a_second_publisher_is_refused_and_leaves_nothing(object_store, seven, market, tmp_path, monkeypatch):
    address, plain = object_store.address("s.dtstore"), origin_module._upload

    def upload(store, home):
        plain(store, home)
        monkeypatch.setattr(origin_module, "_upload", plain)
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "another")}
        command = [sys.executable, "-m", "deeptrade", "compile", str(market.path), "--store", address]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    monkeypatch.setattr(origin_module, "_upload", upload)
    with pytest.raises(client.ExistsError, match="holds a store of other data or options"):
        compile_store(seven.path, store=address)
    forget(tmp_path)
    with open_store(address) as data:
        assert data.rows == 60
    assert len([key for key in object_store.names() if key.endswith("feature_0.f32")]) == 1
    assert verify_store(address) == []


def test_two_publishers_of_the_same_data_both_succeed(object_store, seven, tmp_path, monkeypatch):
    address, plain = object_store.address("s.dtstore"), client.put

    def put(to, content, *, create=False):
        if create:
            plain(to, content, create=True)  # the other one was first
        return plain(to, content, create=create)

    monkeypatch.setattr(client, "put", put)
    compile_store(seven.path, store=address)
    assert verify_store(address) == []


def child(code, *arguments):
    """A fresh process that runs some code."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


_READ = """
import sys
import numpy as np
from deeptrade.data.opening import open_store
with open_store(sys.argv[1]) as data:
    for start in range(0, data.rows, 10):
        data.read(np.arange(start, min(start + 10, data.rows)))
"""
_PUBLISH = """
import sys
from deeptrade.sources import csv
csv.BLOCK_BYTES = 256 << 10
from deeptrade.store import compile_store
compile_store(sys.argv[1], store=sys.argv[2])
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


@pytest.mark.parametrize("killed_at", [f"feature_{n}.f32" for n in (0, 3)] + [LEDGER, MANIFEST])
def test_a_kill_while_publishing_leaves_no_store_and_is_gone_on_with(object_store, seven, tmp_path, killed_at):
    address, publishing = object_store.address("s.dtstore"), None
    started = threading.Event()

    def harm(method, key, content):
        if method == "PUT" and key.endswith(killed_at):
            started.wait(60)
            os.kill(publishing.pid, signal.SIGKILL)
            object_store.delete(key)  # it had not arrived

    object_store.harm(harm)
    publishing = child(_PUBLISH, seven.path, address)
    started.set()
    assert publishing.wait(120) == -signal.SIGKILL
    object_store.harm(None)
    with pytest.raises(DataError, match="holds no store"):
        open_store(address.replace("s.dtstore", "x.dtstore"))
    assert f"s.dtstore/{MANIFEST}" not in object_store.names()
    object_store.requests.clear()
    compile_store(seven.path, store=address)
    again = {r.key.rpartition("/")[2] for r in object_store.requests if r.method == "PUT"}
    names = [f"feature_{n}.f32" for n in range(7)]
    assert not again & set(names[: names.index(killed_at)] if killed_at in names else names)
    forget(tmp_path)
    with open_store(address) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)


def test_no_more_than_the_limit_is_kept_and_the_rows_are_the_same(object_store, published, seven, tmp_path):
    limit = 300_000
    with open_store(published, cache_limit=limit) as there, open_store(local_of(seven, tmp_path)) as here:
        held_at_most = []
        for _ in range(2):
            for start in range(0, ROWS, 20):
                rows = np.arange(start, start + 20)
                some = there.read(rows, ["arr_0", "arr_6"])
                np.testing.assert_array_equal(some["arr_6"], here.read(rows, ["arr_6"])["arr_6"])
                held_at_most.append(held(tmp_path))
    assert max(held_at_most) <= limit
    assert held_at_most[-1] > limit / 3


def test_features_beyond_the_limit_are_fetched_again_the_others_are_not(object_store, published):
    with open_store(published, cache_limit=100_000) as data:
        for _ in range(2):
            object_store.requests.clear()
            data.read(np.arange(20), ["arr_0"])
            data.timestamps, data.targets  # noqa: B018
            for start in range(20, ROWS, 20):
                data.read(np.arange(start, start + 20), ["arr_0"])
        assert object_store.fetched("feature_0") > 0
        assert not object_store.fetched("timestamps") + object_store.fetched("targets")


def test_a_process_without_a_limit_is_not_harmed_by_one_that_gives_back(object_store, published, seven, tmp_path):
    with (
        open_store(published) as there,
        open_store(published, cache_limit=1) as other,
        open_store(local_of(seven, tmp_path)) as here,
    ):
        for start in range(0, ROWS, 40):
            rows = np.arange(start, start + 40)
            for name, values in there.read(rows).items():
                np.testing.assert_array_equal(values, here.read(rows, [name])[name])
            other.read(rows[:5])
            other.read(np.arange(5), ["arr_0"])
        assert_same_rows(there, here)


def _check(address, expected, seed, limit, answer):
    """Read random rows over and over, and say whether all were right."""
    random = np.random.default_rng(seed)
    with open_store(address, cache_limit=limit) as data:
        for _ in range(60):
            rows = np.sort(random.choice(ROWS, 30, replace=False))
            if not np.array_equal(data.read(rows, ["arr_2"])["arr_2"], expected[rows]):
                answer.put("wrong rows")
                return
    answer.put("right")


def test_processes_that_share_a_cache_and_give_back_read_right_rows(object_store, published, seven, tmp_path):
    with open_store(local_of(seven, tmp_path)) as here:
        expected = rows_of(here, ["arr_2"])["arr_2"]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    readers = [
        context.Process(target=_check, args=(published, expected, seed, limit, answers))
        for seed, limit in enumerate((40_000, 80_000, 0))
    ]
    for reader in readers:
        reader.start()
    assert [answers.get(timeout=200) for _ in readers] == ["right"] * 3
    for reader in readers:
        reader.join(20)


def test_a_full_disk_makes_room_by_giving_back(object_store, published, seven, tmp_path, monkeypatch):
    plain, full = os.pwrite, []

    def pwrite(descriptor, data, offset):
        if held(tmp_path) > 150_000:
            full.append(offset)
            raise OSError(28, "No space left on device")
        return plain(descriptor, data, offset)

    with open_store(published) as there, open_store(local_of(seven, tmp_path)) as here:
        monkeypatch.setattr(os, "pwrite", pwrite)
        for start in range(0, ROWS, 20):
            rows = np.arange(start, start + 20)
            np.testing.assert_array_equal(there.read(rows, ["arr_1"])["arr_1"], here.read(rows, ["arr_1"])["arr_1"])
    assert full


def test_a_disk_without_any_room_is_one_line(object_store, published, monkeypatch):
    def pwrite(descriptor, data, offset):
        raise OSError(28, "No space left on device")

    with open_store(published) as data:
        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(DiskFullError, match=r"writing the cache of s3://.*XDG_CACHE_HOME.*: No space left"):
            data.read(np.arange(5), ["arr_0"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small disk, which only root may do")
def test_a_small_disk_that_is_really_full_gives_the_same_rows(object_store, published, seven, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", small], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        monkeypatch.setenv("XDG_CACHE_HOME", str(small))
        with open_store(published) as there, open_store(local_of(seven, tmp_path)) as here:
            for start in range(0, ROWS, 20):
                rows = np.arange(start, start + 20)
                for name, values in there.read(rows).items():
                    np.testing.assert_array_equal(values, here.read(rows, [name])[name])
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_published_store_is_trimmed_to_the_limit(object_store, seven, tmp_path):
    address = object_store.address("s.dtstore")
    compile_store(seven.path, store=address, cache_limit="200KiB")
    assert held(tmp_path) <= 200 << 10
    with open_store(address) as there, open_store(local_of(seven, tmp_path)) as here:
        assert_same_rows(there, here)


def test_a_file_system_that_cannot_give_back_says_so(object_store, published, tmp_path, monkeypatch):
    class Library:
        @staticmethod
        def fallocate(*arguments):
            return -1

    with open_store(published) as data:
        rows_of(data)
    monkeypatch.setattr("deeptrade.store.cache._libc", Library)
    (copy,) = (path.parent for path in (tmp_path / "cache").rglob(ORIGIN))
    with pytest.raises(DataError, match=r"cannot give room back .*; leave out --cache_limit, or move the cache"):
        trim_copy(copy, 1000)


def test_an_export_from_one_address_to_another_is_that_of_here(object_store, published, seven, tmp_path):
    export_parquet(published, object_store.address("out/rows.parquet"))
    export_parquet(local_of(seven, tmp_path), tmp_path / "rows.parquet")
    assert object_store.get("out/rows.parquet") == (tmp_path / "rows.parquet").read_bytes()


def test_an_export_that_fails_leaves_nothing_at_the_address(object_store, published, monkeypatch):
    def fail(*arguments, **options):
        raise DataError("no")

    monkeypatch.setattr("deeptrade.store.export._columns", fail)
    with pytest.raises(DataError, match="no"):
        export_parquet(published, object_store.address("out/rows.parquet"))
    assert not object_store.names("out/")


def test_an_address_needs_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(SettingsError, match=r"pip install 'deeptrade\[cloud\]'"):
        open_store("s3://bucket/x.dtstore")


def test_a_copy_holds_nothing_but_its_store_and_where_it_comes_from(object_store, published, seven, tmp_path):
    with open_store(published) as data:
        rows_of(data)
    (copy,) = (path.parent for path in (tmp_path / "cache").rglob(ORIGIN))
    here = contents(local_of(seven, tmp_path))
    there = contents(copy)
    assert set(there) - set(here) == {ORIGIN, EVICTIONS}
    assert [name for name in here if "feature" in name and here[name] != there[name]] == []


def test_a_file_dropped_without_being_closed_leaves_no_descriptor(object_store, published):
    def opened():
        return len(list(Path("/proc/self/fd").iterdir()))

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
