"""The networks of an agent: many small ones of one shape, computed together, and the model in which they are saved.

    states (rows, columns) -> standardized -> dense 64, relu -> dense 64, relu -> values (groups, seeds, rows, outputs)

No batch statistics and no dropout: what a row is worth does not depend on the rows beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..data.backend import keras, tf
from ..mixing import draw
from .market import Market
from .policies import cautious, follow, greedy
from .state import scaled

_ROWS_AT_ONCE = 512

HIDDEN = (64, 64)
"""Units of the hidden layers: few, for independent time is scarce."""


@keras.saving.register_keras_serializable("deeptrade")
class StackedValues(keras.layers.Layer):
    """Networks of one shape with weights of their own, `groups` times `networks` of them, applied in one product.

    A call takes float32 (rows, columns), the same for all, or (1, networks, rows, columns), and gives float32 (groups,
    networks, rows, outputs). Networks of the same number begin with the same weights in every group; outputs begin at
    zero. The weights are a function of the seed alone.
    """

    def __init__(self, outputs: int, *, networks: int, groups: int = 1, seed: int = 0, **options: Any):
        super().__init__(**options)
        self.outputs, self.networks, self.groups, self.seed = outputs, networks, groups, seed

    def build(self, input_shape: Any) -> None:
        """Make the weights for states of input_shape[-1] columns."""
        sizes = [input_shape[-1], *HIDDEN, self.outputs]
        self.kernels, self.biases = [], []
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            shape = (self.groups, self.networks, inputs, outputs)
            kernel = self.add_weight(name=f"kernel_{number}", shape=shape, initializer="zeros")
            if number < len(HIDDEN):  # He et al. 2015, for relu
                key = draw(f"agent/{self.seed}", number, below=2**31)
                one = keras.random.normal(shape[1:], stddev=math.sqrt(2 / inputs), seed=key)
                kernel.assign(tf.broadcast_to(one, shape))
            self.kernels.append(kernel)
            shape = (self.groups, self.networks, 1, outputs)
            self.biases.append(self.add_weight(name=f"bias_{number}", shape=shape, initializer="zeros"))
        self.built = True

    def call(self, states: Any) -> Any:
        """Return the values of states."""
        found = states
        for number, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            found = tf.matmul(found, kernel) + bias
            found = tf.nn.relu(found) if number < len(HIDDEN) else found
        return found

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return (groups, networks, rows, outputs)."""
        return (self.groups, self.networks, input_shape[-2], self.outputs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the layer."""
        own = {name: getattr(self, name) for name in ("outputs", "networks", "groups", "seed")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("deeptrade")
class Agent(keras.Model):
    """A trained agent: what it is called with are states as `state.make_states` gives them, float32 (rows, columns).

    It returns float32 (networks, rows, positions): by how much holding each of `positions` is worth more than being
    flat, in standard deviations of the return one step ahead, by each of its networks. `cost`, of trading, is in the
    same unit; `target_step` is the time of a step in ns.
    """

    def __init__(
        self,
        positions: tuple[int, ...],
        *,
        columns: int,
        networks: int,
        cost: float,
        caution: float,
        always_flat: bool,
        target_step: int,
        **options: Any,
    ):
        super().__init__(**options)
        self.positions = tuple(positions)
        self.columns, self.networks = columns, networks
        self.cost, self.caution, self.always_flat, self.target_step = cost, caution, always_flat, target_step
        self.stacked = StackedValues(len(positions) - 1, networks=networks, name="values")
        self.stacked.build((None, columns))
        self.mean = self.add_weight(name="mean", shape=(columns,), initializer="zeros", trainable=False)
        self.deviation = self.add_weight(name="deviation", shape=(columns,), initializer="ones", trainable=False)
        self.built = True

    def call(self, states: Any) -> Any:
        """Return the values of states in the unit that they come in."""
        known = scaled(np.asarray(states), np.asarray(self.mean), np.asarray(self.deviation))
        return with_flat(self.stacked(known), self.positions)[0]

    def worth(self, states: np.ndarray) -> np.ndarray:
        """Return what a call does for any number of rows, as an array."""
        return in_parts(self, states)

    def table(self, states: np.ndarray, *, gated: bool = True) -> np.ndarray:
        """Return which position it takes at each row from each, int64 (rows, positions), indexes into `positions`.

        gated: whether it stays flat where it was not better than luck on inner rows.
        """
        if gated and self.always_flat:
            return np.full((len(states), len(self.positions)), self.positions.index(0))
        values = cautious(self.worth(states), caution=self.caution)
        return greedy(values, self.positions, cost=self.cost)

    def play(self, market: Market, *, gated: bool = True) -> np.ndarray:
        """Return the positions that it holds at each turn of a market, int64 (turns,)."""
        return follow(self.table(market.turn_states, gated=gated), market.plan, self.positions)

    def play_apart(self, market: Market) -> list[np.ndarray]:
        """Return the positions that each of its networks would hold alone."""
        tables = (greedy(one, self.positions, cost=self.cost) for one in self.worth(market.turn_states))
        return [follow(table, market.plan, self.positions) for table in tables]

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` rebuilds the model from."""
        names = ("positions", "columns", "networks", "cost", "caution", "always_flat", "target_step")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Agent:
        """Return the model of a configuration, with untrained weights."""
        return cls(tuple(config["positions"]), **{k: v for k, v in config.items() if k != "positions"})


def in_parts(values: Callable[[Any], Any], states: np.ndarray) -> np.ndarray:
    """Return what `values` gives, (..., rows, outputs), for any number of states, some rows at a time."""
    starts = range(0, max(1, len(states)), _ROWS_AT_ONCE)
    return np.concatenate([np.asarray(values(states[at : at + _ROWS_AT_ONCE])) for at in starts], axis=-2)


def with_flat(values: Any, positions: tuple[int, ...]) -> Any:
    """Return values of all positions, (..., positions): being flat, which is not learned, is worth 0."""
    flat = positions.index(0)
    return tf.concat([values[..., :flat], tf.zeros_like(values[..., :1]), values[..., flat:]], axis=-1)
