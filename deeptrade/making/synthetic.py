"""A seeded synthetic market in the DeepTrade CSV layout: regimes, clustered volatility, and a signal to learn.

Five-minute log returns follow r[t+1] = s[t] * (k * m[t] + e[t]). The volatility s clusters (GARCH) and switches between
a calm and a turbulent regime; m is a persistent AR(1) imbalance with a half-life of one hour, seen in taker volume,
search trend and sentiment; e is noise. `signal` scales k; at 0 nothing can be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ..errors import SettingsError
from ..files import atomic_write
from ..times import SECOND, iso_time
from ..units import count_of, format_bytes
from .bars import Bars
from .rows import Layout, RowMaker, array_cell, target_cells

TREND_HOURS, SENTIMENTS = 24, 12
_MINUTE = 60 * SECOND
_BAR = 5 * _MINUTE
_LAYOUT = Layout(timeframes=(_BAR, 15 * _MINUTE, 60 * _MINUTE), window=241, step=20 * _MINUTE, horizons=10)
_START = 1_640_995_200 * SECOND  # 2022-01-01
_CHUNK_BARS = 8192

_PERSISTENCE = 0.5 ** (1 / 12)  # of m, per bar: half-life one hour
_EDGE = 0.083  # k at signal 1: the best forecast explains 2.3% to 4.7% of the variance, by horizon
_CALM, _TURBULENT = 0.0008, 0.002
_SWITCH = 1 / 600  # chance per bar that the regime changes
_SHOCK, _MEMORY = 0.08, 0.90  # GARCH: weight of the last squared return and of the last variance


@dataclass(frozen=True)
class Synthesis:
    """What was written, and the share of variance that the best possible forecast explains, per horizon."""

    rows: int
    bytes: int
    oracle_r2: tuple[float, ...]


def synthesize(
    out: str | Path, *, rows: int, seed: int = 0, signal: float = 1.0, sink: Callable[[str], None] | None = None
) -> Synthesis:
    """Write `rows` rows of about 0.1 MB each to `out`; same seed, same bytes; constant memory.

    Raises SettingsError for fewer than one row or a signal out of [0, 1]; DoesNotFitError on a full disk.
    """
    if rows < 1:
        raise SettingsError(f"rows={rows} is not accepted; use at least 1")
    if not 0 <= signal <= 1:
        raise SettingsError(f"signal={signal} is not accepted; use a number from 0 (nothing to learn) to 1")
    if seed < 0:
        raise SettingsError(f"seed={seed} is not accepted; use at least 0")
    with atomic_write(out) as file:
        file.write((",".join(_header()) + "\n").encode())
        for line in _lines(rows, seed, signal):
            file.write(line.encode())
        size = file.tell()
    oracle = oracle_r2(signal)
    if sink:
        sink(
            f"{out}: {count_of(rows, 'row')}, {format_bytes(size)}, seed {seed}; the best forecast explains "
            f"{100 * min(oracle):.1f}% to {100 * max(oracle):.1f}% of the variance (R2 by horizon: "
            f"{', '.join(f'{value:.3f}' for value in oracle)})"
        )
    return Synthesis(rows, size, oracle)


def oracle_r2(signal: float = 1.0) -> tuple[float, ...]:
    """Return the R2 of E[y | m], the best forecast there is, for horizons of 1..10 steps (4..40 bars).

    In units of the volatility the forecast of n bars is k m (1 - p^n) / (1 - p), with p the persistence of m; their
    variance is n plus that of the sum of n drifts.
    """
    edge, p = _EDGE * signal, _PERSISTENCE
    found = []
    for step in range(1, _LAYOUT.horizons + 1):
        bars = step * (_LAYOUT.step // _BAR)
        known = (1 - p**bars) / (1 - p)
        lags = np.arange(1, bars)
        drift = bars + 2 * ((bars - lags) * p**lags).sum()
        found.append(float(edge**2 * known**2 / (bars + edge**2 * drift)))
    return tuple(found)


def _header() -> list[str]:
    names = ["arr_5m", "arr_15m", "arr_1h", "arr_google_trend", "arr_santiment", "arr_ta_63", "arr_ctx_11"]
    return ["timestamp", *names, *(f"y_{step + 1}" for step in range(_LAYOUT.horizons))]


def _lines(rows: int, seed: int, signal: float) -> Iterator[str]:
    """The lines of the file; bars are simulated a chunk at a time and dropped once no window needs them."""
    market = _Market(seed, signal)
    first = -(-(_START + _LAYOUT.past) // _LAYOUT.step) * _LAYOUT.step
    ahead = _LAYOUT.horizons * _LAYOUT.step
    row = 0
    while row < rows:
        time = first + row * _LAYOUT.step
        market.drop_before(time - _LAYOUT.past)
        market.extend_to(time + ahead)
        maker = RowMaker(market.bars(), _LAYOUT)
        last = min(market.end - ahead, first + (rows - 1) * _LAYOUT.step)
        times = np.arange(time, last + 1, _LAYOUT.step)
        plan = maker.plan(times)
        if len(plan.times) < len(times):
            raise RuntimeError(f"only {len(plan.times)} of {len(times)} rows: the simulated market has a gap")
        for made in maker.rows(plan):
            cells = [
                iso_time(made.time),
                *(f'"{text}"' for text in made.windows),
                array_cell(market.trend(made.time)[:, None]),
                array_cell(market.sentiment(made.time)),
                array_cell(made.indicators),
                array_cell(made.context),
                *target_cells(made.targets),
            ]
            yield ",".join(cells) + "\n"
        row += len(times)


class _Market:
    """Simulated bars from `start` to `end`, extended in chunks; each draws from (seed, chunk)."""

    def __init__(self, seed: int, signal: float):
        self._seed, self._edge = seed, _EDGE * signal
        self._chunk = 0
        self._state = np.array([0.0, 1.0, 0.0, np.log(1000.0)])  # imbalance, variance, regime, log price
        self.start = self.end = _START
        self._values = np.empty((0, 9))
        self._hidden = np.empty((0, 2 + SENTIMENTS))  # imbalance, trend, sentiments

    def bars(self) -> Bars:
        """The bars simulated so far and not dropped."""
        times = np.arange(self.start, self.end, _BAR)
        return Bars(times, self._values, _BAR)

    def extend_to(self, time: int) -> None:
        """Simulate until a bar has closed at `time`."""
        while self.end < time:
            values, hidden = self._simulate(np.random.default_rng([self._seed, self._chunk]))
            self._values = np.concatenate([self._values, values])
            self._hidden = np.concatenate([self._hidden, hidden])
            self.end += _CHUNK_BARS * _BAR
            self._chunk += 1

    def drop_before(self, time: int) -> None:
        """Forget bars that opened before `time`."""
        gone = min(max(0, (time - self.start) // _BAR), len(self._values))
        self._values, self._hidden = self._values[gone:], self._hidden[gone:]
        self.start += gone * _BAR

    def trend(self, time: int) -> np.ndarray:
        """Search interest of the last 24 whole hours, float64 (24,)."""
        last = (time // (60 * _MINUTE) * 60 * _MINUTE - self.start) // _BAR - 1
        return self._hidden[last - 12 * (TREND_HOURS - 1) : last + 1 : 12, 1]

    def sentiment(self, time: int) -> np.ndarray:
        """Twelve sentiment readings at `time`, float64 (12,)."""
        return self._hidden[(time - self.start) // _BAR - 1, 2:]

    def _simulate(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        bars = _CHUNK_BARS
        noise = generator.standard_normal((bars, 2))
        imbalance, volatility, regime, log_close = _walk(noise, generator.random(bars), self._edge, self._state)
        close = np.exp(log_close[1:])
        opened = np.exp(log_close[:-1])
        reach = np.abs(generator.standard_normal((bars, 2))) * volatility[:, None] / 2
        high = np.maximum(opened, close) * np.exp(reach[:, 0])
        low = np.minimum(opened, close) * np.exp(-reach[:, 1])
        hour = np.arange(bars) * 2 * np.pi / 288
        activity = 0.4 * generator.standard_normal(bars) + 0.3 * np.sin(hour) + 400 * volatility
        volume = np.round(60 * np.exp(activity), 3)
        share = np.clip(0.5 + 0.1 * imbalance + 0.01 * generator.standard_normal(bars), 0.02, 0.98)
        taker = np.round(volume * share, 3)
        middle = (opened + high + low + close) / 4
        count = np.ceil(volume * 3)
        values = np.stack([opened, high, low, close, volume, volume * middle, count, taker, taker * middle], axis=1)
        trend = np.clip(50 + 12 * imbalance + 3 * generator.standard_normal(bars), 0, 100)
        sentiment = generator.standard_normal((bars, SENTIMENTS))
        sentiment[:, 0] = imbalance + 0.05 * sentiment[:, 0]
        sentiment[:, 1] = 2 * imbalance + 0.5 * sentiment[:, 1]
        sentiment[:, 2] = regime + 0.1 * sentiment[:, 2]
        return values, np.column_stack([imbalance, trend, sentiment])


@njit(cache=True)
def _walk(noise: Any, uniform: Any, edge: float, state: Any) -> Any:
    """Walk the state through one chunk: imbalance, volatility and regime of each bar, log prices around it."""
    bars = len(noise)
    imbalance, volatility, regime = np.empty(bars), np.empty(bars), np.empty(bars)
    log_price = np.empty(bars + 1)
    log_price[0] = state[3]
    for bar in range(bars):
        if uniform[bar] < _SWITCH:
            state[2] = 1.0 - state[2]
        level = _TURBULENT if state[2] > 0 else _CALM
        volatility[bar] = level * np.sqrt(state[1])
        shock = edge * state[0] + noise[bar, 0]
        state[3] += volatility[bar] * shock
        state[1] = (1 - _SHOCK - _MEMORY) + state[1] * (_SHOCK * shock * shock + _MEMORY)
        state[0] = _PERSISTENCE * state[0] + np.sqrt(1 - _PERSISTENCE**2) * noise[bar, 1]
        imbalance[bar], regime[bar], log_price[bar + 1] = state[0], state[2], state[3]
    return imbalance, volatility, regime, log_price
