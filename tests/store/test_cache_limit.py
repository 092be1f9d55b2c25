"""No more is kept here of a store in an object store than its limit, or the disk, allows."""

import multiprocessing
import os
import subprocess

import numpy as np
import pytest

from deeptrade.data.opening import open_store
from deeptrade.errors import DataError, DiskFullError
from deeptrade.store import compile_store
from deeptrade.store.layout import ORIGIN
from deeptrade.store.reader import trim_copy
from tests.support.remote_stores import ROWS, assert_same_rows, held, local_of, rows_of


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
