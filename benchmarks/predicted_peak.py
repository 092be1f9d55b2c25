"""The memory model against real runs: predicted and measured peak, and their ratio, over encoders, sizes and batches.

    python benchmarks/predicted_peak.py [--sizes tiny small medium] [--batches 1 8 32] [--encoders recurrent]
        [--rows 400]

Each measurement is a child process that trains three steps on a synthetic market; peaks are anonymous bytes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
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
        results = [
            measure(
                schema,
                options.rows,
                FitSettings(csv=str(data), model_size=size, encoder=encoder, batch_size=batch),
                folder,
            )
            for encoder in options.encoders
            for size in options.sizes
            for batch in options.batches
        ]
    print(json.dumps({"benchmark": "predicted_peak", "rows": options.rows, "results": results}))
    print(f"{'encoder':<12}{'size':<10}{'batch':>6}{'predicted MiB':>15}{'measured MiB':>14}{'ratio':>7}{'rows/s':>9}")
    for line in results:
        print(
            f"{line['encoder']:<12}{line['model_size']:<10}{line['batch_size']:>6}{line['predicted'] / 2**20:>15.0f}"
            f"{line['measured'] / 2**20:>14.0f}{line['ratio']:>7.2f}{line['rows_per_second']:>9.1f}"
        )


def measure(schema: Schema, rows: int, settings: FitSettings, folder: Path) -> dict:
    predicted = sum(predict_peak(schema, settings, rows=rows).values())
    trial: Trial = run_trial(settings, open_rows=schema.horizons, predicted_peak_bytes=predicted, folder=folder)
    if trial.measured_peak_bytes is None:
        raise SystemExit(f"{settings.model_size}, batch {settings.batch_size}: {trial.message}")
    return {
        "encoder": settings.encoder,
        "model_size": settings.model_size,
        "batch_size": settings.batch_size,
        "predicted": predicted,
        "measured": trial.measured_peak_bytes,
        "ratio": round(predicted / trial.measured_peak_bytes, 3),
        "rows_per_second": trial.rows_per_second or 0.0,
        "seconds": trial.seconds,
    }


if __name__ == "__main__":
    main()
