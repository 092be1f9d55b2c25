"""Peak memory over file sizes: `optimize` and `fit` against everything in memory at once.

    python benchmarks/peak_curve.py [--gigabytes 0.4 0.8 1.6 3.2 6.4] [--limit 8] [--model_size small]

The peer reads the CSV with pandas.read_csv, its cells with json, keeps float32 arrays of all rows and trains the same
model on the whole effective batch (32 rows) in one pass, 20 steps. Ours plans (a text of its own, nothing compiled) and
trains 20 steps with the plan, compiling the file included; the higher of both peaks counts. Each runs in a cgroup of
--limit GiB; a peer that is killed there is said to be. Anonymous memory is the kernel's count for all processes of the
group. Prints one line per size and one JSON line. Needs root, or a cgroup one may write to.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from cgroups import Watched, run_command, run_limited

from deeptrade.making.synthetic import synthesize
from deeptrade.planning.plan import read_plan
from deeptrade.settings import FitSettings

ROW_BYTES = 110_000
EFFECTIVE_BATCH, STEPS = 32, 20
PEER = """
import json
sys.path.insert(0, sys.argv[1])
import numpy as np, pandas as pd
frame = pd.read_csv(sys.argv[2])
names = [name for name in frame if name.startswith('arr_')]
arrays = {name: np.asarray([json.loads(cell) for cell in frame[name]], np.float32).squeeze(1) for name in names}
targets = frame[[name for name in frame if name.startswith('y_')]].to_numpy(np.float32)
import keras
from step_time import make_model, plain_step
step = plain_step(make_model(sys.argv[3], "multiscale"), keras.optimizers.Adam(1e-3))
order = np.random.default_rng(0).permutation(len(frame))
for first in range(0, 32 * 20, 32):
    rows = order[np.arange(first, first + 32) % len(order)]
    step({name: values[rows] for name, values in arrays.items()}, targets[rows]).numpy()
"""


def train_all_at_once(text: Path, limit_bytes: int, model_size: str) -> Watched:
    return run_limited(limit_bytes, PEER, Path(__file__).parent, text, model_size)


def train_planned(text: Path, folder: Path, limit_bytes: int, model_size: str) -> list[Watched]:
    """Plan, then train with the plan."""
    planned = run_command(
        limit_bytes,
        "optimize",
        text,
        f"--out={folder / 'plan'}",
        f"--store={folder / 'made.dtstore'}",
        f"--model_size={model_size}",
        f"--effective_batch={EFFECTIVE_BATCH}",
    )
    if planned.exit_code:
        return [planned]
    base = FitSettings(csv=str(text), store=str(folder / "made.dtstore"), out=str(folder / "run"))
    settings = read_plan(folder / "plan" / "plan.json").settings(base)
    names = ("csv", "store", "out", "model_size", "batch_size", "accum_steps", "chunk_size", "prefetch")
    given = [f"--{name}={getattr(settings, name)}" for name in names]
    given += ["--grad_accum"] if settings.grad_accum else []
    trained = run_command(limit_bytes, "fit", *given, f"--max_steps={STEPS}", "--epochs=100", "--skip_rl")
    return [planned, trained]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.4, 0.8, 1.6, 3.2, 6.4])
    parser.add_argument("--limit", type=float, default=8.0)
    parser.add_argument("--model_size", default="small")
    options = parser.parse_args()
    limit_bytes = int(options.limit * 2**30)
    found = []
    print(f"limit {options.limit} GiB; GB of CSV, peak MiB of the peer and of ours, less, seconds of both")
    for gigabytes in options.gigabytes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            text = folder / "market.csv"
            synthesize(text, rows=int(gigabytes * 1e9 / ROW_BYTES), seed=1)
            size = text.stat().st_size / 1e9
            ours = train_planned(text, folder, limit_bytes, options.model_size)
            peer = train_all_at_once(text, limit_bytes, options.model_size)
        if ours[-1].exit_code:
            raise SystemExit(f"ours ended with {ours[-1].exit_code}: {ours[-1].last_line}")
        if peer.exit_code not in (0, -9):
            raise SystemExit(f"the peer ended with {peer.exit_code}: {peer.output[-800:]}")
        peak = max(one.peak_anon_bytes for one in ours)
        less = 1 - peak / peer.peak_anon_bytes
        seconds = sum(one.seconds for one in ours)
        ending = "" if not peer.exit_code else "  (killed: out of memory)"
        print(
            f"{size:5.2f}  {peer.peak_anon_bytes / 2**20:8.0f}  {peak / 2**20:6.0f}  {less:5.1%}  "
            f"{peer.seconds:6.0f}  {seconds:6.0f}{ending}",
            flush=True,
        )
        found.append(
            {
                "gigabytes": size,
                "peer_peak_bytes": peer.peak_anon_bytes,
                "peer_survived": not peer.exit_code,
                "peak_bytes": peak,
                "less": less,
            }
        )
    print(json.dumps({"benchmark": "peak_curve", "limit_gib": options.limit, "sizes": found}))


if __name__ == "__main__":
    main()
