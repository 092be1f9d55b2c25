"""Sources in an object store: what they give, and what happens where they change or the store does harm."""

import gzip
import re
import time
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, RemoteError, SettingsError
from deeptrade.making.klines import build
from deeptrade.sources.csv import CsvTask
from deeptrade.sources.kinds import find_files, find_klines, open_source
from deeptrade.sources.remote import client, files
from deeptrade.sources.remote.address import Address
from deeptrade.sources.remote.files import find
from deeptrade.store import compile_store
from tests.support.markets import make_market
from tests.support.object_store import SECRET
from tests.support.stores import contents
from tests.support.tables import write_hdf5, write_parquet


@pytest.fixture
def small_parts(monkeypatch):
    """Requests of 4 KiB and pieces of 1 KiB, so that a small file takes many."""
    monkeypatch.setattr(files, "PART_BYTES", 4 << 10)
    monkeypatch.setattr(files, "_PIECE_BYTES", 1 << 10)


def assert_equal_stores(data, local, tmp_path):
    """The store of data at an address has the bytes of that of the same data here, in every file."""
    here = compile_store(local, store=tmp_path / "here.dtstore", max_bad_rows=0.1)
    there = compile_store(data, store=tmp_path / "there.dtstore", max_bad_rows=0.1)
    assert contents(there) == contents(here)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_file_gives_the_store_that_it_gives_from_here(object_store, bad_market, tmp_path, ending, small_parts):
    path = bad_market.path
    if ending == ".csv.gz":
        path = tmp_path / "market.csv.gz"
        path.write_bytes(gzip.compress(bad_market.path.read_bytes()))
    if ending == ".parquet":
        path = write_parquet(
            tmp_path / "market.parquet", arr_a=np.random.default_rng(0).normal(size=(12, 300)).tolist()
        )
    assert_equal_stores(object_store.put(f"data/market{ending}", path), path, tmp_path)


def test_blocks_that_end_within_rows_give_the_same_store(object_store, bad_market, tmp_path, small_blocks, small_parts):
    assert_equal_stores(object_store.put("market.csv", bad_market.path), bad_market.path, tmp_path)


@pytest.mark.parametrize("asked", ["months", "months/", "months/m*.csv", "mon*/m?.csv"])
def test_a_folder_and_a_glob_name_their_files_in_order_of_time(object_store, tmp_path, asked):
    (tmp_path / "months").mkdir()
    for number, start in ((1, 60), (2, 0)):
        market = make_market(tmp_path / "months" / f"m{number}.csv", start=start, seed=number)
        object_store.put(f"months/m{number}.csv", market.path)
    object_store.put("months/deeper/m3.csv", b"not of these")
    object_store.put("months/_SUCCESS", b"")
    assert [file.name for file in open_source(object_store.address(asked)).files] == ["m2.csv", "m1.csv"]
    assert_equal_stores(object_store.address(asked), tmp_path / "months", tmp_path)


def test_training_data_at_an_address_has_its_store_in_the_users_cache(object_store, market, tmp_path):
    address = object_store.put("deep/market.csv", market.path)
    with open_dataset(address) as data:
        assert data.name == "market"
        np.testing.assert_allclose(data.read(np.arange(60))["arr_ctx"], market.features["arr_ctx"][:, 0], rtol=1e-6)
    (store,) = (tmp_path / "cache").rglob("market.dtstore")
    object_store.requests.clear()
    with open_dataset(address) as data:
        assert data.rows == 60
    assert object_store.fetched("market.csv") <= 2 * len(object_store.get("deep/market.csv"))  # its head, not its rows
    assert store.exists()


