"""What judging a run costs: seconds and peak memory of `evaluate` in a fresh process.

    python benchmarks/evaluate_rate.py [--rows 66800]

A synthetic market is compiled, and a run is made up whose random forecasts cover the latest nine tenths of its rows,
with 10 horizons: some 60,000 validation rows. `deeptrade evaluate` fits ridge and trees, scores everything with
intervals and trades. Prints one JSON line; the peak is of anonymous memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deeptrade.data.opening import open_store
from deeptrade.files import write_json
from deeptrade.making.synthetic import synthesize
from deeptrade.run_folder import TrainingFolder
from deeptrade.settings import FitSettings
from deeptrade.store import compile_store
from deeptrade.store.row_range import RowRange
from deeptrade.training.judged import Judged

VAL_RATIO = 0.9

MEASURED = """
import json, sys, time
from deeptrade.judging.evaluate import evaluate
from deeptrade.memory import MemoryMonitor
started = time.perf_counter()
with MemoryMonitor(interval_seconds=0.05) as monitor:
    judged = evaluate(sys.argv[1])
seconds = round(time.perf_counter() - started, 1)
print(json.dumps({"seconds": seconds, "peak_mib": round(monitor.peak_anon_bytes / 2**20), "rows": judged.verdict.rows}))
"""


def make_up(folder: TrainingFolder, store: Path) -> None:
    """Write what `fit` would have left, with random forecasts."""
    settings = FitSettings(csv=str(store), out=str(folder.folder), val_ratio=VAL_RATIO)
    folder.folder.mkdir()
    generator = np.random.default_rng(0)
    with open_store(store) as data:
        split = data.split(**settings.split_options)

        def forecasts(rows: RowRange) -> Judged:
            made = generator.normal(0, 1e-3, (len(rows), data.schema.horizons)).astype(np.float32)
            return Judged.of(data, rows.numbers(), made)

        forecasts(split.validation).write(folder.forecasts)
        forecasts(split.inner).write(folder.inner_forecasts)
        result = {"status": "completed", "data_id": data.data_id, "weights_sha256": "", "settings": asdict(settings)}
    write_json(folder.result, result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=66_800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deeptrade-evaluate-") as name:
        text, store = Path(name) / "market.csv", Path(name) / "market.dtstore"
        synthesize(text, rows=options.rows, seed=0)
        compile_store(text, store=store)
        text.unlink()
        make_up(TrainingFolder(Path(name) / "run"), store)
        started = time.perf_counter()
        command = [sys.executable, "-c", MEASURED, str(Path(name) / "run")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        whole = round(time.perf_counter() - started, 1)
    print(json.dumps(json.loads(done.stdout) | {"process_seconds": whole}))


if __name__ == "__main__":
    main()
