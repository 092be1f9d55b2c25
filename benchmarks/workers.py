"""What training over workers costs per step: two processes on this machine against one, and its parts.

    python benchmarks/workers.py [--model_sizes tiny small medium] [--encoder recurrent] [--batch_size 8] [--passes 8]
        [--repeats 40]

One process computes all passes of a step; each of two workers computes half of them, on the same processors and with as
many threads, so that every sum is the same. Prints medians of milliseconds: the step of one process, the step of two
workers, its passes, and its end, of which, measured alone: the checksum of the weights, the sum over the workers of a
vector of that size, and applying it; the rest of the end is waiting for the other's passes. Then the speed-up of two
workers, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from deeptrade.cluster.local_workers import LocalWorkers
from deeptrade.cluster.multiworker import in_team
from deeptrade.planning.sizes import COMPILED
from deeptrade.settings import ENCODERS, MODEL_SIZES
from deeptrade.training.runtime import set_up_tensorflow

WARM = 4


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    seconds = []
    for _ in range(WARM + repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[WARM:])


class Steps:
    """Whole steps of this process's share of the passes, on the same random rows."""

    def __init__(self, model_size: str, options: argparse.Namespace, team: Any):
        from step_time import batch, make_model

        from deeptrade.training.adam import Adam
        from deeptrade.training.team_step import make_step

        self.inputs, self.targets = batch(options.batch_size)
        self.team, self.passes = team, options.passes // team.count
        self.pass_ms: list[float] = []
        self.step = make_step(
            team,
            make_model(model_size, options.encoder),
            Adam(1e-3, name="adam"),
            batch_size=options.batch_size,
            target_scale=1.0,
            averaging=True,
            fused=True,
            jit=options.encoder in COMPILED,
        )

    def take(self) -> None:
        began = time.perf_counter()
        for number in range(self.passes):
            self.step(self.inputs, self.targets, last=self.team.is_alone and number == self.passes - 1)
        self.pass_ms.append(1000 * (time.perf_counter() - began))
        if not self.team.is_alone:
            self.step.finish_together()

    def finish(self) -> None:
        self.step._apply_sums()


def measure(model_size: str, options: argparse.Namespace, team: Any) -> dict[str, float]:
    from deeptrade.data.backend import tf
    from deeptrade.training.team import checksum
    from deeptrade.training.traced import Traced

    steps = Steps(model_size, options, team)
    found = {"step_ms": median_ms(steps.take, options.repeats)}
    if team.is_alone:
        return found | {"numbers": sum(int(np.prod(v.shape)) for v in steps.step.model.trainable_variables)}
    found["passes_ms"] = statistics.median(steps.pass_ms[WARM:])
    found["end_ms"] = found["step_ms"] - found["passes_ms"]
    pieces = steps.step._pieces
    check = Traced(lambda: checksum(pieces.weights(tf.float32)))
    found["checksum_ms"] = median_ms(lambda: check().numpy(), options.repeats)
    vector = tf.concat([tf.reshape(total, [-1]) for total in steps.step._sums], axis=0)
    total = Traced(team.sum, signature=[tf.TensorSpec((None,), tf.float64)])
    found["sum_ms"] = median_ms(lambda: total(vector).numpy(), options.repeats)
    found["apply_ms"] = median_ms(steps.finish, options.repeats)
    rest = found["end_ms"] - sum(found[name] for name in ("checksum_ms", "sum_ms", "apply_ms"))
    return found | {"waiting_ms": rest, "vector_bytes": 8 * int(vector.shape[0])}


def work(options: argparse.Namespace) -> None:
    """Measure in this process, alone or as one of two workers, and write what worker 0 found."""
    engine = in_team()
    set_up_tensorflow(allow_growth=True, give_back=False, compiles=True, sink=print)
    from deeptrade.training.team import Team

    if engine is not None:
        engine.connect()
    team = Team(engine)
    found = {model_size: measure(model_size, options, team) for model_size in options.model_sizes}
    if team.is_chief:
        Path(options.write).write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_sizes", nargs="+", choices=MODEL_SIZES, default=["tiny", "small", "medium"])
    parser.add_argument("--encoder", choices=ENCODERS, default="recurrent")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:], "--write"]
        subprocess.run([*command, f"{folder}/one"], check=True)
        LocalWorkers(lambda attempt: [*command, f"{folder}/two"], count=2).run()
        one, two = (json.loads((Path(folder) / name).read_text()) for name in ("one", "two"))
    print(f"{options.encoder}, {options.passes} passes of {options.batch_size} rows a step; milliseconds")
    print(
        "size     numbers  vector MB  one process  two workers  passes    end  checksum    sum  apply  waiting"
        "  speed-up"
    )
    for size in options.model_sizes:
        alone, each = one[size], two[size]
        print(
            f"{size:7}  {alone['numbers']:7,}  {each['vector_bytes'] / 1e6:9.2f}  {alone['step_ms']:11.1f}"
            f"  {each['step_ms']:11.1f}  {each['passes_ms']:6.1f}  {each['end_ms']:5.1f}  {each['checksum_ms']:8.2f}"
            f"  {each['sum_ms']:5.1f}  {each['apply_ms']:5.1f}  {each['waiting_ms']:7.1f}"
            f"  {alone['step_ms'] / each['step_ms']:8.2f}"
        )
    print(json.dumps({"one": one, "two": two}))


if __name__ == "__main__":
    main()
