"""Reading from an object store: ours beside obstore by hand, against nginx on loopback.

    python benchmarks/object_store.py [--rows 6000] [--nginx PATH]

nginx (on Debian: apt install nginx, or its package unpacked) serves a CSV and its store as an S3 server would: ranged
reads, e-tags, If-Match, and one listing. By hand means: the same text, or the same rows as arrays, asked for by obstore
in the requests that fit it best; no condition, no checksum, nothing kept. Every measurement is a fresh process, in
rounds, so that a busy moment harms all alike; the best counts, of bytes per second and of bytes per second of the
client's processor time, which tells more on a busy machine. The files are in the page cache, and the server has its
share of the same processors. The server of the tests, moto, is too slow for figures: 4 to 14 rows a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

BLOCK = 8 << 20
FEATURES = ["arr_5m", "arr_15m"]
ROUNDS = 5

_CONFIG = """
{user}daemon off; worker_processes 1; pid {root}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; etag on; types {{}} default_type application/octet-stream;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    listen 127.0.0.1:{port}; root {root};
    location = /bucket {{ default_type application/xml; alias {root}/list.xml; }}
  }}
}}
"""


@contextmanager
def served(nginx: str, root: Path) -> Iterator[str]:
    """Serve root/bucket as a bucket on loopback; yields the endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    objects = []
    for path in sorted((root / "bucket").rglob("*")):
        if path.is_file():
            status = path.stat()
            e_tag = f'"{int(status.st_mtime):x}-{status.st_size:x}"'  # as nginx makes them
            key = path.relative_to(root / "bucket")
            objects.append(
                f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{e_tag.replace(chr(34), '&quot;')}</ETag><Size>{status.st_size}</Size></Contents>"
            )
    listing = "".join(objects)
    (root / "list.xml").write_text(f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>")
    user = "user root; " if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(_CONFIG.format(user=user, root=root, port=port))
    server = subprocess.Popen([nginx, "-p", str(root), "-c", str(root / "nginx.conf"), "-e", "stderr"])
    try:
        for _ in range(100):
            with socket.socket() as tried:
                if not tried.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


Rates = tuple[float, float]
"""Bytes per second, and per second of processor time."""


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _rates(done: int, began: tuple[float, float]) -> Rates:
    wall, processor = (now - then for now, then in zip(_clocks(), began, strict=True))
    return done / wall, done / processor


def text_by_hand(threads: int) -> Rates:
    """In the child: bytes per second of a CSV in blocks of 8 MiB, by obstore."""
    import obstore
    from obstore.store import from_url

    bucket = from_url("s3://bucket")
    size = obstore.head(bucket, "market.csv")["size"]
    starts = range(0, size, BLOCK)
    began = _clocks()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(
            len(content)
            for content in pool.map(
                lambda start: obstore.get_range(bucket, "market.csv", start=start, end=min(size, start + BLOCK)), starts
            )
        )
    return _rates(done, began)


def text_by_us(threads: int) -> Rates:
    """In the child: the same through our files, conditional, into buffers that are used again."""
    import numpy as np

    from deeptrade.sources.remote.address import Address
    from deeptrade.sources.remote.files import find
    from deeptrade.sources.text import Scratch

    (file,) = find(Address.of("s3://bucket/market.csv"))
    scratch = Scratch()

    def read(start: int) -> int:
        stop = min(file.size, start + BLOCK)
        return len(file.read(start, stop, scratch.take(stop - start)))

    began = _clocks()
    with ThreadPoolExecutor(threads) as pool:
        done = int(np.sum(list(pool.map(read, range(0, file.size, BLOCK)))))
    return _rates(done, began)


def _windows() -> tuple[list, dict]:
    """Windows of some forty blocks, each block once, in the order of a windowed shuffle; and the store's edges."""
    import numpy as np

    from deeptrade.store.layout import feature_columns, read_manifest
    from deeptrade.store.origin import local_store

    manifest = read_manifest(local_store("s3://bucket/market.dtstore"))
    edges = np.concatenate([[0], np.cumsum(manifest.blocks.usable)])
    columns = dict(zip(manifest.schema.names, feature_columns(manifest.schema), strict=True))
    order = np.random.default_rng(0).permutation(len(edges) - 1)
    windows = [np.sort(some) for some in np.array_split(order, max(1, len(order) // 40))]
    return [(edges[some], edges[some + 1]) for some in windows], columns


def store_by_hand() -> Rates:
    """In the child: bytes per second of two features' blocks, window by window, by obstore's joined ranges."""
    import numpy as np
    import obstore
    from obstore.store import from_url

    windows, columns = _windows()
    bucket, done = from_url("s3://bucket"), 0
    began = _clocks()
    with ThreadPoolExecutor(2) as pool:
        for starts, stops in windows:

            def fetch(name: str, starts: object = starts, stops: object = stops) -> int:
                stride = columns[name].stride
                ranges = {"starts": [int(s) * stride for s in starts], "ends": [int(s) * stride for s in stops]}
                key = f"market.dtstore/{columns[name].file}"
                parts = obstore.get_ranges(bucket, key, **ranges)
                return np.concatenate([np.frombuffer(part, np.float32) for part in parts]).nbytes

            done += sum(pool.map(fetch, FEATURES))
    return _rates(done, began)


def store_by_us(again: bool = False) -> Rates:
    """In the child: the same rows as arrays, checked and kept in the cache; `again`: read from there."""
    import numpy as np

    from deeptrade import open_store

    windows, _ = _windows()
    with open_store("s3://bucket/market.dtstore") as data:
        rows = [np.concatenate([np.arange(a, b) for a, b in zip(*edges, strict=True)]) for edges in windows]
        if again:
            for some in rows:
                data.read(some, FEATURES)
        began = _clocks()
        done = sum(values.nbytes for some in rows for values in data.read(some, FEATURES).values())
        return _rates(done, began)


def compiled(data: str) -> Rates:
    """In the child: bytes of text per second of one compile."""
    from deeptrade.store import compile_store
    from deeptrade.store.locate import locate

    with tempfile.TemporaryDirectory() as folder:
        began = _clocks()
        compile_store(data, store=Path(folder) / "b.dtstore")
        return _rates(locate(data).opened().file_bytes, began)


MEASURED = {
    "text, by hand": "text_by_hand(4)",
    "text, ours": "text_by_us(4)",
    "store, by hand": "store_by_hand()",
    "store, ours": "store_by_us()",
    "store, ours, second epoch": "store_by_us(again=True)",
    "compile from there": "compiled('s3://bucket/market.csv')",
    "compile from here": "compiled({local!r})",
}


def measure(code: str, endpoint: str, folder: Path) -> Rates:
    """One fresh process with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        given = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true"}
        environment = {**os.environ, **given, "AWS_REGION": "us-east-1", "XDG_CACHE_HOME": cache}
        command = [sys.executable, __file__, "--child", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        wall, processor = json.loads(done.stdout.splitlines()[-1])
        return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--nginx", default=shutil.which("nginx") or "/usr/sbin/nginx")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(eval(options.child)))
        return
    if not Path(options.nginx).exists():
        parser.exit(2, f"{options.nginx} is not there; install nginx, or give --nginx PATH\n")
    from deeptrade.making.synthetic import synthesize
    from deeptrade.store import compile_store

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "bucket"
        folder.mkdir()
        os.chmod(root, 0o755)
        synthesize(folder / "market.csv", rows=options.rows)
        compile_store(folder / "market.csv", store=folder / "market.dtstore")
        with served(options.nginx, Path(root)) as endpoint:
            local, found = str(folder / "market.csv"), dict.fromkeys(MEASURED, (0.0, 0.0))
            for _ in range(ROUNDS):
                for name, code in MEASURED.items():
                    rates = measure(code.format(local=local), endpoint, Path(root))
                    found[name] = (max(found[name][0], rates[0] / 1e6), max(found[name][1], rates[1] / 1e6))
    shares = {
        kind: [ours / hand for ours, hand in zip(found[f"{kind}, ours"], found[f"{kind}, by hand"], strict=True)]
        for kind in ("text", "store")
    }
    print(json.dumps({"megabytes_per_second": found, "ours_of_by_hand": shares}))
    print(f"{'':<28}{'MB/s':>8}{'MB per s of processor':>24}")
    for name, (wall, processor) in found.items():
        print(f"{name:<28}{wall:>8.0f}{processor:>24.0f}")
    for kind, (wall, processor) in shares.items():
        print(f"{kind}: ours of obstore by hand {wall:.2f}, by processor time {processor:.2f}")


if __name__ == "__main__":
    main()
