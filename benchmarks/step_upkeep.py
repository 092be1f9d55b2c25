"""What looking after memory costs a training step: marks of phases, garbage collection, the leak watch.

    python benchmarks/step_upkeep.py [--model_sizes tiny small] [--steps 200]

Two trainers of the same model take turns on a small synthetic market, one with phases marked, one without; the
collector and the leak watch run after every step. Prints milliseconds of a step (median), the share of each, and the
largest single collection in median steps, then one JSON line. Peer: Python's own full collection, which may come at any
step.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from deeptrade import compile_store, open_store
from deeptrade.making.synthetic import synthesize
from deeptrade.memory import Collector, LeakWatch, StepMemory
from deeptrade.settings import MODEL_SIZES, FitSettings
from deeptrade.training.assembly import build_trainer, target_scale

WARM_UP = 12


def seconds_of(call, *arguments) -> float:
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def measure(store: Path, model_size: str, steps: int) -> dict[str, float]:
    settings = FitSettings(csv=str(store), model_size=model_size)
    watch, collector = LeakWatch(), Collector()
    times: dict[str, list[float]] = {name: [] for name in ("marked", "plain", "collect", "watch")}
    with open_store(store) as data:
        rows = data.split(settings.val_ratio).train
        scale = target_scale(data.read_targets(rows.numbers()))
        make = {"marked": StepMemory(), "plain": None}
        reader = data.batches(batch_size=settings.batch_size, split="train")
        streams = {}
        for name, memory in make.items():
            trainer = build_trainer(settings, data, rows, scale=scale, precision="float32", memory=memory)
            streams[name] = (record for epoch in range(1000) for record in trainer.train(reader, epoch=epoch))
        for step in range(1, WARM_UP + steps + 1):
            for name, stream in streams.items():
                times[name].append(next(stream).step_seconds)
            if step == WARM_UP:
                collector.freeze()
            times["collect"].append(seconds_of(collector.collect_small) if step > WARM_UP else 0.0)
            times["watch"].append(seconds_of(watch.observe, step))
        collector.restore()
        own = seconds_of(gc.collect)
    late = {name: values[WARM_UP:] for name, values in times.items()}
    median = statistics.median(late["plain"])
    return {
        "step_ms": 1e3 * median,
        "marks_share": statistics.mean(m - p for m, p in zip(late["marked"], late["plain"], strict=True)) / median,
        "collection_share": statistics.mean(late["collect"]) / median,
        "largest_collection_in_steps": max(late["collect"]) / median,
        "watch_share": statistics.mean(late["watch"]) / median,
        "full_collection_in_steps": own / median,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_sizes", nargs="+", choices=MODEL_SIZES, default=["tiny", "small"])
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    found = {}
    print("size    step ms   marks  collector  largest, in steps  leak watch  Python's own, in steps")
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder) / "market.csv", rows=400)
        store = compile_store(Path(folder) / "market.csv")
        for model_size in options.model_sizes:
            found[model_size] = one = measure(store, model_size, options.steps)
            print(
                f"{model_size:6}  {one['step_ms']:7.1f}  {one['marks_share']:6.2%}  {one['collection_share']:9.2%}"
                f"  {one['largest_collection_in_steps']:17.2f}  {one['watch_share']:10.2%}"
                f"  {one['full_collection_in_steps']:22.2f}",
                flush=True,
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
