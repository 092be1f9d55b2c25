"""The second stage of `fit`: from a trained forecaster to an agent, its positions and an account of what it is worth.

The rows that judge are the forecaster's validation rows; the agent learns from forecasts of training rows that no
training has seen, and is chosen on the inner rows. Killed anywhere, the same call goes on and ends with the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..data.split import Split
from ..errors import RunConflictError, interruptible
from ..files import locked_folder, user_path, write_json
from ..judging.costs import FEES
from ..judging.folds import Training
from ..judging.walk import run_trainings
from ..memory import MemoryLimits
from ..planning.jobs import Start, in_child
from ..run_folder import AgentFolder, RunFolder, TrainingFolder
from ..settings import FitSettings
from ..training.judged import Judged
from ..units import count_of, format_estimate
from .log_stage import train_on_log
from .logged import log_sha256
from .making import make_agent
from .market import Market, Parts, make_market
from .settings import GAMMAS, SEEDS, AgentSettings, updates_per_epoch
from .state import columns, make_states, realised_volatility
from .unseen import TooFewRowsError, read_unseen, unseen_folds, unseen_trainings

Sink = Callable[[str], None]

LEAST_TURNS = {"train": 200, "inner": 40, "validation": 20}
"""Fewer turns teach nothing, choose by luck, or say nothing."""

_NETWORKS = len(FEES) * len(GAMMAS) * SEEDS
_START_SECONDS, _NETWORK_UPDATES_A_SECOND = 12.0, 2000.0
"""For the estimate of the time: what a training takes beside its steps, and the speed of learning on two cores."""


def train_agent(
    run: TrainingFolder,
    settings: AgentSettings,
    *,
    fresh: bool = False,
    sink: Sink = lambda line: None,
    progress: str = "auto",
    start: Start = in_child,
) -> dict[str, Any] | None:
    """Train the agent of a completed run of `fit` and return the content of agent.json.

    Arguments: run, the folder that `fit` left; settings; fresh starts over; sink takes a line of text at a time;
    progress is as `fit` has it; start runs one training of the forecaster.

    Leaves agent.keras, agent.json, positions.csv and folds/ in `settings.rl_out`, or agent/ in the run's folder; with
    `settings.rl_csv`, what `train_on_log` does. Done already, it changes nothing. Returns None, and says why, where
    there are too few rows for an agent.

    Raises RunConflictError for a folder that holds an agent with other settings, and what `walk` raises.
    """
    result = run.read_completed_result()
    if result is None:
        raise RunConflictError(f"{run.folder} holds no completed training; run fit first")
    folder = agent_folder(run, settings)

    def refuse() -> None:
        raise RunConflictError(f"another process trains an agent in {folder.folder}; wait until it ends")

    with locked_folder(folder.folder, taken=refuse):
        if fresh:
            folder.remove()
        found = _done_before(folder, settings, result)
        if found is not None:
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
            sink(f"{folder.folder} is done, nothing was changed; --fresh starts over")
            return found
        try:
            if settings.rl_csv:
                return train_on_log(folder, settings, identity(settings, result), sink=sink, progress=progress)
            return _train(run, result, settings, folder, sink, progress, start)
        except TooFewRowsError as reason:
            sink(f"no agent was trained: {reason}; --skip_rl leaves this stage out")
            return None
        except KeyboardInterrupt:
            sink("the agent is not done; run the same command again to continue")
            raise


@interruptible()
def agent_of_run(run: str | Path, settings: AgentSettings, **options: Any) -> dict[str, Any] | None:
    """Return what `train_agent` does, of a folder that `run` or `fit` has written."""
    return train_agent(RunFolder(user_path(run)).training, settings, **options)


def agent_folder(run: TrainingFolder, settings: AgentSettings) -> AgentFolder:
    """Return where the agent of a run is written."""
    return AgentFolder(user_path(settings.rl_out)) if settings.rl_out else run.agent


def _done_before(folder: AgentFolder, settings: AgentSettings, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the agent of a folder if it is of these settings and this forecaster."""
    found = folder.read_account()
    if found is None:
        return None
    now = identity(settings, result)
    for name, was in found["identity"]["settings"].items():
        if was != now["settings"].get(name):
            raise RunConflictError(
                f"{folder.folder} holds an agent with {name}={was!r}, given {now['settings'].get(name)!r}; "
                "give another --rl_out, or --fresh to start over"
            )
    return found if found["identity"] == now else None


