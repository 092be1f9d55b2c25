"""Validation errors against the forecast that is always zero, horizon by horizon: counted here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


def gain_from(ratio: float) -> float:
    """Return how far an error is below another, as a share of it, from their ratio; below 0 where it is higher."""
    return 1 - ratio


@dataclass(frozen=True)
class HorizonError:
    """Validation errors of one horizon, in units of return; None where not known.

    `horizon` counts from 1; `zero_mae` is the MAE of the forecast that is always zero; `direction_share`, from 0 to 1,
    is the share of forecasts with the correct sign.
    """

    horizon: int
    mae: float | None
    zero_mae: float | None
    direction_share: float | None = None

    @property
    def ratio(self) -> float | None:
        """MAE divided by the zero forecast's; None where one is not known, or the zero forecast makes no error."""
        return self.mae / self.zero_mae if self.mae is not None and self.zero_mae else None

    @property
    def is_better(self) -> bool | None:
        """Whether the MAE is below the zero forecast's; None where one of the two is not known."""
        return None if self.mae is None or self.zero_mae is None else self.mae < self.zero_mae


@dataclass(frozen=True)
class ValidationErrors:
    """Validation errors of all horizons, in order.

    `better` counts the horizons whose MAE is below the zero forecast's, `known` those where both are known;
    `mean_ratio` is the mean of the known ratios of MAE to the zero forecast's, 1 where none is known.
    """

    horizons: list[HorizonError]
    better: int
    known: int
    mean_ratio: float

    @property
    def mean_gain(self) -> float:
        """Share by which the error is below the zero forecast's, averaged over horizons; below 0 where it is higher."""
        return gain_from(self.mean_ratio)

    def beside_zero(self, other: str) -> str:
        """Return in words where the error lies beside `other`, the name of the zero forecast's error."""
        size = f"{abs(self.mean_gain):.1%}"
        if size == "0.0%":
            return f"equals {other} to 0.1%, averaged over horizons"
        return f"is {size} {'below' if self.mean_gain > 0 else 'above'} {other}, averaged over horizons"

    @property
    def has_diverged(self) -> bool:
        """Whether targets are known but no forecast is finite."""
        return not self.known and any(one.zero_mae is not None for one in self.horizons)


def errors_of(scores: Mapping[str, Any]) -> ValidationErrors:
    """Return the errors in the `validation` part of a result; a number that is not finite counts as not known."""
    mae, zero = _known(scores.get("mae")), _known(scores.get("zero_mae"))
    shares = _known(scores.get("directional_accuracy") if mae else None) or [None] * len(mae)
    horizons = [HorizonError(step, *values) for step, values in enumerate(zip(mae, zero, shares, strict=True), start=1)]
    ratios = [one.ratio for one in horizons if one.ratio is not None]
    return ValidationErrors(
        horizons=horizons,
        better=sum(one.is_better is True for one in horizons),
        known=sum(one.is_better is not None for one in horizons),
        mean_ratio=sum(ratios) / len(ratios) if ratios else 1.0,
    )


def _known(values: Iterable[float | None] | None) -> list[float | None]:
    return [value if value is not None and math.isfinite(value) else None for value in values or ()]
