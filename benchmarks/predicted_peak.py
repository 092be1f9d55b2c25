"""The memory model against real runs: predicted and measured peak, and their ratio, over encoders, sizes and batches.

    python benchmarks/predicted_peak.py [--sizes tiny small medium] [--batches 1 8 32] [--encoders recurrent]
        [--rows 400]

Each measurement is a child process that trains three steps on a synthetic market; peaks are anonymous bytes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path

from deeptrade.making.synthetic import synthesize
from deeptrade.planning.memory_model import predict_peak
from deeptrade.planning.plan import Trial
from deeptrade.planning.trial import run_trial
from deeptrade.settings import ENCODERS, FitSettings
from deeptrade.sources.kinds import open_source
from deeptrade.sources.schema import Schema


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small", "medium"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--rows", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "market.csv"
        synthesize(data, rows=options.rows)
        schema = open_source(data).schema
        print(
            f"{'encoder':<12}{'size':<10}{'batch':>6}{'predicted MiB':>15}{'measured MiB':>14}{'ratio':>7}{'rows/s':>9}"
        )
        results = []
        for encoder, size, batch in product(options.encoders, options.sizes, options.batches):
            settings = FitSettings(csv=str(data), model_size=size, encoder=encoder, batch_size=batch)
            results.append(measure(schema, options.rows, settings, folder))
            print(line_of(results[-1]), flush=True)
    print(json.dumps({"benchmark": "predicted_peak", "rows": options.rows, "results": results}))


def line_of(found: dict) -> str:
    """Return a measurement as a line of the table; the trial's message where there is none."""
    begin = (
        f"{found['encoder']:<12}{found['model_size']:<10}{found['batch_size']:>6}{found['predicted'] / 2**20:>15.0f}"
    )
    if found["measured"] is None:
        return f"{begin}  {found['message']}"
    return f"{begin}{found['measured'] / 2**20:>14.0f}{found['ratio']:>7.2f}{found['rows_per_second']:>9.1f}"


def measure(schema: Schema, rows: int, settings: FitSettings, folder: Path) -> dict:
    predicted = sum(predict_peak(schema, settings, rows=rows).values())
    trial: Trial = run_trial(settings, open_rows=schema.horizons, predicted_peak_bytes=predicted, folder=folder)
    return {
        "encoder": settings.encoder,
        "model_size": settings.model_size,
        "batch_size": settings.batch_size,
        "predicted": predicted,
        "measured": trial.measured_peak_bytes,
        "ratio": round(predicted / trial.measured_peak_bytes, 3) if trial.measured_peak_bytes else None,
        "rows_per_second": trial.rows_per_second or 0.0,
        "seconds": trial.seconds,
        "message": trial.message,
    }


if __name__ == "__main__":
    main()
