"""Loss spikes: windows whose loss is far above what earlier windows suggest."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

MEMORY_WINDOWS = 100
"""Windows over which the usual loss and its spread are averaged (exponentially)."""

LOSS_WARM_UP_WINDOWS = 50
"""Windows at the start that only set the averages: no spike is found in them."""

THRESHOLD = 5.0
"""Standard errors above the usual log loss that make a spike, for one window or the mean of the last two or three.

The mean of three windows has 1 / sqrt(3) of the spread, so a rise of five standard deviations is seen by its third
window. In 160,000 windows of 4 to 128 rows of the synthetic market none exceeds 4.6 (the losses themselves, without
the logarithm, reach 9.7: a turbulent market is no spike).
"""

_LATEST = 3
_LEAST_LOSS = 1e-30


@dataclass
class SpikeDetector:
    """Finds spikes in a sequence of losses; plain data, so a checkpoint can hold it.

    Losses are compared as logarithms: a mean of few heavy-tailed errors is skewed, its logarithm hardly. A window with
    fewer targets than usual may deviate more, by the square root of the ratio. The usual loss is that of the windows
    before the latest three, which `latest` holds as pairs of log loss and targets. The variance is half the mean square
    of successive differences, which a falling loss hardly raises (von Neumann 1941).
    """

    mean: float = 0.0
    variance: float = 0.0
    last: float = 0.0
    targets: float = 0.0
    windows: int = 0
    latest: list[list[float]] = field(default_factory=list)
    inside: bool = False

    def observe(self, loss: float, valid_targets: int) -> bool:
        """Return whether a spike begins with this window; a lasting spike counts once."""
        if not valid_targets or not math.isfinite(loss):
            return False
        if len(self.latest) == _LATEST:
            self._learn(*self.latest[0])
        self.latest = [*self.latest[1 - _LATEST :], [math.log(max(loss, _LEAST_LOSS)), valid_targets]]
        threshold = THRESHOLD / 2 if self.inside else THRESHOLD
        far = self.windows >= LOSS_WARM_UP_WINDOWS and self._farthest() > threshold
        begins, self.inside = far and not self.inside, far
        return begins

    def state(self) -> dict[str, Any]:
        """Return plain data for `SpikeDetector(**state)`."""
        return asdict(self)

    def usual_loss(self) -> float:
        """Return the loss that was expected."""
        return math.exp(self.mean)

    def _farthest(self) -> float:
        """Standard errors by which the latest window, or the mean of the latest two or three, exceeds the mean."""
        deviations = [self._deviation(*window) for window in reversed(self.latest)]
        return max(sum(deviations[:n]) / math.sqrt(n) for n in range(1, len(deviations) + 1))

    def _deviation(self, value: float, valid_targets: float) -> float:
        if not self.variance:
            return 0.0
        spread = math.sqrt(self.variance * max(1.0, self.targets / valid_targets))
        return (value - self.mean) / spread

    def _learn(self, value: float, valid_targets: float) -> None:
        """Add a loss to the averages, an outlier only in part, so that it cannot dominate them."""
        deviation = self._deviation(value, valid_targets)
        if self.windows >= LOSS_WARM_UP_WINDOWS and deviation > THRESHOLD / 2:
            value = self.mean + (value - self.mean) * THRESHOLD / 2 / deviation
        share = 1 / min(self.windows + 1, MEMORY_WINDOWS)
        self.mean += share * (value - self.mean)
        if self.windows:
            self.variance += share * ((value - self.last) ** 2 / 2 - self.variance)
        self.last = value
        self.targets += share * (valid_targets - self.targets)
        self.windows += 1
