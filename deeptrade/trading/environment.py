"""The market as environments of gymnasium, so that an agent of any library can be tried on it; needs deeptrade[gym].

An action is the index of a position, an observation what is known at a turn and the position held. `MarketEnv` plays
one episode at a time, `MarketVectorEnv` many. An episode is a stretch of turns of one market; which one a reset begins
is drawn with its seed, or given: `reset(options={"episode": 3})`.

What a step is worth, in units of a market's stake:

    reward = position * return - cost * change of position, and less the cost of closing it where a gap follows

There the episode is *terminated*. Where the data end, or a target is missing, it is *truncated*: the position goes on,
so nothing is closed. The account of an agent closes it there too; `info["net"]` is the reward as it counts it, and the
sum over all episodes, divided by the number of markets, is the income of `judging.trades.trade`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SettingsError
from .market import Market
from .settings import POSITIONS
from .state import scaled, scaling

try:
    import gymnasium
    from gymnasium.spaces import Box, Discrete
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise
    raise SettingsError("the environments need gymnasium; install it: pip install 'deeptrade[gym]'") from None

LARGEST = 10.0
"""Of a state's numbers, in standard deviations: what lies beyond is cut there."""


@dataclass(frozen=True)
class Outcome:
    """What comes of one step in some episodes: arrays (episodes,), but for observations, float32 (episodes, columns).

    net: float64, the reward less the cost of closing the position wherever the episode ends.
    """

    observations: np.ndarray
    rewards: np.ndarray
    net: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def ended(self) -> np.ndarray:
        """Whether the episode is over, bool (episodes,)."""
        return self.terminated | self.truncated