@pytest.mark.parametrize("name", ["k.csv", "k.csv.gz", "k.zip", "k.parquet", "k.feather", "k.json"])
def test_klines_give_the_rows_that_they_give_from_here(object_store, tmp_path, name, small_parts):
    times = 1_690_848_000_000 + 60_000 * np.arange(4000)
    close = 100 + np.random.default_rng(0).normal(0, 0.01, 4000).cumsum()
    bars = {"open": close, "high": close + 0.1, "low": close - 0.1, "close": close, "volume": np.full(4000, 5.0)}
    table, path = pd.DataFrame({"open_time": times, **bars}), tmp_path / name
    write = {"parquet": table.to_parquet, "feather": table.to_feather, "json": partial(table.to_json, orient="records")}
    write = write.get(name.split(".")[-1])
    write(path) if write else table.to_csv(path, index=False)
    options = {"timeframes": ("5min", "15min"), "step": "10min", "horizons": 3, "window": 20}
    build([path], out=tmp_path / "here.csv", **options)
    build(find_klines(object_store.put(f"klines/{name}", path)), out=tmp_path / "there.csv", **options)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def overwritten(object_store, key, content):
    """Harm that overwrites an object before the second of its answers that hold bytes passes."""
    answers = []

    def harm(method, asked, answer):
        if method == "GET" and asked == key:
            answers.append(answer)
            if len(answers) == 2:
                object_store.put(key, content)

    return harm


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_file_that_is_overwritten_while_it_is_read_is_one_line(object_store, tmp_path, ending, monkeypatch):
    monkeypatch.setattr(files, "PART_BYTES", 64 << 10)
    monkeypatch.setattr(files, "_PIECE_BYTES", 8 << 10)
    market, other = (make_market(tmp_path / f"{n}.csv", rows=400, seed=n).path.read_bytes() for n in range(2))
    if ending == ".csv.gz":
        market, other = gzip.compress(market), gzip.compress(other)
    if ending == ".parquet":
        arrays = np.random.default_rng(0).normal(size=(2, 12, 3000))
        market, other = (write_parquet(tmp_path / "m.parquet", arr_a=one.tolist()).read_bytes() for one in arrays)
    address = object_store.put(f"market{ending}", market)
    object_store.harm(overwritten(object_store, f"market{ending}", other))
    with pytest.raises(RemoteError, match=rf"market{ending} was overwritten while it was read; run again") as told:
        compile_store(address, store=tmp_path / "s.dtstore")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "s.dtstore").exists()


def test_a_file_that_is_overwritten_between_two_blocks_is_one_line(object_store, market, tmp_path, monkeypatch):
    address, plain = object_store.put("market.csv", market.path), CsvTask.run
    other = make_market(tmp_path / "other.csv", seed=1)

    def run(task):
        block = plain(task)
        object_store.put("market.csv", other.path)
        return block

    monkeypatch.setattr(CsvTask, "run", run)
    with pytest.raises(RemoteError, match=r"market\.csv was overwritten while it was read; run again"):
        compile_store(address, store=tmp_path / "s.dtstore")


def test_a_server_without_conditions_cannot_hide_that_a_file_was_overwritten(object_store, market, monkeypatch):
    (file,) = find(Address.of(object_store.put("market.csv", market.path)))
    object_store.put("market.csv", market.path.read_bytes()[::-1])
    unconditional = files.RemoteFile(file.address, file.size, file.e_tag)
    plain = client._library().get
    monkeypatch.setattr(client._library(), "get", lambda *a, options: plain(*a, options={"range": options["range"]}))
    with pytest.raises(RemoteError, match="was overwritten while it was read"):
        unconditional.read(0, 100)


def test_a_file_that_is_cut_or_removed_while_it_is_read_is_one_line(object_store, market):
    (file,) = find(Address.of(object_store.put("market.csv", market.path)))
    object_store.put("market.csv", market.path.read_bytes()[:1000])
    with pytest.raises(RemoteError, match="was overwritten while it was read"):
        file.read(2000, 3000)
    object_store.delete("market.csv")
    with pytest.raises(RemoteError, match="was removed while it was read"):
        file.read(0, 100)
    with pytest.raises(RemoteError, match="is no longer there"):
        file.now()


