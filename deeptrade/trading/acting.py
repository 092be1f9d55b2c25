"""Which position to hold now: a saved agent on forecasts of any rows, with or without what came of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.backend import keras
from ..data.dataset import Dataset
from ..errors import DataError
from ..sources.time_order import rows_by_market
from ..training.judged import Judged
from .market import make_market
from .state import columns, make_states, realised_volatility
from .values import Agent


def load_agent(path: Path) -> Agent:
    """Return a saved agent; DataError where the file holds none."""
    try:
        found = keras.models.load_model(path)
    except (ValueError, TypeError, OSError, KeyError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as an agent ({line}); train it again with --fresh") from None
    if not isinstance(found, Agent):
        raise DataError(f"{path} holds no agent; train it again with --fresh")
    return found


def positions_to_hold(agent: Agent, forecasts: pd.DataFrame, data: Dataset) -> np.ndarray:
    """Return the position to hold from each row on, int64 (rows,), in the order of `forecasts`.

    forecasts: as `judging.predict` returns them, of rows of `data`. Each market begins flat at its first row and after
    a gap. Where rows come more often than targets, a position is held for a whole step. How volatile a market has been
    is known from the targets of earlier rows; without targets it counts as usual.

    Raises DataError where the agent was made for another number of horizons.
    """
    rows = forecasts.index.get_level_values("row").to_numpy(np.int64)
    values = forecasts[[name for name in forecasts.columns if name.startswith("y_")]].to_numpy(np.float32)
    if len(columns(values.shape[1])) != agent.columns:
        wanted = agent.columns - len(columns(0))
        raise DataError(f"the agent was made for forecasts of {wanted} horizons, these have {values.shape[1]}")
    step, numbers = agent.target_step, data.usable.numbers()
    volatility = realised_volatility(data.timestamps, data.read_markets(numbers), data.targets[:, 0], target_step=step)[
        np.searchsorted(numbers, rows)
    ]
    judged = Judged.of(data, rows, values)
    unknown = replace(judged, targets=np.zeros_like(judged.targets))  # what came of a row is not asked
    market = make_market(unknown, make_states(values, judged.times, volatility), target_step=step)
    return _between_turns(judged, market.plan.rows, agent.play(market))


def _between_turns(judged: Judged, turns: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return positions by row: those of its own turn, or of the last turn before it in its market, else 0."""
    found = np.zeros(len(judged), np.int64)
    own = np.full(len(judged), -1)
    own[turns] = np.arange(len(turns))
    for _, rows in rows_by_market(judged.markets):
        rows = rows[np.argsort(judged.times[rows], kind="stable")]
        last = np.maximum.accumulate(own[rows])
        found[rows[last >= 0]] = held[last[last >= 0]]
    return found
