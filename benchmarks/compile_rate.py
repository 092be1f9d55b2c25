"""Text to store: the rate of `compile`, writing and checksums included, against parsing alone in plain Python.

    python benchmarks/compile_rate.py [--rows 40000] [--workers 2]

The file is in the original's layout and lies in the page cache. Every measurement is a fresh process. The peers read
its first rows in one process: csv with json and numpy.asarray, and with orjson where that is installed (pip install
orjson). The parser alone, on one thread, tells what bounds the rate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER_ROWS = 600


def compile_once(path: str, workers: int) -> dict:
    """In the child: bytes per second of one compile from nothing."""
    from deeptrade.store import compile_store

    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        started = time.perf_counter()
        compile_store(path, store=Path(folder) / "b.dtstore", workers=workers)
        return {"rate": Path(path).stat().st_size / (time.perf_counter() - started)}


def compile_watched(path: str, workers: int) -> dict:
    """In the child: what one compile holds at most; apart, as looking every 20 ms costs some percent of the rate."""
    from deeptrade.memory import MemoryMonitor

    with MemoryMonitor(interval_seconds=0.02) as monitor:
        compile_once(path, workers)
    return {"peak_anon_bytes": monitor.peak_anon_bytes}


def parse_alone(path: str) -> dict:
    """In the child: the compiled parser on one thread, records in memory."""
    import numpy as np

    from deeptrade.sources import kernels
    from deeptrade.sources.kinds import open_source

    source = open_source(path)
    data = source.files[0].read(0, min(source.file_bytes, 64 << 20))
    starts, ends, lines = (np.empty(1 << 16, np.int64) for _ in range(3))
    kernels.find_records(data, 0, len(data), 1, starts, ends, lines)
    count, _, _ = kernels.find_records(data, 0, len(data) - (1 << 20), 1, starts, ends, lines)
    from deeptrade.sources.records import Text

    text = Text(data, starts[1:count], ends[1:count])
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        source.parser.parse([(text, np.arange(len(text)))], source.schema.features)
        best = max(best, float((text.ends - text.starts).sum()) / (time.perf_counter() - started))
    return {"rate": best}


def read_plainly(path: str, library: str) -> dict:
    """In the child: the first rows by csv and json or orjson, every array through numpy.asarray to float32."""
    import csv

    import numpy as np

    loads = __import__(library).loads
    csv.field_size_limit(1 << 30)
    size, rows = 0, 0
    started = time.perf_counter()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        features = [number for number, name in enumerate(header) if name.startswith("arr_")]
        targets = [number for number, name in enumerate(header) if name.startswith("y_")]
        for cells in reader:
            for number in features:
                np.asarray(loads(cells[number]), np.float32)
            np.asarray([float(cells[number]) for number in targets], np.float32)
            size += sum(map(len, cells)) + len(cells) + 2 * len(features)
            rows += 1
            if rows == PEER_ROWS:
                break
    return {"rate": size / (time.perf_counter() - started)}


CHILDREN = {
    "compile": compile_once,
    "watched": compile_watched,
    "parser": lambda path, workers: parse_alone(path),
    "json": lambda path, workers: read_plainly(path, "json"),
    "orjson": lambda path, workers: read_plainly(path, "orjson"),
}


def in_child(kind: str, path: Path, workers: int) -> dict | None:
    command = [sys.executable, __file__, "--child", kind, "--data", str(path), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "No module named 'orjson'" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--data", help="a CSV in the original's layout, instead of making one")
    parser.add_argument("--child", choices=CHILDREN)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.data, options.workers)))
        return
    from deeptrade.making.synthetic import synthesize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.data or Path(folder) / "market.csv")
        if not options.data:
            synthesize(path, rows=options.rows)
        subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
        # Interleaved, so that a busy spell of the machine meets all of them; the best of each counts.
        runs: dict[str, list[dict]] = {kind: [] for kind in CHILDREN}
        for _ in range(options.repeat):
            for kind in ("compile", "parser", "json", "orjson"):
                found = in_child(kind, path, options.workers)
                runs[kind] += [found] if found else []
        peak = (in_child("watched", path, options.workers) or {})["peak_anon_bytes"]
        size = path.stat().st_size
    best = {kind: max(found["rate"] for found in several) for kind, several in runs.items() if several}
    result = {
        "benchmark": "compile_rate",
        "bytes": size,
        "workers": options.workers,
        "rates": best,
        "over_json": best["compile"] / best["json"],
        "over_orjson": best["compile"] / best["orjson"] if "orjson" in best else None,
        "peak_anon_bytes": peak,
    }
    print(json.dumps(result))
    names = {
        "compile": f"compile, {options.workers} workers",
        "parser": "parser alone, 1 thread",
        "json": "csv + json + asarray",
        "orjson": "csv + orjson + asarray",
    }
    print(f"{'':28}{'MB/s':>8}{'compile is':>14}")
    for kind, rate in best.items():
        print(f"{names[kind]:28}{rate / 1e6:>8.0f}{best['compile'] / rate:>12.1f} x")
    print(f"peak anonymous memory of compile: {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
