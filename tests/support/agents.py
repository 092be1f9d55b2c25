"""Markets whose best policy is known, for the tests of agents."""

from dataclasses import dataclass

import numpy as np

from deeptrade.judging.resampling import Blocks
from deeptrade.times import SECOND
from deeptrade.trading.market import Market, make_market
from deeptrade.trading.policies import changes, follow
from deeptrade.training.judged import Judged

HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND
POSITIONS = (-1, 0, 1)


def judged_of(forecasts, returns, *, times=None, markets=None, horizons=1):
    """Return rows an hour apart with these forecasts, (rows,) or (rows, horizons), and returns one step ahead."""
    forecasts = np.asarray(forecasts, np.float32)
    forecasts = forecasts[:, None] if forecasts.ndim == 1 else forecasts
    rows = len(forecasts)
    targets = np.repeat(np.asarray(returns, np.float32)[:, None], forecasts.shape[1], axis=1)
    times = START + HOUR * np.arange(rows) if times is None else np.asarray(times)
    markets = np.full(rows, "", object) if markets is None else np.asarray(markets, object)
    return Judged(np.arange(rows), times, markets, forecasts, targets)


def market_of(states, returns, **options) -> Market:
    """Return a market whose states are given, (rows,) or (rows, columns); its forecasts are the first column."""
    states = np.asarray(states, np.float32)
    states = states[:, None] if states.ndim == 1 else states
    return make_market(judged_of(states[:, 0], returns, **options), states, target_step=HOUR)


def gappy_market(rows=40, seed=0) -> Market:
    """Return two markets with gaps and a missing target."""
    draws = np.random.default_rng(seed)
    times = np.cumsum(draws.choice([1, 1, 1, 3], rows))
    returns = draws.normal(0, 0.01, 2 * rows)
    returns[5] = np.nan
    times = START + HOUR * np.repeat(times, 2)
    return market_of(draws.normal(size=2 * rows), returns, times=times, markets=["A", "B"] * rows)


def plain_income(market, held, cost):
    """Return what positions by turn earn, one after the other; every market has half the stake."""
    total = 0.0
    for market_name in ("A", "B"):
        before = 0
        for turn, row in enumerate(market.plan.rows.tolist()):
            if market.judged.markets[row] != market_name:
                continue
            total += held[turn] * market.returns[turn] - cost * abs(held[turn] - before)
            before = held[turn]
            if market.plan.ends[turn]:
                total, before = total - cost * abs(before), 0
    return total / 2


@dataclass(frozen=True)
class Wave:
    """A market whose mean return follows a signal of memory: s(t+1) = memory * s(t) + noise, of deviation 1.

    edge: mean return at a signal of 1, as a fraction; noise: standard deviation of returns, in edges.
    """

    memory: float = 0.9
    edge: float = 5e-4
    noise: float = 6.0

    def signal(self, rows: int, seed: int) -> np.ndarray:
        """Return a signal, float64 (rows,)."""
        from scipy.signal import lfilter

        shocks = np.random.default_rng(seed).standard_normal(rows) * np.sqrt(1 - self.memory**2)
        return lfilter([1.0], [1.0, -self.memory], shocks)

    def returns(self, signal: np.ndarray, seed: int) -> np.ndarray:
        """Return one draw of the returns, float64 (rows,)."""
        noise = np.random.default_rng(seed + 1).standard_normal(len(signal))
        return self.edge * (signal + self.noise * noise)

    def best_table(self, signal: np.ndarray, cost: float, points: int = 201) -> np.ndarray:
        """Return the best policy's table over these signals, int (rows, 3): value iteration on a grid, undiscounted."""
        from scipy.stats import norm

        grid = np.linspace(-4, 4, points)
        moves = norm.pdf((grid[None] - self.memory * grid[:, None]) / np.sqrt(1 - self.memory**2))
        moves /= moves.sum(axis=1, keepdims=True)
        trading, worth = cost * changes(POSITIONS), np.zeros((points, 3))
        while True:
            held = self.edge * grid[:, None] * np.array(POSITIONS) + moves @ worth
            net = held[:, None, :] - trading
            new = net.max(axis=2)
            new -= new[points // 2, 1]
            if np.abs(new - worth).max() < 1e-12:
                break
            worth = new
        return net.argmax(axis=2)[np.clip(np.rint((signal + 4) / 8 * (points - 1)), 0, points - 1).astype(int)]

    def income(self, held: np.ndarray, signal: np.ndarray, cost: float) -> float:
        """Return what positions are expected to earn after costs, given the signal."""
        traded = np.abs(np.diff(np.concatenate([[0], held, [0]]))).sum()
        return float((held * self.edge * signal).sum() - cost * traded)

    def best_income(self, signal: np.ndarray, cost: float) -> float:
        """Return what the best policy is expected to earn."""
        plan = market_of(signal, np.zeros(len(signal))).plan
        return self.income(follow(self.best_table(signal, cost), plan, POSITIONS), signal, cost)


def blocks_of(market: Market, length: int = 24) -> Blocks:
    """Return blocks of a market's steps."""
    return Blocks(market.plan.times, length=length)


def learned_agent(train: Market, inner: Market, *, cost: float, seed: int = 0, **options):
    """Return the agent that learns on one market and is chosen on another, and how it was chosen."""
    from deeptrade.trading.choice import Candidates
    from deeptrade.trading.learning import Group, Learning, Lessons, learn
    from deeptrade.trading.making import build_agent
    from deeptrade.trading.settings import GAMMAS, AgentSettings

    settings = AgentSettings(**options)
    learning = Learning(Lessons.of(train), [Group(cost, gamma) for gamma in GAMMAS], settings, seed=seed)
    candidates = Candidates(
        inner,
        [(cost, gamma) for gamma in GAMMAS],
        epochs=settings.rl_epochs,
        positions=settings.positions,
        blocks=blocks_of(inner),
        weights={weight.name: tuple(weight.shape)[1:] for weight in learning.learner.judging.weights},
    )
    learn(learning, candidates)
    chosen = candidates.chosen()[0]
    return build_agent(learning, candidates.weights_of(cost), chosen, settings, target_step=HOUR), chosen
