"""What watching memory costs: one sample's time, and the monitor's share of one core, alone and beside work.

    python benchmarks/monitor_overhead.py [--seconds 5]

The share is CPU time of the sampling thread over wall time at the default interval. `work_slowdown` compares the
same arithmetic with and without the monitor, best of three. Peers: a bare loop that asks psutil for the resident
bytes, and one that reads smaps_rollup, both at the same interval.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from deeptrade.memory import MemoryMonitor
from deeptrade.notebook.cell_memory import CELL_SECONDS

INTERVAL_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    held = np.ones(64 << 20)  # 512 MiB, so that page walks have something to walk
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.jsonl"
        share = monitor_share(path, seconds, INTERVAL_SECONDS)
        cell_share = monitor_share(None, seconds, CELL_SECONDS)
        sample_seconds = time_of_sample(path)
        slowdown = work_slowdown(path, seconds)
    peers = {"psutil rss": psutil.Process().memory_info, "smaps_rollup": read_smaps}
    peer_shares = {name: call_seconds(call) / INTERVAL_SECONDS for name, call in peers.items()}
    result = {
        "benchmark": "monitor_overhead",
        "held_bytes": held.nbytes,
        "interval_seconds": INTERVAL_SECONDS,
        "sample_microseconds": round(sample_seconds * 1e6, 1),
        "share_of_one_core": round(share, 6),
        "share_in_cells": round(cell_share, 6),
        "work_slowdown": round(slowdown, 4),
        **{f"share_{name.replace(' ', '_')}": round(value, 6) for name, value in peer_shares.items()},
    }
    print(json.dumps(result))
    print(f"{'who':<28}{'share of one core':>18}")
    print(f"{'MemoryMonitor (all it does)':<28}{share:>18.3%}")
    print(f"{f'in %%memory, every {CELL_SECONDS} s':<28}{cell_share:>18.3%}")
    for name, value in peer_shares.items():
        print(f"{name + ' (one number)':<28}{value:>18.3%}")


def monitor_share(path: Path | None, seconds: float, interval_seconds: float) -> float:
    """CPU seconds of the whole idle process per wall second while the monitor runs: an upper bound of its own."""
    with MemoryMonitor(path, interval_seconds=interval_seconds):
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(seconds)
        return (time.process_time() - cpu) / (time.perf_counter() - wall)


def time_of_sample(path: Path) -> float:
    with MemoryMonitor(path, interval_seconds=3600) as monitor:
        return call_seconds(monitor.sample)


def call_seconds(call: Callable[[], object], times: int = 200) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def read_smaps() -> bytes:
    return Path("/proc/self/smaps_rollup").read_bytes()


def work_slowdown(path: Path, seconds: float) -> float:
    """Time of the same Python loop with the monitor over that without; best of three of each, taken in turn."""
    plain, watched = [], []
    for _ in range(3):
        plain.append(time_work(seconds / 5))
        with MemoryMonitor(path, interval_seconds=INTERVAL_SECONDS):
            watched.append(time_work(seconds / 5))
    assert threading.active_count() == 1
    return min(watched) / min(plain)


def time_work(seconds: float) -> float:
    """Seconds for a fixed amount of work that takes about `seconds` on the machine this was written on."""
    started = time.perf_counter()
    total = 0
    for number in range(int(seconds * 15_000_000)):
        total += number & 7
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
