"""Writing a synthetic market: MB/s and peak memory, against json.dumps of every cell of the same rows.

    python benchmarks/synth_rate.py [--rows 3000]

The peer formats the windows of each row from numpy arrays by json.dumps, the plain way, and writes them to the same
disk. Memory is measured in fresh processes for a tenth of the rows and for all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER_ROWS = 100


def write_plainly(source: Path, out: Path) -> float:
    """MB/s of json.dumps over the same numbers."""
    import numpy as np

    from deeptrade import open_dataset

    with open_dataset(source, max_rows=PEER_ROWS) as data:
        rows = {name: values.astype(np.float64) for name, values in data.read(np.arange(data.rows)).items()}
    started = time.perf_counter()
    with open(out, "w") as file:
        for row in range(PEER_ROWS):
            file.write(",".join(f'"{json.dumps([values[row].tolist()])}"' for values in rows.values()) + "\n")
    return out.stat().st_size / 1e6 / (time.perf_counter() - started)


def measure(rows: int, out: str) -> dict:
    """In the child: rate and peak anonymous memory."""
    from deeptrade.making.synthetic import synthesize
    from deeptrade.memory import MemoryMonitor

    synthesize(out, rows=1)
    with MemoryMonitor(interval_seconds=0.02) as monitor:
        started = time.perf_counter()
        made = synthesize(out, rows=rows)
        seconds = time.perf_counter() - started
    return {"megabytes_per_second": made.bytes / 1e6 / seconds, "peak_anon_bytes": monitor.peak_anon_bytes}


def in_child(rows: int, out: Path) -> dict:
    command = [sys.executable, __file__, "--child", str(out), "--rows", str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.rows, options.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "market.csv"
        few, many = in_child(options.rows // 10, path), in_child(options.rows, path)
        peer = write_plainly(path, Path(folder) / "plain.csv")
    result = {
        "benchmark": "synth_rate",
        "rows": options.rows,
        "megabytes_per_second": many["megabytes_per_second"],
        "over_json_dumps": many["megabytes_per_second"] / peer,
        "peak_anon_bytes": [few["peak_anon_bytes"], many["peak_anon_bytes"]],
    }
    print(json.dumps(result))
    print(f"{'':24}{'MB/s':>8}{'peak memory':>16}")
    for name, found in ((f"{options.rows // 10} rows", few), (f"{options.rows} rows", many)):
        print(f"{name:24}{found['megabytes_per_second']:>8.0f}{found['peak_anon_bytes'] / 2**20:>12.1f} MiB")
    print(f"{'json.dumps':24}{peer:>8.0f}")


if __name__ == "__main__":
    main()
