"""Google's and Microsoft's object stores: addresses, credentials, errors, and what a server of theirs gives back.

Google's XML protocol is that of S3 but for two headers, so the S3 server answers it; Azurite is Microsoft's own.
"""

import json

import numpy as np
import pytest

from deeptrade.cli import main
from deeptrade.data.opening import open_dataset
from deeptrade.errors import RemoteError, SettingsError
from deeptrade.sources.remote import client
from deeptrade.sources.remote.address import Address
from deeptrade.store import compile_store, verify_store
from tests.support.azurite import ACCOUNT, KEY, make_container, start_azurite
from tests.support.stores import contents

SECRET = "aHVudGVyMi1odW50ZXIy"
CLOSED = "http://127.0.0.1:1"


def google_key(endpoint=CLOSED, **change):
    about = {"client_email": "a@b", "private_key": SECRET, "private_key_id": SECRET, "disable_oauth": True}
    return json.dumps(about | {"gcs_base_url": endpoint} | change)


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.setattr(client, "RETRY", client.RETRY | {"max_retries": 0})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client._connected.cache_clear()
    yield
    client._connected.cache_clear()


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_an_address_is_a_scheme_a_bucket_and_a_name(scheme):
    address = Address.of(f"{scheme}://bucket//deep/market.csv")
    assert (address.scheme, address.bucket, address.key) == (scheme, "bucket", "deep/market.csv")
    assert str(address) == f"{scheme}://bucket/deep/market.csv"


@pytest.mark.parametrize("text", ["gcs://bucket/x", "abfs://bucket/x", "adl://bucket/x", "https://account/x"])
def test_other_spellings_are_refused_with_those_that_are_accepted(text):
    with pytest.raises(SettingsError, match="expected s3://, gs://, az:// and BUCKET/NAME"):
        Address.of(text)


@pytest.mark.parametrize(
    ("scheme", "kind", "environment"),
    [
        ("gs", "GCSStore", {"GOOGLE_SERVICE_ACCOUNT_KEY": google_key()}),
        ("az", "AzureStore", {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": SECRET}),
    ],
)
def test_a_store_is_made_with_the_credentials_of_the_environment(monkeypatch, scheme, kind, environment):
    pytest.importorskip("obstore", reason="needs the extra: pip install -e '.[cloud]'")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = client._connect(Address.of(f"{scheme}://bucket/x"))
    assert type(store).__name__ == kind
    assert "bucket" in store.config.values()


FAULTY = {
    "gs, no JSON": ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": SECRET}, "check the credentials"),
    "gs, no key": ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": google_key(disable_oauth=False)}, "check the credentials"),
    "gs, no file": ("gs", {"GOOGLE_SERVICE_ACCOUNT": f"/nowhere/{SECRET}.json"}, "check the credentials"),
    "gs, nobody": (
        "gs",
        {"GOOGLE_SERVICE_ACCOUNT_KEY": google_key(), "GOOGLE_ALLOW_HTTP": "true"},
        "(no connection); check the network",
    ),
    "gs, no TLS": ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": google_key()}, "needs GOOGLE_ALLOW_HTTP=true"),
    "az, no account": ("az", {}, "check the credentials"),
    "az, no key": ("az", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": f"{SECRET}!"}, "credentials"),
    "az, nobody": (
        "az",
        {
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_SAS_TOKEN": f"sig={SECRET}&se=2030",
            "AZURE_STORAGE_ENDPOINT": f"{CLOSED}/account",
            "AZURE_ALLOW_HTTP": "true",
        },
        "(no connection); check the network",
    ),
}


@pytest.mark.parametrize("case", FAULTY)
def test_an_error_is_one_line_that_names_what_to_mend_and_nothing_secret(monkeypatch, capsys, case):
    pytest.importorskip("obstore", reason="needs the extra: pip install -e '.[cloud]'")
    scheme, environment, words = FAULTY[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["compile", f"{scheme}://bucket/market.csv"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"{scheme}://bucket/market.csv" in said.err
    assert words in said.err
    assert "AWS_" not in said.err
    assert SECRET not in said.err + said.out


@pytest.fixture
def google(object_store, monkeypatch):
    """The bucket of the S3 server as one of Google's."""
    object_store.door.is_googles = True
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", google_key(object_store.endpoint))
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    return f"gs://{object_store.bucket}"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    process, endpoint = start_azurite(tmp_path_factory.mktemp("azurite"))
    make_container(endpoint, "bucket")
    yield endpoint
    process.kill()
    process.wait()


@pytest.fixture
def azure(azurite, monkeypatch):
    pytest.importorskip("obstore", reason="needs the extra: pip install -e '.[cloud]'")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    return "az://bucket"


@pytest.fixture(params=["google", pytest.param("azure", marks=pytest.mark.slow)])
def bucket(request):
    """The address of a bucket of each kind in turn."""
    return request.getfixturevalue(request.param)


def put(address, content):
    client.put(Address.of(address), content)
    return address


def test_a_file_gives_the_store_that_it_gives_from_here(bucket, bad_market, tmp_path, small_blocks):
    address = put(f"{bucket}/file/market.csv", bad_market.path)
    here = compile_store(bad_market.path, store=tmp_path / "here.dtstore", max_bad_rows=0.1)
    assert contents(compile_store(address, store=tmp_path / "there.dtstore", max_bad_rows=0.1)) == contents(here)


def test_a_folder_names_its_files_and_no_deeper_ones(bucket, bad_market):
    for name in ("a.csv", "b.csv", "deeper/c.csv"):
        put(f"{bucket}/folder/{name}", bad_market.path)
    found = client.listed(Address.of(f"{bucket}/folder"), deep=False)
    assert [one.address.name for one in found] == ["a.csv", "b.csv"]


def test_a_store_is_published_once_read_and_verified(bucket, market, tmp_path, small_blocks, monkeypatch):
    address = f"{bucket}/store/market.dtstore"
    compile_store(market.path, store=address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))  # another machine
    assert verify_store(address) == []
    with open_dataset(address) as data:
        np.testing.assert_allclose(data.read(np.arange(60))["arr_ctx"], market.features["arr_ctx"][:, 0], rtol=1e-6)
    with pytest.raises(RemoteError, match="is there already"):
        client.put(Address.of(f"{address}/manifest.json"), b"{}", create=True)


def test_what_is_overwritten_while_it_is_read_is_told(bucket, market):
    address = Address.of(put(f"{bucket}/changing/market.csv", market.path))
    found = client.head(address)
    put(str(address), b"x" * found.size)
    with pytest.raises(client.ChangedError, match="was overwritten while it was read; run again"):
        client.get(found, 0, 10)
    client.delete([address])
    assert client.head(address) is None
