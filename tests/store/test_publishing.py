"""Stores are published whole to an object store, by one publisher, whatever is killed."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from deeptrade.data.opening import open_dataset, open_store
from deeptrade.errors import DataError, SettingsError
from deeptrade.sources.remote import client
from deeptrade.store import compile_store, verify_store
from deeptrade.store import origin as origin_module
from deeptrade.store.export import export_parquet
from deeptrade.store.layout import LEDGER, MANIFEST
from tests.support.remote_stores import assert_same_rows, child, forget, local_of
from tests.support.stores import contents


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


def test_a_store_copied_there_by_other_means_is_read(object_store, seven, tmp_path):
    local = local_of(seven, tmp_path)
    for path in local.iterdir():
        object_store.put(f"copied/{path.name}", path)
    with open_dataset(object_store.address("copied")) as there, open_store(local) as here:
        assert_same_rows(there, here)


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


_PUBLISH = """
import sys
from deeptrade.sources import csv
csv.BLOCK_BYTES = 256 << 10
from deeptrade.store import compile_store
compile_store(sys.argv[1], store=sys.argv[2])
"""


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
