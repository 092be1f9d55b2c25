"""The second stage on a log of another agent: from a transition file to an agent, and what can be said of it.

Of each state a log has one action, so it cannot be replayed with others: what is said here is an estimate. The latest
transitions teach nothing; on them the log's own rewards stand beside what fitted Q evaluation expects of the agent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import write_json
from ..progress import Progress
from ..run_folder import AgentFolder
from ..training.runtime import set_up_tensorflow
from .logged import ACTIONS, Log, read_log
from .settings import SEEDS, AgentSettings

if TYPE_CHECKING:
    from .conservative import LoggedAgent, LoggedLearning

Sink = Callable[[str], None]

HELD_OUT = 0.15
"""The latest transitions, which judge."""

LEAST_JUDGING = 100
"""Fewer of them say nothing of what the agent would have earned: of 45, fitted Q evaluation made four times as much."""

_OF_REPLAYS = ("rl_fee", "rl_slippage", "rl_risk", "rl_long_only")

NO_PROOF = "A log of one action for each state cannot be replayed with others: this is an estimate and no proof."


def train_on_log(
    folder: AgentFolder,
    settings: AgentSettings,
    identity: Mapping[str, Any],
    *,
    sink: Sink = lambda line: None,
    progress: str = "auto",
) -> dict[str, Any]:
    """Train an agent on the log `settings.rl_csv` and return the content of agent.json.

    Leaves agent.keras and agent.json in the folder, which the caller holds; no positions.csv, for a log does not say
    which rows it is about. Killed anywhere, the same call goes on and ends with the same numbers.

    identity: what the agent is made from, the log's bytes included; learning under another one is not taken up again.

    Raises DataError where the log cannot teach.
    """
    log = read_log(settings.rl_csv)
    for line in _plan_lines(log, settings):
        sink(line)
    set_up_tensorflow(allow_growth=True, give_back=True, sink=sink)
    from ..training.saved_model import save_model, weights_sha256
    from .conservative import ALPHA, GAMMA, LoggedAgent, LoggedLearning, Transitions

    gamma = settings.rl_gamma or GAMMA
    train, judging = split(len(log))
    lessons, unseen = Transitions.of(log, train), Transitions.of(log, judging)
    options: dict[str, Any] = {"epochs": settings.rl_epochs, "batch_size": settings.rl_batch_size, "gamma": gamma}

    def run(learning: LoggedLearning, part: str) -> LoggedLearning:
        _learn(learning, folder.checkpoints / part, identity, f"epochs of the {part}", sink=sink, progress=progress)
        return learning

    learning = run(LoggedLearning(lessons, len(ACTIONS), alpha=ALPHA, **options), "agent")
    agent = LoggedAgent.of(learning, lessons, ACTIONS, gamma=gamma)
    estimate = _beside_the_log(log, judging, agent)
    if len(judging) >= LEAST_JUDGING:
        after = agent.choose(log.following[judging])
        evaluation = run(LoggedLearning(unseen, len(ACTIONS), alpha=0.0, policy=after, **options), "evaluation")
        estimate |= _fitted_q(log, judging, agent, evaluation.values(unseen.states) * unseen.unit)
    save_model(agent, folder.model, unfinished=folder.unfinished_model)
    content = {
        "schema_version": 1,
        "verdict": {"kind": "estimate", "sentence": _sentence(log, len(judging), estimate)},
        "log": _about(log, len(train), len(judging)),
        "estimate": estimate,
        "actions": list(ACTIONS),
        "alpha": ALPHA,
        "gamma": gamma,
        "networks": SEEDS,
        "updates": learning.updates * settings.rl_epochs,
        "weights_sha256": weights_sha256(agent.variables),
        "identity": identity,
    }
    written = write_json(folder.account, content)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    sink(f"{written['verdict']['sentence']} {folder.account}")
    return written


def split(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the transitions that teach and those that judge, int64; one between, whose next state both know, neither.

    >>> [len(part) for part in split(200)]
    [169, 30]
    """
    begin = rows - round(HELD_OUT * rows)
    return np.arange(begin - 1), np.arange(begin, rows)


