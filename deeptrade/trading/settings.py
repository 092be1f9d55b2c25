"""The options of the second stage, one frozen dataclass; light, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import SettingsError
from ..settings import check_settings

POSITIONS = (-1, 0, 1)
SEEDS = 5
"""Networks of one agent, which differ in their initial weights and in the order of their rows."""

GAMMAS = (0.9, 0.97, 0.99)
"""Discounts to choose from."""

MOST_UPDATES, MOST_PASSES = 250, 20
"""In an epoch: so many updates, fewer where that would be more passes over the rows."""


def _option(default: Any, help_text: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **limits})


@dataclass(frozen=True)
class AgentSettings:
    """Options of the agent, spelled as on the command line; 0 or '' stand for 'not set'.

    rl_fee and rl_slippage are fractions of what is traded, rl_risk is in standard deviations of the return one step
    ahead: a position that earns r of them counts as r - rl_risk * r**2.
    """

    rl_epochs: int = _option(10, "rounds of learning, each followed by a look at the inner rows", least=1, most=100)
    rl_batch_size: int = _option(512, "rows per update of the agent", least=1)
    rl_fee: float = _option(0.001, "cost of trading, as a fraction: 0.001 is 10 bp", least=0, below=1)
    rl_slippage: float = _option(0.0, "what trading costs beyond the fee, as a fraction", least=0, below=1)
    rl_risk: float = _option(0.0, "weight of squared returns in what the agent maximizes", least=0)
    rl_gamma: float = _option(0.0, "discount of a step; 0 means the best on the inner rows", least=0, below=1)
    rl_long_only: bool = _option(False, "never go short")
    rl_csv: str = _option("", "transitions logged by another agent to learn from instead; empty means none")
    rl_out: str = _option("", "folder of the agent; empty means agent in the folder of the run")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.rl_fee + self.rl_slippage >= 1:
            raise SettingsError(
                f"rl_fee={self.rl_fee:g} and rl_slippage={self.rl_slippage:g} cost all that is traded; use less"
            )

    @property
    def cost(self) -> float:
        """What a change of position by the whole stake costs, as a fraction."""
        return self.rl_fee + self.rl_slippage

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions to choose from."""
        return POSITIONS[1:] if self.rl_long_only else POSITIONS


def of_notebook(values: Mapping[str, Any]) -> AgentSettings:
    """Return the options from the parameters of notebook 07."""
    return AgentSettings(**{item.name: values[item.name] for item in fields(AgentSettings)})


def updates_per_epoch(rows: int, batch_size: int) -> int:
    """Return how many updates an epoch has."""
    return min(MOST_UPDATES, max(1, -(-MOST_PASSES * rows // batch_size)))
