"""What bounds each step from 1 to 64 workers and from 6.4 GB to 10 TB, on paper.

    python benchmarks/scaling.py [--measure] [--parse 469e6] [--step_rows 1024] [--network 1.25e9] [...]

A simulation, not a measurement: nothing here ran on more than one machine. Its assumptions are printed first; each is
an option. Figures of one machine are those of benchmarks/README.md; --measure takes parsing and gathering anew, on
small data on this machine. Four steps are told apart:

    compile  once: the source comes through the network, is parsed, and the store is written
    fetch    the first epoch of a machine: its rows come through the network into its cache
    gather   later epochs: rows come from memory where the machine's share fits there, else from its disk
    step     passes on every worker, the slowest is waited for, then one all-reduce over a ring

Reading overlaps computing, so a step takes the longer of the two, and then the all-reduce. Next to buy is that of which
twice as much shortens compile and epochs most; where nothing saves 5%, nothing. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

WORKERS = (1, 2, 4, 8, 16, 32, 64)
SIZES = (6.4e9, 100e9, 1e12, 10e12)
SIMULATED_STEPS = 400
WORTH = 0.05


def assumed(value: float, why: str) -> Any:
    """A field with where its value comes from."""
    return field(default=value, metadata={"why": why})


@dataclass(frozen=True)
class Assumptions:
    """One worker is one machine. Rates are bytes a second unless the name says otherwise."""

    parse: float = assumed(469e6, "bytes/s of text to store on one core: half of 938 MB/s with two (compile_rate.py)")
    cores: int = assumed(2, "processors of a machine, as measured on")
    gather: float = assumed(1.8e9, "bytes/s, checksums too: 67,907 rows/s of 26.5 kB (large_file.py)")
    pass_ms: float = assumed(
        2.3, "fixed part of a pass: 2.98 ms at 4 rows, 45.2 at 256 (step_time.py, multiscale small)"
    )
    row_ms: float = assumed(0.168, "each row of a pass: the same line")
    network: float = assumed(1.25e9, "bytes/s of a machine's link, 10 Gbit/s; not measured")
    source: float = assumed(12.5e9, "bytes/s of the source to all together, 100 Gbit/s; not measured")
    disk: float = assumed(2e9, "bytes/s of a machine's NVMe disk; not measured")
    memory: float = assumed(16e9, "bytes of page cache of a machine; not measured")
    hop_ms: float = assumed(1.1, "one hop of the ring: 4.1 and 6.2 ms for 1.1 and 2.3 MB, 2 on loopback (workers.py)")
    ring: float = assumed(570e6, "bytes/s of a hop: the same; at most the network's")
    reduced: float = assumed(2.3e6, "bytes of a step's vector, float64 (workers.py, recurrent small)")
    jitter: float = assumed(0.05, "deviation of a worker's time for equal passes; not measured")
    step_rows: int = assumed(1024, "rows of an optimizer step over all workers, the same for any number of them")
    batch_size: int = assumed(256, "most rows of a pass")
    epochs: int = assumed(10, "epochs to train")
    text_row: float = assumed(109_900, "bytes of a row's text")
    store_row: float = assumed(26_500, "bytes of a row in the store")


BUY = {
    "processors": ("cores",),
    "compute": ("pass_ms", "row_ms"),
    "network": ("network",),
    "source": ("source",),
    "disk": ("disk",),
    "memory": ("memory",),
    "all-reduce": ("hop_ms", "ring"),
}
"""What can be bought, and what twice as much of it changes."""


def longest(parts: dict[str, float]) -> tuple[str, float]:
    bound = max(parts, key=lambda name: parts[name])
    return bound, parts[bound]


def compile_parts(one: Assumptions, workers: int, size: float) -> dict[str, float]:
    """Seconds of each part of compiling, over all workers; the longest is the bound."""
    written = size * one.store_row / one.text_row
    return {
        "network": size / (workers * one.network),
        "source": size / one.source,
        "parse": size / (workers * one.cores * one.parse),
        "write": written / (workers * one.disk),
    }


def reduce_seconds(one: Assumptions, workers: int) -> float:
    """A ring: 2 (n - 1) hops, each with an n-th of the vector."""
    hop = one.hop_ms / 1e3 + one.reduced / workers / min(one.ring, one.network)
    return 2 * (workers - 1) * hop if workers > 1 else 0.0


def epoch(one: Assumptions, workers: int, size: float, *, first: bool) -> tuple[str, float, float]:
    """Simulate steps; return what bounds an epoch, its seconds, and the share of them in the all-reduce."""
    rows = size / one.text_row
    share = one.step_rows / workers
    passes = np.ceil(share / one.batch_size)
    compute = (passes * one.pass_ms + share * one.row_ms) / 1e3
    noise = np.random.default_rng(0).lognormal(-(one.jitter**2) / 2, one.jitter, (SIMULATED_STEPS, workers))
    slowest = float((compute * noise).max(axis=1).mean())
    nbytes = share * one.store_row
    held = rows * one.store_row / workers <= one.memory
    rate = one.gather if held else min(one.gather, one.disk)
    reading = {"gather" if held else "disk": nbytes / rate}
    if first:
        reading |= {"network": nbytes / one.network, "source": nbytes * workers / one.source}
    reduced = reduce_seconds(one, workers)
    waited = {**reading, "compute": slowest}
    seconds = longest(waited)[1] + reduced
    bound = longest({**waited, "all-reduce": reduced})[0]
    return bound, rows / one.step_rows * seconds, reduced / seconds


def whole(one: Assumptions, workers: int, size: float) -> float:
    """Seconds of compile and all epochs."""
    later = (one.epochs - 1) * epoch(one, workers, size, first=False)[1]
    return longest(compile_parts(one, workers, size))[1] + epoch(one, workers, size, first=True)[1] + later


def doubled(one: Assumptions, names: tuple[str, ...]) -> Assumptions:
    """Twice as much of it: times halve, rates and amounts double."""
    return replace(one, **{name: getattr(one, name) * (0.5 if name.endswith("_ms") else 2) for name in names})


def next_to_buy(one: Assumptions, workers: int, size: float) -> tuple[str, float]:
    """What shortens the whole most when there is twice as much of it, and by which share."""
    before = whole(one, workers, size)
    saved = {name: 1 - whole(doubled(one, names), workers, size) / before for name, names in BUY.items()}
    best, share = longest(saved)
    return (best, share) if share >= WORTH else ("nothing", share)


def cell(one: Assumptions, workers: int, size: float) -> dict:
    compile_bound, compile_seconds = longest(compile_parts(one, workers, size))
    first_bound, first_seconds, _ = epoch(one, workers, size, first=True)
    bound, seconds, reduced = epoch(one, workers, size, first=False)
    buy, saves = next_to_buy(one, workers, size)
    return {
        "gigabytes": size / 1e9,
        "workers": workers,
        "compile_seconds": compile_seconds,
        "compile_bound": compile_bound,
        "first_epoch_seconds": first_seconds,
        "first_epoch_bound": first_bound,
        "epoch_seconds": seconds,
        "epoch_bound": bound,
        "reduce_share": reduced,
        "speed_up": whole(one, 1, size) / whole(one, workers, size),
        "buy": buy,
        "saves": saves,
    }


def measured(rows: int = 3000) -> dict[str, float]:
    """Parsing and gathering on this machine, on small data: bytes a second."""
    from deeptrade import compile_store, open_store
    from deeptrade.making.synthetic import synthesize

    with tempfile.TemporaryDirectory() as folder:
        data, store = Path(folder) / "market.csv", Path(folder) / "market.dtstore"
        synthesize(data, rows=rows, seed=7)
        compile_store(data, store=Path(folder) / "warm.dtstore")
        began = time.perf_counter()
        compile_store(data, store=store)
        parse = data.stat().st_size / (time.perf_counter() - began) / (os.cpu_count() or 1)
        with open_store(store) as dataset:
            began = time.perf_counter()
            reader = dataset.batches(batch_size=32, split="all", shuffle=True)
            for _ in reader.stream(0):
                pass
            gather = rows * dataset.schema.row_bytes / (time.perf_counter() - began)
    return {"parse": parse, "gather": gather}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Assumptions):
        parser.add_argument(f"--{one.name}", type=type(one.default), default=one.default, help=one.metadata["why"])
    parser.add_argument("--measure", action="store_true", help="take parsing and gathering anew on this machine")
    given = vars(parser.parse_args())
    anew = measured() if given.pop("measure") else {}
    one = Assumptions(**given | anew)
    print("Assumptions (one worker is one machine)")
    for item in fields(one):
        value = getattr(one, item.name)
        why = "measured now" if item.name in anew else item.metadata["why"]
        print(f"  {item.name:<11}{value:>16,.12g}  {why}")
    cells = [cell(one, workers, size) for size in SIZES for workers in WORKERS]
    names = ("GB", "workers", "compile, s", "bound", "first epoch, s", "bound", "epoch, s", "bound", "all-reduce")
    print("| " + " | ".join((*names, "speed-up", "next")) + " |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for found in cells:
        print(
            f"| {found['gigabytes']:,g} | {found['workers']} "
            f"| {found['compile_seconds']:,.1f} | {found['compile_bound']} "
            f"| {found['first_epoch_seconds']:,.1f} | {found['first_epoch_bound']} | {found['epoch_seconds']:,.1f} "
            f"| {found['epoch_bound']} | {found['reduce_share']:.0%} | {found['speed_up']:.1f} "
            f"| {found['buy']} ({found['saves']:.0%}) |"
        )
    print(json.dumps({"benchmark": "scaling", "assumptions": asdict(one), "cells": cells}))


if __name__ == "__main__":
    main()
