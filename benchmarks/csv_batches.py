"""Shuffled batches straight from a CSV, nothing compiled: rows per second on one core, and peak memory.

    python benchmarks/csv_batches.py [--rows 1000 20000]

Each measurement is a fresh child process held to one core. The peer reads the same rows through the same index
with the standard library's csv and json and numpy, one core too. Peaks are anonymous memory above that of the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH_SIZE = 32
MOST_PEER_ROWS = 500


def measure(path: str, peer: bool) -> dict:
    """In the child: rows per second of one shuffled epoch, and the peak over the imports."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from deeptrade.data.batches import BatchReader
    from deeptrade.data.opening import open_dataset
    from deeptrade.memory import MemoryMonitor

    with MemoryMonitor(interval_seconds=0.02) as monitor, open_dataset(path) as data:
        reader = BatchReader(data, data.usable, batch_size=BATCH_SIZE, prefetch=0)
        reader.batch(0)
        started = time.perf_counter()
        if peer:
            rows = read_plainly(data, reader.epoch_rows(0, 0, MOST_PEER_ROWS))
        else:
            rows = sum(len(batch.row_ids) for batch in reader.stream(0))
        seconds = time.perf_counter() - started
    return {
        "rows_per_second": rows / seconds,
        "peak_over_imports": monitor.peak_anon_bytes - monitor.baseline_anon_bytes,
    }


def read_plainly(data, rows) -> int:
    """The same rows by csv.reader, json.loads and np.asarray."""
    import csv

    import numpy as np

    csv.field_size_limit(1 << 30)
    for row in rows:
        text = data._contents.record(int(row)).decode()
        cells = next(csv.reader([text]))
        for cell in cells[1 : 1 + len(data.schema.features)]:
            np.asarray(json.loads(cell), np.float32)
    return len(rows)


def in_child(path: Path, *, peer: bool = False) -> dict:
    command = [sys.executable, __file__, "--child", str(path)] + (["--peer"] if peer else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[1000, 20_000])
    parser.add_argument("--child")
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.peer)))
        return
    from deeptrade.making.synthetic import synthesize

    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for rows in options.rows:
            path = Path(folder) / f"{rows}.csv"
            synthesize(path, rows=rows)
            path.read_bytes() if rows < 2000 else subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
            found[rows] = in_child(path)
        peer = in_child(Path(folder) / f"{options.rows[0]}.csv", peer=True)
    small, large = (found[rows] for rows in options.rows)
    result = {
        "benchmark": "csv_batches",
        "rows": options.rows,
        "rows_per_second": [small["rows_per_second"], large["rows_per_second"]],
        "large_over_small": large["rows_per_second"] / small["rows_per_second"],
        "over_csv_json_numpy": small["rows_per_second"] / peer["rows_per_second"],
        "peak_over_imports": [small["peak_over_imports"], large["peak_over_imports"]],
    }
    print(json.dumps(result))
    print(f"{'':24}{'rows/s':>10}{'peak over imports':>20}")
    for name, line in (
        (f"{options.rows[0]} rows", small),
        (f"{options.rows[1]} rows", large),
        ("csv + json + numpy", peer),
    ):
        print(f"{name:24}{line['rows_per_second']:>10,.0f}{line['peak_over_imports'] / 2**20:>16,.1f} MiB")


if __name__ == "__main__":
    main()
