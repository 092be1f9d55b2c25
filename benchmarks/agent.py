"""How fast an agent learns, beside learning by calls of Keras, and what a whole agent takes of time and memory.

    python benchmarks/agent.py [--rows 60000] [--updates 200]

The peer learns as deep Q-learning is often written with Keras: for every update three calls of `predict` and one of
`fit` on 512 rows, the state holding the position as well. Ours trains all nine pairs of positions of a row at once.
Both networks have two hidden layers of 64 units. Then an agent for five fees, three discounts and five networks each
learns from `--rows` rows in a fresh process: seconds, and anonymous memory above that after the imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

BATCH, COLUMNS = 512, 15


def peer(updates: int) -> float:
    """Return updates a second of double Q-learning by calls of Keras."""
    from deeptrade.data.backend import keras

    def network():
        layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu"), keras.layers.Dense(3)]
        model = keras.Sequential([keras.Input((COLUMNS + 3,)), *layers])
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.Huber())
        return model

    draws = np.random.default_rng(0)
    learning, judging = network(), network()
    states, following = (draws.normal(size=(BATCH, COLUMNS + 3)).astype(np.float32) for _ in range(2))
    rewards, actions, rows = draws.normal(size=BATCH), draws.integers(0, 3, BATCH), np.arange(BATCH)
    started = 0.0
    for update in range(updates + 3):
        if update == 3:  # the first ones trace
            started = time.perf_counter()
        values = learning.predict(states, verbose=0)
        best = learning.predict(following, verbose=0).argmax(axis=1)
        values[rows, actions] = rewards + 0.97 * judging.predict(following, verbose=0)[rows, best]
        learning.fit(states, values, batch_size=BATCH, verbose=0)
    return updates / (time.perf_counter() - started)


def make_lessons(rows: int):
    """Return random lessons of so many rows."""
    from deeptrade.trading.learning import Lessons

    draws = np.random.default_rng(0)
    states, following = (draws.normal(size=(rows, COLUMNS)).astype(np.float32) for _ in range(2))
    returns = draws.normal(size=rows).astype(np.float32)
    scale = np.zeros(COLUMNS, np.float32), np.ones(COLUMNS, np.float32)
    return Lessons(states, following, returns, np.ones(rows, np.float32), np.zeros(rows, np.float32), *scale, 0.004)


def ours(groups: int) -> float:
    """Return updates of one network a second, where `groups` times five learn together."""
    from deeptrade.trading.learning import Group, Learning
    from deeptrade.trading.settings import SEEDS, AgentSettings

    learning = Learning(make_lessons(20_000), [Group(0.001, 0.97)] * groups, AgentSettings())
    learning.epoch(0)
    started = time.perf_counter()
    learning.epoch(1)
    return SEEDS * groups * learning.updates / (time.perf_counter() - started)


def whole(rows: int) -> dict:
    """Learn an agent of all fees from so many rows in this process; return seconds and bytes."""
    from deeptrade.judging.resampling import Blocks
    from deeptrade.memory.process import read_memory
    from deeptrade.times import SECOND
    from deeptrade.trading.accounting import all_fees
    from deeptrade.trading.choice import Candidates
    from deeptrade.trading.learning import Group, Learning, learn
    from deeptrade.trading.market import make_market
    from deeptrade.trading.settings import GAMMAS, AgentSettings
    from deeptrade.training.judged import Judged
    from deeptrade.training.runtime import set_up_tensorflow

    set_up_tensorflow(allow_growth=True, give_back=True, sink=lambda line: None)
    before, highest, done = read_memory().anon_bytes, 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, read_memory().anon_bytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, inner_rows = time.perf_counter(), rows * 15 // 100
    draws = np.random.default_rng(1)
    hour = 3600 * SECOND
    judged = Judged(
        np.arange(inner_rows),
        hour * np.arange(inner_rows),
        np.full(inner_rows, "", object),
        draws.normal(size=(inner_rows, 10)).astype(np.float32),
        draws.normal(0, 0.004, (inner_rows, 10)).astype(np.float32),
    )
    inner = make_market(judged, draws.normal(size=(inner_rows, COLUMNS)).astype(np.float32), target_step=hour)
    settings = AgentSettings()
    pairs = [(fee, gamma) for fee in all_fees(settings.rl_fee) for gamma in GAMMAS]
    learning = Learning(make_lessons(rows - inner_rows), [Group(*pair) for pair in pairs], settings)
    candidates = Candidates(
        inner,
        pairs,
        epochs=settings.rl_epochs,
        positions=settings.positions,
        blocks=Blocks(judged.times, length=24),
        weights={weight.name: tuple(weight.shape)[1:] for weight in learning.learner.judging.weights},
    )
    learn(learning, candidates)
    candidates.chosen()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return {"seconds": seconds, "anon_bytes": highest - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.whole:
        print(json.dumps(whole(options.rows)))
        return
    command = [sys.executable, str(Path(__file__)), "--whole", "--rows", str(options.rows)]
    child = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    rates = {"calls of Keras, one network": peer(options.updates)}
    rates |= {f"ours, {5 * groups} networks together": ours(groups) for groups in (1, 15)}
    print(f"{'':34}updates/s of 512 rows   row-pairs/s")
    for name, rate in rates.items():
        pairs = BATCH * (1 if name.startswith("calls") else 9)
        print(f"{name:34}{rate:22,.0f}{rate * pairs:14,.0f}")
    print(
        f"{options.rows:,} rows, 5 fees x 3 discounts x 5 networks: {child['seconds']:.0f} s, "
        f"{child['anon_bytes'] / 2**20:.0f} MiB above the imports"
    )
    print(json.dumps({"updates_per_second": rates, "rows": options.rows, **child}))


if __name__ == "__main__":
    main()
