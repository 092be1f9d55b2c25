"""Runs of `fit` without a network: a feature is their forecast, so that the second stage is quick to test."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deeptrade.data.opening import open_dataset
from deeptrade.notebook.execute import execute_notebook, notebook_path
from deeptrade.planning.jobs import Job
from deeptrade.report.page import render_notebook
from deeptrade.run_folder import AGENT_NOTEBOOK, RunFolder, TrainingFolder
from deeptrade.settings import FitSettings
from deeptrade.store import compile_store
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import train_agent
from deeptrade.training.judged import Judged
from tests.support.agents import Wave
from tests.support.markets import Market

STEP_SECONDS = 1200
MEMORY = Wave(memory=0.9, edge=2e-3, noise=3.0)


def write_market(path: Path, *, rows: int = 1500, seed: int = 0, later: int = 0, skill: float = 1.0) -> Market:
    """Write a market whose feature tells `skill` of the mean return; rows from `later` on are altered, 0 for none."""
    signal = MEMORY.signal(rows, seed)
    returns = MEMORY.returns(skill * signal, seed)
    if later:
        signal[later:], returns[later:] = -signal[later:], 0.5 * returns[later:]
    targets = np.stack([returns, np.concatenate([returns[1:] + returns[:-1], [np.nan]])], axis=1)
    header = ["timestamp", "arr_signal", "y_1", "y_2"]
    cells = [
        [
            str(1_700_000_000 + STEP_SECONDS * row),
            json.dumps([float(signal[row])]),
            *("" if np.isnan(value) else repr(float(value)) for value in targets[row]),
        ]
        for row in range(rows)
    ]
    market = Market(path, {"arr_signal": signal[:, None]}, targets, header, cells)
    market.write()
    compile_store(path)
    return market


def settings_of(path: Path, out: Path, **options) -> FitSettings:
    """Return the settings of a run on such a market."""
    return FitSettings(csv=str(path), out=str(out), model_size="tiny", **options)


def pretend_to_fit(settings: FitSettings) -> TrainingFolder:
    """Leave what `fit` would of a completed training; a row's forecast is a part of its own signal."""
    folder = TrainingFolder(settings.out_dir)
    folder.folder.mkdir(parents=True, exist_ok=True)
    with open_dataset(settings.csv, compiled=True) as data:
        split = data.split(**settings.split_options)
        for path, rows in ((folder.forecasts, split.validation), (folder.inner_forecasts, split.inner)):
            numbers = rows.numbers()
            signal = data.read(numbers)["arr_signal"]
            Judged.of(data, numbers, np.float32([1e-3, 2e-3]) * signal).write(path)
        content = {
            "status": "completed",
            "steps": 10,
            "effective_batch": 4,
            "time": {"steps_seconds": 1.0},
            "data_id": data.data_id,
            "weights_sha256": hashlib.sha256(repr(split.train.numbers()[-1]).encode()).hexdigest(),
            "settings": asdict(settings),
            "horizons": 2,
        }
    folder.result.write_text(json.dumps(content))
    return folder


def pretended_training(job: Job) -> tuple[int, str]:
    """Stand in for a training in a child process."""
    given = dict(one.removeprefix("--").partition("=")[::2] for one in job.command_line)
    periods = {name: given.get(name, "") for name in ("validation_period", "training_period")}
    pretend_to_fit(FitSettings(csv=job.data[0], out=str(job.out), **periods, model_size="tiny", skip_rl=True))
    job.log.write_text("done\n")
    return 0, "done"


def write_agent_pages(folder: Path, place: Path) -> None:
    """Leave the pages of notebook 07 in `folder`, of a small market and an agent that are made in `place`."""
    place.mkdir()
    write_market(place / "market.csv")
    run = pretend_to_fit(settings_of(place / "market.csv", place / "run"))
    options = {"rl_epochs": 2, "rl_batch_size": 128, "rl_fee": 0.0005}
    train_agent(run, AgentSettings(**options), progress="silent", start=pretended_training)
    executed = RunFolder(folder).executed(AGENT_NOTEBOOK)
    execute_notebook(notebook_path(AGENT_NOTEBOOK), executed, {"run": str(run.folder)} | options)
    for code in (False, True):
        render_notebook(executed, RunFolder(folder).page(AGENT_NOTEBOOK, code=code), code=code)
