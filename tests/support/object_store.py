"""A real S3 server on loopback (moto's), behind a door that counts what passes and can do harm."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

boto3 = pytest.importorskip("boto3", reason="needs the extra: pip install -e '.[cloud-test]', as `make test-all` does")

KEY_ID, SECRET = "AKIATESTTESTTESTTEST", "hunter2-hunter2-hunter2-hunter2-hunter2x"


@dataclass(frozen=True)
class Request:
    """One request that passed: its key without the bucket, the range asked for ('' for all), bytes of the answer."""

    method: str
    key: str
    range: str
    status: int
    answered: int


Harm = Callable[[str, str, bytes], "bytes | int | None"]
"""What is done to an answer, by method, key and content: other content, a status instead, or nothing (None)."""


@dataclass
class ObjectStore:
    """One bucket of the server; `requests` are those that passed through the door since they were last cleared."""

    endpoint: str
    client: object
    bucket: str
    door: Door
    requests: list[Request] = field(default_factory=list)

    def address(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, content: bytes | Path) -> str:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return self.address(key)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def names(self, prefix: str = "") -> list[str]:
        answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for one in answer.get("Contents", [])]

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def harm(self, done: Harm | None) -> None:
        """Do this to every answer from now on."""
        self.door.harm = done

    def fetched(self, part: str = "") -> int:
        """Bytes of objects answered to GET requests, of those keys that hold `part`."""
        return sum(r.answered for r in self.requests if r.method == "GET" and r.key and part in r.key)


class Door(ThreadingHTTPServer):
    """Passes requests on to the server; the client that a test checks with goes past it.

    is_googles: they come in the protocol of Google.
    """

    daemon_threads = True

    def __init__(self, server: tuple[str, int]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_at, self.harm, self.store, self.is_googles = server, None, None, False
        threading.Thread(target=self.serve_forever, daemon=True).start()


def _as_s3(headers: dict[str, str]) -> dict[str, str]:
    """Return headers for an S3 server, of a request in the XML protocol of Google, which is otherwise that of S3.

    The server checks no signature, but reads from it whose buckets are meant.
    """
    given = {name.lower(): value for name, value in headers.items()}
    given["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none"
    )
    if given.pop("x-goog-if-generation-match", "") == "0":
        given["if-none-match"] = "*"
    return given


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        passed = http.client.HTTPConnection(*self.server.server_at)
        given = dict(self.headers)
        passed.request(self.command, self.path, body, _as_s3(given) if self.server.is_googles else given)
        answer = passed.getresponse()
        content = answer.read()
        key = unquote(urlsplit(self.path).path.lstrip("/").partition("/")[2])
        done = self.server.harm(self.command, key, content) if self.server.harm else None
        status = answer.status
        if isinstance(done, int):
            status, content = done, b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        told = answer.getheader("content-length") if self.command == "HEAD" else str(len(content))
        self.send_header("content-length", told or "0")
        self.end_headers()
        if self.server.store:
            asked = self.headers.get("range") or ""
            self.server.store.requests.append(Request(self.command, key, asked, status, len(content)))
        if isinstance(done, bytes):
            content = done
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = isinstance(done, bytes) and len(done) < int(told or 0)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def log_message(self, format: str, *args: object) -> None:
        return


_SERVER = """
import logging, sys, time
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


def start_server() -> tuple[subprocess.Popen, tuple[str, int]]:
    """Start the server in a process of its own, which ends when its input is closed; return where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    host, port = process.stdout.readline().split()
    return process, (host, int(port))


def client_of(server: tuple[str, int]) -> object:
    """A client that goes past the door."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{server[0]}:{server[1]}",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
