"""Tables of several runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ...units import format_bytes

if TYPE_CHECKING:
    from ..comparison import Comparison


def comparison(compared: Comparison) -> pd.DataFrame:
    """Return one row per run: status, error relative to the zero forecast, peak memory, rate and time."""
    return pd.DataFrame(
        [
            {
                "run": run.name,
                "status": run.status,
                "error / zero": "-" if run.error is None else f"{run.error:.4f}",
                "horizons beaten": "-" if run.horizons is None else f"{run.horizons_beaten} of {run.horizons}",
                "steps": "-" if run.steps is None else f"{run.steps:,}",
                "peak memory": format_bytes(run.peak_anon_bytes) if run.peak_anon_bytes else "-",
                "rows/s": f"{run.rows_per_second:.1f}" if run.rows_per_second else "-",
                "seconds": f"{run.wall_seconds:.0f}" if run.wall_seconds else "-",
                "weights": run.weights_sha256[:8] or "-",
            }
            for run in compared.runs
        ]
    )


def differing_settings(compared: Comparison) -> pd.DataFrame:
    """Return one row per run with the settings that differ between runs."""
    return pd.DataFrame(
        [
            {"run": run.name} | {name: str(run.settings.get(name, "-")) for name in compared.differing}
            for run in compared.runs
        ]
    )