def test_an_answer_that_ends_early_is_asked_for_again(object_store, market):
    content, cut = market.path.read_bytes(), []
    (file,) = find(Address.of(object_store.put("market.csv", content)))

    def harm(method, key, answer):
        if method == "GET" and len(cut) < 2:
            cut.append(key)
            return answer[: len(answer) // 2]
        return None

    object_store.harm(harm)
    assert file.read(0, len(content)).tobytes() == content
    assert len(cut) == 2


def test_answers_that_say_slow_down_are_asked_for_again(object_store, market, tmp_path):
    address, times = object_store.put("market.csv", market.path), {}

    def harm(method, key, answer):
        times[key] = times.get(key, 0) + 1
        return 503 if times[key] % 3 else None

    object_store.harm(harm)
    assert_equal_stores(address, market.path, tmp_path)
    assert sum(r.status == 503 for r in object_store.requests) > 2


def test_an_answer_that_stands_still_is_asked_for_again(object_store, market, monkeypatch):
    monkeypatch.setattr(client, "READING", {"timeout": timedelta(seconds=60), "read_timeout": timedelta(seconds=1)})
    client._connected.cache_clear()
    (file,) = find(Address.of(object_store.put("market.csv", market.path)))
    stood = []

    def harm(method, key, content):
        if not stood:
            stood.append(key)
            time.sleep(4)

    object_store.harm(harm)
    began = time.monotonic()
    assert file.read(0, 100).tobytes() == market.path.read_bytes()[:100]
    assert stood
    assert time.monotonic() - began < 4


def test_a_store_that_only_says_slow_down_is_one_line_after_a_while(object_store, market, monkeypatch):
    monkeypatch.setattr(client, "RETRY", client.RETRY | {"max_retries": 2})
    client._connected.cache_clear()
    address = object_store.put("market.csv", market.path)
    object_store.harm(lambda method, key, content: 503)
    with pytest.raises(RemoteError, match=r"looking at s3://.*/market\.csv failed \(status 503\); check the network"):
        open_source(address)


def test_refused_access_is_one_line_that_shows_no_key(object_store, market):
    address = object_store.put("market.csv", market.path)
    object_store.harm(lambda method, key, content: 403)
    with pytest.raises(RemoteError, match="check the credentials, which come from the environment") as told:
        open_source(address)
    assert SECRET not in str(told.value)
    assert "AKIA" not in str(told.value)


def test_no_connection_is_one_line_within_seconds(object_store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(client, "RETRY", {"max_retries": 1})
    client._connected.cache_clear()
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"failed \(no connection\); check the network, the endpoint"):
        open_source("s3://bucket/market.csv")
    assert time.monotonic() - began < 20


def test_what_is_not_there_is_one_line(object_store):
    for name in ("none.csv", "none/*.csv", "none/"):
        with pytest.raises(DataError, match=r"none.* does not exist, or holds no data files; give a CSV"):
            find_files(object_store.address(name))
    with pytest.raises(DataError, match="does not exist; give files of klines"):
        find_klines(object_store.address("none.csv"))
    with pytest.raises((DataError, RemoteError), match=r"failed \(.*404.*NoSuchBucket\)|does not exist"):
        find_files("s3://there-is-no-such-bucket/market.csv")


def test_hdf5_at_an_address_says_what_to_do(object_store, tmp_path):
    address = object_store.put("m.h5", write_hdf5(tmp_path / "m.h5"))
    with pytest.raises(DataError, match=r"m\.h5 is an HDF5 file, which is read only from this machine"):
        open_source(address)


def test_a_stream_gives_the_bytes_of_its_file_wherever_it_is_read(object_store, small_parts):
    content = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8).tobytes()
    (file,) = find(Address.of(object_store.put("x", content)))
    random, stream = np.random.default_rng(1), file.open()
    for start, length in random.integers(0, [[31_000, 9_000]], (60, 2)).tolist():
        stream.seek(start)
        assert stream.read(length) == content[start : start + length]
    assert stream.seek(-10, 2) == 29_990
    assert stream.read() == content[-10:]


def test_a_stream_read_to_its_end_asks_for_every_byte_once(object_store, small_parts):
    content = bytes(50_000)
    (file,) = find(Address.of(object_store.put("x", content)))
    object_store.requests.clear()
    with file.open() as stream:
        while stream.read(300):
            pass
    assert object_store.fetched() == len(content)


@pytest.mark.parametrize("text", ["ftp://host/x", "s3:///x", "s3://", "https://host/x.csv", "file:///x.csv"])
def test_an_address_of_another_kind_says_which_are_accepted(text):
    with pytest.raises(SettingsError, match=r"is not accepted; expected s3://, gs://, az:// and BUCKET/NAME"):
        Address.of(text)


def test_a_forked_process_says_that_it_cannot_read(object_store, market):
    import multiprocessing

    address = object_store.put("market.csv", market.path)
    open_source(address)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=lambda: answer.put(_told(address)))
    child.start()
    assert re.search("a forked process cannot read from an object store", answer.get(timeout=60))
    child.join(20)
    assert child.exitcode == 0


def _told(address):
    try:
        open_source(address)
    except RemoteError as error:
        return str(error)
    return "it was read"