def identity(settings: AgentSettings, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an agent is made from: its options, the data and the forecaster, by its weights, and a log."""
    log = {"log_sha256": log_sha256(settings.rl_csv)} if settings.rl_csv else {}
    return log | {
        "settings": {name: value for name, value in asdict(settings).items() if name != "rl_out"},
        "data_id": result["data_id"],
        "weights_sha256": result["weights_sha256"],
    }


def forecaster_settings(result: Mapping[str, Any]) -> FitSettings:
    """Return the settings that a run was trained with, after all rules."""
    names = {item.name for item in fields(FitSettings)}
    return FitSettings(**{"inner_ratio": 0.0} | {k: v for k, v in result["settings"].items() if k in names})


def _train(
    run: TrainingFolder,
    result: Mapping[str, Any],
    settings: AgentSettings,
    folder: AgentFolder,
    sink: Sink,
    progress: str,
    start: Start,
) -> dict[str, Any]:
    forecaster = forecaster_settings(result)
    limits = MemoryLimits.of(forecaster.memory_limit)
    with open_dataset(
        forecaster.csv, compiled=True, **forecaster.reading_options, memory_limit=limits, sink=sink
    ) as data:
        split = data.split(**forecaster.split_options)
        if not len(split.inner):
            raise TooFewRowsError("there are no inner rows to choose it by; give an inner_ratio above 0")
        trainings = list(unseen_trainings(unseen_folds(data, forecaster, split), forecaster, run.agent))
        _check_enough({"train": len(split.train), "inner": len(split.inner), "validation": len(split.validation)})
        for line in _plan_lines(trainings, settings, result):
            sink(line)
        run_trainings(trainings, sink=sink, start=start)
        parts = _make_parts(data, forecaster, split, read_unseen(trainings), Judged.read(run.forecasts))
    _check_enough({name: len(market.plan.rows) for name, market in parts.named.items()})
    made = make_agent(parts, settings, identity(settings, result), folder, sink=sink, progress=progress)
    content = {"schema_version": 1, **made, "identity": identity(settings, result), **_about(parts, trainings)}
    write_json(folder.account, content)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    sink(f"{content['verdict']['sentence']} {folder.account}")
    return content


def markets_of_run(run: str | Path, settings: AgentSettings | None = None) -> Parts:
    """Return the markets of training, inner and validation rows of a run's agent, for agents of other libraries.

    run: a folder that `run` or `fit` has written. Raises RunConflictError where it has no agent yet.
    """
    training = RunFolder(user_path(run)).training
    folder, result = agent_folder(training, settings or AgentSettings()), training.read_completed_result()
    if result is None or not folder.account.exists():
        raise RunConflictError(f"{training.folder} holds no agent; run fit without --skip_rl first")
    forecaster = forecaster_settings(result)
    with open_dataset(forecaster.csv, compiled=True, **forecaster.reading_options) as data:
        split = data.split(**forecaster.split_options)
        trainings = list(unseen_trainings(unseen_folds(data, forecaster, split), forecaster, training.agent))
        return _make_parts(data, forecaster, split, read_unseen(trainings), Judged.read(training.forecasts))


def _check_enough(turns: Mapping[str, int]) -> None:
    """Raise TooFewRowsError where a part has fewer turns, or at most so few, than an agent needs."""
    for name, least in LEAST_TURNS.items():
        if turns[name] < least:
            rows = count_of(turns[name], f"{name} row")
            raise TooFewRowsError(f"{rows} can be traded, at least {least} are needed; use more rows")


def _make_parts(data: Dataset, settings: FitSettings, split: Split, unseen: Judged, judged: Judged) -> Parts:
    """Return the markets of all parts: unseen forecasts of training and inner rows, the forecaster's of the others."""
    labels = data.labels(target_step=settings.target_step, markets=settings.market_names)
    numbers = data.usable.numbers()
    volatility = realised_volatility(
        data.timestamps, data.read_markets(numbers), data.targets[:, 0], target_step=labels.target_step
    )

    def market(part: Judged) -> Market:
        states = make_states(part.forecasts, part.times, volatility[np.searchsorted(numbers, part.rows)])
        return make_market(part, states, target_step=labels.target_step)

    def only(rows: np.ndarray) -> Judged:
        return unseen.take(np.isin(unseen.rows, rows))

    train, inner = only(split.train.numbers()), only(split.inner.numbers())
    return Parts(market(train), market(inner), market(judged), labels.target_step, labels.overlap)


def _plan_lines(trainings: list[Training], settings: AgentSettings, result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be done and about how long it takes, from the pace of the forecaster's own training."""
    left = [training for training in trainings if not training.is_done]
    trained = max(1, result["steps"] * result["effective_batch"])
    pace = (result["time"]["steps_seconds"] or 0.0) / trained
    rows = sum(_rows_to_train(training) for training in left)
    updates = updates_per_epoch(max(one.fold.rows["train"] for one in trainings), settings.rl_batch_size)
    networks = _NETWORKS // (len(GAMMAS) if settings.rl_gamma else 1)
    learning = networks * updates * settings.rl_epochs / _NETWORK_UPDATES_A_SECOND
    first = f"{count_of(len(left), 'training')} to forecast rows that they have not seen, then " if left else ""
    seconds = rows * pace + len(left) * _START_SECONDS + learning
    yield f"the agent: {first}learning; about {format_estimate(seconds)}, --skip_rl leaves it out"


def _rows_to_train(training: Training) -> int:
    settings = training.settings
    rows = training.fold.rows["train"] * settings.epochs
    return min(rows, settings.max_steps * settings.effective_batch) if settings.max_steps else rows


def _about(parts: Parts, trainings: list[Training]) -> dict[str, Any]:
    """Return what else agent.json tells: how many rows there were, and the trainings behind unseen forecasts."""
    rows = {name: {"rows": len(one.judged), "turns": len(one.plan.rows)} for name, one in parts.named.items()}
    folds = [
        {"name": training.name, "judged": training.fold.validation_period, "rows": training.fold.rows}
        for training in trainings
    ]
    return {"rows": rows, "folds": folds, "state": columns(parts.train.judged.forecasts.shape[1])}
