"""Building rows from klines: bars read per second and peak memory, against pandas reading the same file as text.

    python benchmarks/build_rate.py [--bars 1500000]

The klines are a seeded walk of one-minute bars in the twelve columns of the exchange's archives, 148 MB at the default.
Rows are made every four hours, so that reading weighs. Each side runs in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

START = 1_609_459_200_000


def write_klines(path: Path, bars: int) -> None:
    generator = np.random.default_rng(0)
    close = 100 * np.exp(generator.normal(0, 1e-4, bars).cumsum())
    opened = np.concatenate([[100.0], close[:-1]])
    volume = generator.lognormal(3, 1, bars).round(3)
    times = START + 60_000 * np.arange(bars)
    columns = {
        "open_time": times,
        "open": opened.round(4),
        "high": (np.maximum(opened, close) * 1.0001).round(4),
        "low": (np.minimum(opened, close) * 0.9999).round(4),
        "close": close.round(4),
        "volume": volume,
        "close_time": times + 59_999,
        "quote_volume": (volume * close).round(3),
        "count": (volume * 3).astype(int),
        "taker_buy_volume": (volume / 2).round(3),
        "taker_buy_quote_volume": (volume * close / 2).round(3),
        "ignore": 0,
    }
    pd.DataFrame(columns).to_csv(path, index=False)


def measure(kind: str, path: str) -> dict:
    """In the child: seconds and peak anonymous memory."""
    from deeptrade.making.klines import build
    from deeptrade.memory import MemoryMonitor

    with MemoryMonitor(interval_seconds=0.02) as monitor:
        started = time.perf_counter()
        if kind == "build":
            out = Path(path).with_name("rows.csv")
            build([path], out=out, timeframes=("5min", "15min", "1h"), window=20, step="4h")
        else:
            pd.read_csv(path, dtype=str, keep_default_na=False)
        seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "peak_anon_bytes": monitor.peak_anon_bytes}


def in_child(kind: str, path: Path) -> dict:
    command = [sys.executable, __file__, "--child", kind, "--file", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_500_000)
    parser.add_argument("--child", choices=["build", "pandas as text"])
    parser.add_argument("--file")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "BTCUSDT-1m.csv"
        write_klines(path, options.bars)
        found = {kind: in_child(kind, path) for kind in ("build", "pandas as text")}
        size = path.stat().st_size
    print(json.dumps({"bars": options.bars, "bytes": size, **found}))
    print(f"\n{options.bars:,} bars, {size / 1e6:.0f} MB\n\n| side | seconds | peak anonymous memory |\n|---|---|---|")
    for kind, result in found.items():
        print(f"| {kind} | {result['seconds']} | {result['peak_anon_bytes'] / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
