"""Plans against what runs do with them: limits, model sizes, CSV and store, each in a real memory cgroup.

    python benchmarks/plan_matrix.py [--limits 768 1024 2048] [--model_sizes tiny small medium large] [--rows 1500]

For every combination: `deeptrade optimize` in a cgroup of that limit (MiB), then `deeptrade fit` with the plan's
settings in a fresh cgroup. Anonymous memory of all processes of the group is the kernel's own count, looked at every
20 ms. Every batch size that divides the effective batch is tried in such a group too, to find the best rate by brute
force among those that leave a tenth of the room. Prints one line per combination and one JSON line. Needs root, or a
cgroup one may write to.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from cgroups import run_command, run_limited

from deeptrade import compile_store
from deeptrade.making.synthetic import synthesize
from deeptrade.planning.plan import read_plan
from deeptrade.planning.rules import batch_sizes

EFFECTIVE_BATCH, REPEATS = 32, 2
BRUTE = """
import json
from pathlib import Path
from deeptrade.planning.situation import PLAN_HEADROOM
from deeptrade.memory import MemoryLimits
from deeptrade.planning.memory_model import training_room
from deeptrade.planning.rules import batch_settings
from deeptrade.settings import FitSettings
from deeptrade.planning.trial import run_trial
data, folder, model_size, sizes = sys.argv[1:]
found = []
for size in json.loads(sizes):
    settings = FitSettings(csv=data, model_size=model_size, **batch_settings(size, EFFECTIVE // size))
    room = training_room(MemoryLimits())
    trial = run_trial(settings, open_rows=10, predicted_peak_bytes=0, folder=Path(folder), room_bytes=room)
    if trial.exit_code == 0 and trial.measured_peak_bytes <= (1 - PLAN_HEADROOM) * room:
        found.append((size, trial.rows_per_second or 0.0))
print(json.dumps(found))
""".replace("EFFECTIVE", str(EFFECTIVE_BATCH))


def one_case(data: Path, folder: Path, limit_mib: int, model_size: str, steps: int) -> dict:
    """Plan and train with the plan under one limit."""
    store = [f"--store={folder / 'made.dtstore'}"] if data.is_file() else []
    options = [f"--model_size={model_size}", *store]
    asked = [*options, f"--effective_batch={EFFECTIVE_BATCH}", f"--out={folder / 'plan'}"]
    planned = run_command(limit_mib << 20, "optimize", data, *asked)
    result = {"plan_exit": planned.exit_code, "plan_kills": planned.oom_kills, "plan_seconds": planned.seconds}
    if planned.exit_code:
        return {**result, "message": planned.last_line}
    plan = read_plan(folder / "plan" / "plan.json")
    given = [f"--batch_size={plan.batch_size}", f"--prefetch={plan.prefetch}", f"--chunk_size={plan.chunk_size}"]
    if plan.accum_steps > 1:
        given += ["--grad_accum", f"--accum_steps={plan.accum_steps}"]
    given += [f"--csv={data}", f"--out={folder / 'run'}", f"--max_steps={steps}", *options]
    run = run_command(limit_mib << 20, "fit", *given, "--epochs=1000", "--skip_rl", "--fresh")
    told = json.loads((folder / "run" / "result.json").read_text()) if run.exit_code == 0 else {"effective_batch": None}
    return {
        **result,
        "trials": len(plan.trials),
        "batch_size": plan.batch_size,
        "effective_batch": told["effective_batch"],
        "changes": told.get("micro_batch_changes"),
        "predicted": plan.predicted_peak_bytes,
        "exit": run.exit_code,
        "kills": run.oom_kills,
        "peak": run.peak_anon_bytes,
        "ratio": plan.predicted_peak_bytes / max(1, run.peak_anon_bytes),
        "message": run.last_line if run.exit_code else "",
    }


def brute_force(data: Path, folder: Path, model_size: str, limit_mib: int) -> dict[int, float]:
    """Try every batch size in a group of that limit, as often as REPEATS says; rows/s of the best, by batch size.

    Not without the limit: close to it the kernel takes back pages of libraries, which slows large batches.
    """
    arguments = (data, folder, model_size, json.dumps(batch_sizes(EFFECTIVE_BATCH) * REPEATS))
    tried = run_limited(limit_mib << 20, BRUTE, *arguments)
    rates: dict[int, float] = {}
    for size, rate in json.loads(tried.last_line):
        rates[size] = max(rate, rates.get(size, 0.0))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limits", type=int, nargs="+", default=[768, 1024, 2048])
    parser.add_argument("--model_sizes", nargs="+", default=["tiny", "small", "medium", "large"])
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    print("size    MiB   data   trials  plan s  batch  predicted  peak MiB  ratio  exit  OOM kills  rate of best")
    cases = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "market.csv"
        synthesize(text, rows=options.rows, seed=1)
        store = compile_store(text, store=folder / "market.dtstore")
        for model_size in options.model_sizes:
            for limit in options.limits:
                rates = brute_force(Path(store), folder, model_size, limit)
                for kind, data in (("CSV", text), ("store", Path(store))):
                    with tempfile.TemporaryDirectory(dir=folder) as own:
                        case = one_case(data, Path(own), limit, model_size, options.steps)
                    if "batch_size" in case:
                        case["of_best"] = rates.get(case["batch_size"], 0.0) / max(rates.values(), default=1.0)
                    cases.append({"model_size": model_size, "limit_mib": limit, "data": kind, **case})
                    print(line(cases[-1]), flush=True)
                shown = ", ".join(f"{size}: {rate:.0f}" for size, rate in sorted(rates.items()))
                print(f"{model_size}, {limit} MiB: rows/s by brute force: {shown}", flush=True)
    errors = [abs(1 - case["ratio"]) for case in cases if "ratio" in case]
    print(f"errors of the prediction: median {statistics.median(errors):.1%}, largest {max(errors):.1%}")
    print(json.dumps({"benchmark": "plan_matrix", "cases": cases}))


def line(case: dict) -> str:
    start = f"{case['model_size']:6}  {case['limit_mib']:4}  {case['data']:5}"
    if "batch_size" not in case:
        return f"{start}  refused, exit {case['plan_exit']}, {case['plan_kills']} kills: {case['message']}"
    return (
        f"{start}  {case['trials']:6}  {case['plan_seconds']:6.0f}  {case['batch_size']:5}  "
        f"{case['predicted'] / 2**20:9.0f}  {case['peak'] / 2**20:8.0f}  {case['ratio']:5.2f}  {case['exit']:4}  "
        f"{case['plan_kills'] + case['kills']:9}  {case['of_best']:12.0%}"
    )


if __name__ == "__main__":
    main()