def _plan_lines(log: Log, settings: AgentSettings) -> list[str]:
    """Return what is wrong with the log, and which options do nothing."""
    usual = AgentSettings()
    unused = [name for name in _OF_REPLAYS if getattr(settings, name) != getattr(usual, name)]
    return [
        f"{log.name}: {len(log):,} of {log.read:,} rows are transitions",
        *(f"{log.name}: {fault.text}" for fault in log.faults),
        *(f"{name} has no effect with --rl_csv: rewards are those of the log" for name in unused),
    ]


def _learn(
    learning: LoggedLearning, folder: Path, identity: Mapping[str, Any], what: str, *, sink: Sink, progress: str
) -> None:
    """Learn to the end, from the newest checkpoint on."""
    from .checkpoint import AgentCheckpoints

    checkpoints = AgentCheckpoints(folder, learning.learner, None, identity)
    begin = checkpoints.restore()
    if begin:
        sink(f"continuing after {begin} {what}")
    bar = Progress(learning.epochs, start=begin, face=progress, sink=sink)
    try:
        for number in range(begin, learning.epochs):
            learning.epoch(number)
            checkpoints.save(number + 1)
            bar.update(number + 1, what)
    finally:
        bar.close()


def _beside_the_log(log: Log, rows: np.ndarray, agent: LoggedAgent) -> dict[str, Any]:
    """Return what log and agent do at the rows that judge, rewards in the unit of the log; the estimates still None."""
    chosen, logged = agent.choose(log.states[rows]), log.actions[rows]
    rewards, agrees = log.rewards[rows], chosen == logged
    shares = {
        name: {"log": float((logged == place).mean()), "agent": float((chosen == place).mean())}
        for place, name in enumerate(agent.actions)
    }
    return {
        "behaviour_mean_reward": float(rewards.mean()),
        "agreement": float(agrees.mean()),
        "mean_reward_where_they_agree": float(rewards[agrees].mean()) if agrees.any() else None,
        "conservative_q": float(agent.worth(log.states[rows]).mean(axis=0).max(axis=-1).mean()),
        "actions": shares,
        "fitted_q": None,
        "fitted_q_per_step": None,
        "fitted_q_per_step_spread": None,
    }


def _fitted_q(log: Log, rows: np.ndarray, agent: LoggedAgent, values: np.ndarray) -> dict[str, float]:
    """Return what the agent is estimated to earn from the rows that judge on, and per step, in the unit of the log.

    values: float32 (networks, rows, actions), what fitted Q evaluation expects of the agent after each action. Per step
    is as if episodes went on from all rows with the same chance.
    """
    chosen = agent.choose(log.states[rows])
    expected = values[:, np.arange(len(rows)), chosen].mean(axis=1, dtype=np.float64)
    per_step = expected * (1 - agent.gamma * (1 - log.ends[rows].mean()))
    return {
        "fitted_q": float(expected.mean()),
        "fitted_q_per_step": float(per_step.mean()),
        "fitted_q_per_step_spread": float(per_step.std()),
    }


_UNIT_WORDS = {"percent": " percent, it seems", "log": "", "unknown": ""}


def _sentence(log: Log, held_out: int, estimate: Mapping[str, Any]) -> str:
    expected = estimate["fitted_q_per_step"]
    told = (
        f"they are too few, below {LEAST_JUDGING}, to say what the agent would have earned"
        if expected is None
        else f"by fitted Q evaluation the agent would have earned some {expected:.3g}"
    )
    return (
        f"{NO_PROOF} In the latest {held_out:,} of {len(log):,} transitions the log earned "
        f"{estimate['behaviour_mean_reward']:.3g} a step{_UNIT_WORDS[log.unit]}; {told}. It takes the log's action in "
        f"{estimate['agreement']:.0%} of them."
    )


def _about(log: Log, train: int, held_out: int) -> dict[str, Any]:
    return {
        "file": log.name,
        "read": log.read,
        "used": len(log),
        "unread": log.unread,
        "faults": [{"kind": fault.kind, "text": fault.text, "rows": fault.rows} for fault in log.faults],
        "reward_unit": log.unit,
        "state_columns": log.states.shape[1],
        "train": train,
        "purged": len(log) - train - held_out,
        "held_out": held_out,
    }
