"""Microsoft's emulator of Azure Blob Storage, Azurite (npm), where it is installed: `make test-all` installs it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import shutil
import subprocess
from email.utils import formatdate
from pathlib import Path

import pytest

from deeptrade.cluster.local_workers import free_ports
from tests.support.dask import wait_until

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and the key that every Azurite has; they are public."""

_VERSION = "2021-12-02"


def find_azurite() -> str:
    """Return the program; the test skips where there is none."""
    beside = Path(__file__).parents[2] / "node_modules" / ".bin" / "azurite-blob"
    found = str(beside) if beside.exists() else shutil.which("azurite-blob")
    if not found:
        pytest.skip("needs Azurite: npm install --no-save azurite@3, as `make test-all` does")
    return found


def start_azurite(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start it on loopback, its data in memory and its log in a folder; return the process and its endpoint."""
    (port,) = free_ports(1)
    log = folder / "azurite.log"
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [find_azurite(), "--blobHost", "127.0.0.1", "--blobPort", str(port), *options], stdout=file, stderr=file
        )
    wait_until(lambda: b"successfully listens" in log.read_bytes(), what="Azurite")
    return process, f"http://127.0.0.1:{port}/{ACCOUNT}"


def make_container(endpoint: str, name: str) -> None:
    """Make a container, with a request that is signed by the shared key."""
    date, place = formatdate(usegmt=True), f"/{ACCOUNT}/{name}"
    headers = f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    signed = "PUT" + "\n" * 12 + headers + f"/{ACCOUNT}{place}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()
    connection = http.client.HTTPConnection(endpoint.split("/")[2])
    connection.request(
        "PUT",
        f"{place}?restype=container",
        headers={
            "x-ms-date": date,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
            "Content-Length": "0",
        },
    )
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