class Episodes:
    """The arrays of a market, and what a step in any of its episodes gives.

    market: what to play on. positions: those to choose from, of which 0 is one. cost: of a change of position by the
    whole stake, as a fraction. scale: mean and deviation of the states' columns, of `state.scaling`; those of this
    market where it is None: give those of the training rows for other rows.
    """

    def __init__(
        self,
        market: Market,
        positions: Sequence[int] = POSITIONS,
        *,
        cost: float = 0.001,
        scale: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        if not len(market.plan.rows):
            raise SettingsError("the market has no row at which a position can be taken; use more rows")
        plan = market.plan
        self.positions, self.cost = tuple(positions), cost
        self.first = np.flatnonzero(plan.begins)
        self.flat = self.positions.index(0)
        self._held = np.asarray(self.positions, np.float64)
        self._market = market
        mean, deviation = scale or scaling(market.turn_states)
        self._states = scaled(market.states, mean, deviation, most=LARGEST)
        own = plan.rows  # what is seen last stands in for a state that the data do not have
        cut = np.where(market.following >= 0, market.following, own)
        self._after = np.where(plan.ends, cut, np.roll(own, -1))

    def __len__(self) -> int:
        return len(self.first)

    def spaces(self) -> tuple[Box, Discrete]:
        """Return the spaces of observations and of actions."""
        columns = self._states.shape[1]
        low = np.array([-LARGEST] * columns + [min(self.positions)], np.float32)
        high = np.array([LARGEST] * columns + [max(self.positions)], np.float32)
        return Box(low, high, dtype=np.float32), Discrete(len(self.positions))

    def observe(self, turns: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return what is known at turns where these positions, by their indexes, are held, float32 (turns, columns)."""
        return self._seen(self._market.plan.rows[turns], places)

    def _seen(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        return np.column_stack([self._states[rows], self._held[places].astype(np.float32)])

    def step(self, turns: np.ndarray, places: np.ndarray, actions: np.ndarray) -> Outcome:
        """Return what comes of changing positions at turns, all by their indexes, int64 (episodes,)."""
        plan, held = self._market.plan, self._held[actions]
        earned = held * plan.returns[turns] - self.cost * np.abs(held - self._held[places])
        closing = self.cost * np.abs(held)
        closes, ends = self._market.closes[turns], plan.ends[turns]
        return Outcome(
            self._seen(self._after[turns], np.where(closes, self.flat, actions)),
            earned - np.where(closes, closing, 0.0),
            earned - np.where(ends, closing, 0.0),
            closes,
            ends & ~closes,
        )

    def check(self, values: Any, most: int, name: str) -> np.ndarray:
        """Return values as int64; SettingsError where one is none of 0 to most - 1."""
        found = np.asarray(values)
        if found.dtype.kind not in "iu" or (found < 0).any() or (found >= most).any():
            raise SettingsError(f"{name}={values!r} is not accepted; give an integer from 0 to {most - 1}")
        return found.astype(np.int64)


class MarketEnv(gymnasium.Env):
    """One episode of a market at a time; the arguments are those of `Episodes`.

    An observation is float32 (columns + 1,): the state, scaled, and the position held. info has "turn", which of the
    market's turns comes next, or has been the last, and after a step "net".
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - of gymnasium

    def __init__(self, market: Market, positions: Sequence[int] = POSITIONS, **options: Any):
        self.episodes = Episodes(market, positions, **options)
        self.observation_space, self.action_space = self.episodes.spaces()
        self._turn, self._place = -1, self.episodes.flat

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode, flat: options["episode"] from 0, or one that is drawn."""
        super().reset(seed=seed)
        given = (options or {}).get("episode", self.np_random.integers(len(self.episodes)))
        episode = self.episodes.check(given, len(self.episodes), "episode")
        self._turn, self._place = int(self.episodes.first[episode]), self.episodes.flat
        seen = self.episodes.observe(np.array([self._turn]), np.array([self._place]))
        return seen[0], {"turn": self._turn}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold a position, by its index, until the next turn."""
        if self._turn < 0:
            raise gymnasium.error.ResetNeeded("the episode has ended, or none has begun; call reset()")
        place = self.episodes.check(action, len(self.episodes.positions), "action")
        found = self.episodes.step(np.array([self._turn]), np.array([self._place]), place.reshape(1))
        ended = bool(found.ended[0])
        info = {"turn": self._turn + (not ended), "net": float(found.net[0])}
        self._turn, self._place = (-1 if ended else self._turn + 1), int(place)
        return found.observations[0], float(found.rewards[0]), bool(found.terminated[0]), bool(found.truncated[0]), info


class MarketVectorEnv(VectorEnv):
    """Many episodes of a market at once, `num_envs` of them; the other arguments are those of `Episodes`.

    Arrays as gymnasium has them, (num_envs, ...); info["turn"] and info["net"] are arrays too. Where an episode has
    ended, the next step ignores the action, begins another that is drawn, and earns nothing (AutoresetMode.NEXT_STEP).
    `reset(options={"episode": [0, 1, ...]})` says which episodes come first.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - of gymnasium

    def __init__(self, market: Market, num_envs: int, positions: Sequence[int] = POSITIONS, **options: Any):
        super().__init__()
        self.num_envs = num_envs
        self.episodes = Episodes(market, positions, **options)
        self.single_observation_space, self.single_action_space = self.episodes.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._turns = np.zeros(num_envs, np.int64)
        self._places = np.full(num_envs, self.episodes.flat)
        self._ended = np.ones(num_envs, bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in each place, flat: options["episode"], (num_envs,) from 0, or those that are drawn."""
        super().reset(seed=seed)
        given = (options or {}).get("episode")
        drawn = self.np_random.integers(len(self.episodes), size=self.num_envs) if given is None else given
        chosen = self.episodes.check(drawn, len(self.episodes), "episode")
        if chosen.shape != (self.num_envs,):
            raise SettingsError(f"{chosen.size} episodes are given; give {self.num_envs}, one for each environment")
        self._turns, self._places = self.episodes.first[chosen], np.full(self.num_envs, self.episodes.flat)
        self._ended = np.zeros(self.num_envs, bool)
        return self.episodes.observe(self._turns, self._places), {"turn": self._turns.copy()}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Hold positions, by their indexes (num_envs,), until the next turn."""
        places = self.episodes.check(actions, len(self.episodes.positions), "actions")
        begun = self._ended
        found = self.episodes.step(self._turns, self._places, places)
        drawn = self.episodes.first[self.np_random.integers(len(self.episodes), size=int(begun.sum()))]
        self._ended = found.ended & ~begun
        self._places = np.where(begun, self.episodes.flat, places)
        self._turns = self._turns + ~self._ended
        self._turns[begun] = drawn
        seen = found.observations
        seen[begun] = self.episodes.observe(drawn, self._places[begun])
        rewards, net = np.where(begun, 0.0, found.rewards), np.where(begun, 0.0, found.net)
        info = {"turn": self._turns.copy(), "net": net}
        return seen, rewards, found.terminated & ~begun, found.truncated & ~begun, info
