"""What a run's files tell, as numbers: tables, figures and sentences format these and compute nothing again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def mae_pairs(result: Json) -> list[tuple[float | None, float | None]]:
    """Return (validation MAE, the zero forecast's) by horizon; None where one is not known."""
    scores = result["validation"]
    return list(zip(scores["mae"] or [], scores["zero_mae"] or [], strict=True))


def count_better(result: Json) -> tuple[int, int]:
    """Return (horizons whose validation MAE is below the zero forecast's, horizons where both are known)."""
    pairs = [(mae, zero) for mae, zero in mae_pairs(result) if mae is not None and zero is not None]
    return sum(mae < zero for mae, zero in pairs), len(pairs)


def mean_ratio(result: Json) -> float:
    """Return the mean over horizons of the MAE over the zero forecast's; 1 where no such ratio is known."""
    ratios = [mae / zero for mae, zero in mae_pairs(result) if mae is not None and zero]
    return sum(ratios) / len(ratios) if ratios else 1.0
