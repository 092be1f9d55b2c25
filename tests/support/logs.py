"""Transition files of the original's form, written the plain way."""

import csv
import json
from pathlib import Path

import numpy as np

NAMES = ["old_state", "action", "reward", "new_state", "done"]
ACTIONS = ["LONG", "SHORT", "HOLD"]


def log_rows(count=300, *, columns=3, seed=0):
    """Return rows as lists of text: states that follow each other, a reward of the action times what the state says.

    LONG earns the state's first number, SHORT loses it, HOLD earns nothing; one in five is the end of an episode.
    """
    random = np.random.default_rng(seed)
    states = random.normal(size=(count + 1, columns)).round(4)
    actions = random.integers(3, size=count)
    sign = np.array([1, -1, 0])[actions]
    rewards = (0.001 * sign * states[:-1, 0]).tolist()
    return [
        [json.dumps(old), ACTIONS[action], repr(reward), json.dumps(new), str(int(number % 5 == 4))]
        for number, (old, action, reward, new) in enumerate(
            zip(states[:-1].tolist(), actions.tolist(), rewards, states[1:].tolist(), strict=True)
        )
    ]


def write_log(path: Path, rows, *, header=NAMES) -> Path:
    """Write rows, below a header unless that is None."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows if header is None else [header, *rows])
    return path


def with_times(rows, hours=None):
    """Return the rows with a timestamp before each, an hour apart."""
    hours = range(len(rows)) if hours is None else hours
    return [[f"2024-01-{1 + hour // 24:02}T{hour % 24:02}:00:00", *row] for hour, row in zip(hours, rows, strict=True)]
