"""Where a run's files are, and what they hold: every path and every name of a file of a run stands here, once."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError
from .files import friendly_os_errors, is_held, read_json

if TYPE_CHECKING:
    import pandas as pd

NOTEBOOKS = {
    "01_profile_dataset": "profile",
    "02_auto_optimize": "optimize",
    "03_train": "train",
    "04_memory_report": "memory",
}
"""The notebooks of a run in order, and the folder below the run's that each writes."""

AGENT_NOTEBOOK = "07_trading_agent"
"""The notebook of the second stage, which a run has unless it leaves that out."""

_TRAINING, _AGENT = NOTEBOOKS["03_train"], "agent"
_PARTS = {**NOTEBOOKS, AGENT_NOTEBOOK: f"{_TRAINING}/{_AGENT}"}
PROFILE, PLAN, MEMORY_REPORT, LEDGER = "profile.json", "plan.json", "memory.json", "ledger.csv"
FORECASTS, EVALUATION = "forecasts.parquet", "evaluation.json"
_WORKERS = "workers"


@dataclass(frozen=True)
class TrainingFolder:
    """What `fit --out` leaves in `folder`; nothing has to be there."""

    folder: Path

    @property
    def result(self) -> Path:
        """result.json: what the run says of itself; written last."""
        return self.folder / "result.json"

    @property
    def history(self) -> Path:
        """history.csv: one row per optimizer step, equal in every run of the same data and settings."""
        return self.folder / "history.csv"

    @property
    def timing(self) -> Path:
        """timing.csv: the seconds of every optimizer step."""
        return self.folder / "timing.csv"

    @property
    def starts(self) -> Path:
        """starts.csv: one row per call of `fit` that trained."""
        return self.folder / "starts.csv"

    @property
    def timeline(self) -> Path:
        """memory.jsonl: the samples of its memory."""
        return self.folder / "memory.jsonl"

    @property
    def former_timeline(self) -> Path:
        """Where the previous timeline is kept while a run starts over."""
        return self.folder / ".memory.jsonl.before"

    @property
    def ledger(self) -> Path:
        """ledger.csv: every row rejected or left out for its content, and why."""
        return self.folder / LEDGER

    @property
    def refused_ledger(self) -> Path:
        """ledger.refused.csv: the ledger of data that was refused, where a run has its own already."""
        return self.folder / "ledger.refused.csv"

    @property
    def model(self) -> Path:
        """model.keras: the saved model."""
        return self.folder / "model.keras"

    @property
    def unfinished_model(self) -> Path:
        """The model while it is written; Keras insists on the ending."""
        return self.folder / ".model.tmp.keras"

    @property
    def evaluation(self) -> Path:
        """evaluation.json: scores of the forecasts."""
        return self.folder / EVALUATION

    @property
    def forecasts(self) -> Path:
        """forecasts.parquet: the validation forecasts, beside their targets."""
        return self.folder / FORECASTS

    @property
    def inner_forecasts(self) -> Path:
        """inner_forecasts.parquet: the same of the inner rows, on which rules of trading are chosen."""
        return self.folder / "inner_forecasts.parquet"

    @property
    def agent(self) -> AgentFolder:
        """The folder of the second stage."""
        return AgentFolder(self.folder / _AGENT)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def logs(self) -> Path:
        """The folder of TensorBoard's logs."""
        return self.folder / "logs"

    def of_worker(self, number: int) -> TrainingFolder:
        """Return the folder of what a worker other than the chief keeps: its own steps, seconds and memory."""
        return TrainingFolder(self.folder / _WORKERS / str(number))

    def read_result(self) -> dict[str, Any] | None:
        """Return the content of result.json, None where there is none; DataError where it is no JSON."""
        return _read_if_there(self.result)

    def read_completed_result(self) -> dict[str, Any] | None:
        """Return the result of a run that has come to its end; None where it has not, or where there is none."""
        result = self.read_result()
        return result if result is not None and result.get("status") == "completed" else None

    def read_history(self) -> pd.DataFrame:
        """Return history.csv as a table, empty where there is none; a last row that a kill has torn is left out."""
        import pandas as pd

        if not self.history.exists():
            return pd.DataFrame()
        with friendly_os_errors(f"reading {self.history.name}"):
            text = self.history.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        if not whole:
            return pd.DataFrame()
        try:
            history = pd.read_csv(StringIO(whole))
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise foreign_file(self.history, " ".join(str(error).split())) from None
        if not {"step", "loss"} <= set(history.columns):
            raise foreign_file(self.history, "it has no columns 'step' and 'loss'")
        return history

    def count_steps(self) -> int:
        """Return how many whole rows history.csv has; 0 where there is none."""
        return len(read_column(self.history, "step")) if self.history.exists() else 0

    def is_running(self) -> bool:
        """Return whether another process trains into this folder; False where that cannot be known."""
        return is_held(self.folder)

    def remove(self, *, but: Collection[Path] = (), workers: int = 1) -> None:
        """Remove what `fit` leaves, and nothing else; `but` names files that stay.

        The first `workers` workers remove what is theirs themselves.
        """
        for number in self._worker_numbers():
            if number >= workers:
                self.of_worker(number).remove()
                remove_empty(self.of_worker(number).folder, self.folder / _WORKERS)
        files = (  # after the result and the checkpoints, so that what a kill leaves here is a run that starts anew
            self.evaluation,
            self.forecasts,
            self.inner_forecasts,
            self.history,
            self.starts,
            self.timing,
            self.timeline,
            self.former_timeline,
            self.ledger,
            self.refused_ledger,
            self.model,
        )
        with friendly_os_errors(f"removing the run in {self.folder}"):
            self.result.unlink(missing_ok=True)
            self.agent.remove()
            for folder in (self.checkpoints, self.logs):
                shutil.rmtree(folder, ignore_errors=True)
            for path in files:
                if path not in but:
                    path.unlink(missing_ok=True)

    def _worker_numbers(self) -> list[int]:
        folders = (self.folder / _WORKERS).glob("[0-9]*")
        return [int(folder.name) for folder in folders if folder.name.isdigit()]

    def remove_leftovers(self) -> None:
        """Remove unfinished files that a kill has left."""
        with friendly_os_errors(f"removing unfinished files in {self.folder}"):
            self.unfinished_model.unlink(missing_ok=True)
            for folder in (self.folder, self.checkpoints, self.logs):
                for path in folder.glob(".*.tmp"):
                    path.unlink(missing_ok=True)


@dataclass(frozen=True)
class WalkFolder:
    """What `walk --out` leaves in `folder`; nothing has to be there."""

    folder: Path

    @property
    def state(self) -> Path:
        """walk.json: the settings and the folds; written first."""
        return self.folder / "walk.json"

    @property
    def forecasts(self) -> Path:
        """forecasts.parquet: the validation forecasts of all folds and seeds, beside their targets."""
        return self.folder / FORECASTS

    @property
    def evaluation(self) -> Path:
        """evaluation.json: scores of the pooled forecasts; written last."""
        return self.folder / EVALUATION

    @property
    def page(self) -> Path:
        """index.html: what the walk says, for readers."""
        return self.folder / "index.html"

    @property
    def folds(self) -> Path:
        """The folder of the trainings."""
        return self.folder / "folds"

    def training(self, name: str) -> TrainingFolder:
        """Return the folder of one training by its name, such as '03', or '03-seed_1' where there are several seeds."""
        return TrainingFolder(self.folds / name)

    def read_state(self) -> dict[str, Any] | None:
        """Return the content of walk.json, None where there is none; DataError where no walk has written it."""
        content = _read_if_there(self.state)
        for entry, kind in (("data_id", str), ("settings", dict), ("walk", dict), ("folds", list)):
            if content is not None and not isinstance(content.get(entry), kind):
                raise foreign_file(self.state, f"it has no {entry!r} of type {kind.__name__}")
        return content

    def remove(self, names: Collection[str]) -> None:
        """Remove what a walk of these trainings leaves, and nothing else."""
        with friendly_os_errors(f"removing pages in {self.folder}"):
            for name in names:
                RunFolder(self.training(name).folder).report.unlink(missing_ok=True)
        _remove_trainings(self.training(name) for name in names)
        with friendly_os_errors(f"removing the walk in {self.folder}"):
            for path in (self.evaluation, self.forecasts, self.page, self.state):
                path.unlink(missing_ok=True)
            remove_empty(self.folds)


@dataclass(frozen=True)
class AgentFolder:
    """What the second stage leaves in `folder`; nothing has to be there."""

    folder: Path

    @property
    def model(self) -> Path:
        """agent.keras: the agent."""
        return self.folder / "agent.keras"

    @property
    def unfinished_model(self) -> Path:
        """The agent while it is written; Keras insists on the ending."""
        return self.folder / ".agent.tmp.keras"

    @property
    def account(self) -> Path:
        """agent.json: what it would have earned, and its rivals; written last."""
        return self.folder / "agent.json"

    @property
    def positions(self) -> Path:
        """positions.csv: which position it holds at each row."""
        return self.folder / "positions.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints of its learning."""
        return self.folder / "checkpoints"

    @property
    def folds(self) -> Path:
        """The folder of the trainings that forecast rows which they have not seen."""
        return self.folder / "folds"

    def training(self, name: str) -> TrainingFolder:
        """Return the folder of one of these trainings, such as '03'."""
        return TrainingFolder(self.folds / name)

    def read_account(self) -> dict[str, Any] | None:
        """Return the content of agent.json, None where there is none."""
        return _read_if_there(self.account)

    def read_current(self, weights_sha256: str) -> dict[str, Any] | None:
        """Return the content of agent.json where the agent is of the forecaster with these weights, else None."""
        found = self.read_account()
        made_of = (found or {}).get("identity", {})
        return found if found and made_of.get("weights_sha256") == weights_sha256 else None

    def remove(self) -> None:
        """Remove what the second stage leaves, and nothing else."""
        _remove_trainings([TrainingFolder(path) for path in self.folds.glob("*") if path.is_dir()])
        with friendly_os_errors(f"removing the agent in {self.folder}"):
            for path in (self.account, self.positions, self.model, self.unfinished_model):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            remove_empty(self.folds)
            remove_empty(self.folder)


def log_beside(training: TrainingFolder) -> Path:
    """Return where what a training says is written while it runs in a child process."""
    return training.folder.with_name(f"{training.folder.name}.log")


def _remove_trainings(trainings: Iterable[TrainingFolder]) -> None:
    for training in trainings:
        training.remove()
        with friendly_os_errors(f"removing the training in {training.folder}"):
            log_beside(training).unlink(missing_ok=True)
            remove_empty(training.folder)


@dataclass(frozen=True)
class RunFolder:
    """What `run --out` leaves in `folder`, or any of `profile`, `optimize` and `fit`; nothing has to be there."""

    folder: Path

    @property
    def training(self) -> TrainingFolder:
        """What training left: in the folder train/, or in this folder itself where `fit` wrote to it."""
        below = self.folder / _TRAINING
        return TrainingFolder(below if below.is_dir() else self.folder)

    @property
    def state(self) -> Path:
        """run.json: what was run, and how each notebook stands."""
        return self.folder / "run.json"

    @property
    def index(self) -> Path:
        """index.html: the first page."""
        return self.folder / "index.html"

    @property
    def report(self) -> Path:
        """report.html: the page of any run, killed ones too."""
        return self.folder / "report.html"

    @property
    def profile(self) -> Path:
        """profile.json: of notebook 01, or in this folder itself where `profile` wrote to it."""
        return self._found("01_profile_dataset", PROFILE)

    @property
    def plan(self) -> Path:
        """plan.json: of notebook 02, or in this folder itself where `optimize` wrote to it."""
        return self._found("02_auto_optimize", PLAN)

    @property
    def comparison(self) -> Path:
        """comparison.json: runs side by side, as numbers."""
        return self.folder / "comparison.json"

    @property
    def comparison_page(self) -> Path:
        """compare.html: runs side by side."""
        return self.folder / "compare.html"

    def _found(self, notebook: str, name: str) -> Path:
        alone = self.folder / name
        return alone if alone.exists() else self.part(notebook) / name

    def part(self, notebook: str) -> Path:
        """Return the folder that a notebook writes."""
        return self.folder / _PARTS[notebook]

    def executed(self, notebook: str) -> Path:
        """Return where a notebook lies when it has been executed."""
        return self.folder / f"{notebook}.ipynb"

    def page(self, notebook: str, *, code: bool) -> Path:
        """Return where the page of a notebook lies: for readers, or in full with its code."""
        return self.folder / (f"{notebook}.full.html" if code else f"{notebook}.html")

    def read_state(self) -> dict[str, Any] | None:
        """Return the content of run.json, None where there is none."""
        return _read_if_there(self.state)

    def read_profile(self) -> dict[str, Any] | None:
        """Return the profile of a run, or of a folder that `profile` wrote; None where there is none."""
        return _read_if_there(self.profile)

    def read_plan(self) -> dict[str, Any] | None:
        """Return the plan of a run, or of a folder that `optimize` wrote; None where there is none."""
        return _read_if_there(self.plan)

    def is_run(self) -> bool:
        """Return whether there is a run here, or what `fit` left of one."""
        training = self.training
        return any(path.exists() for path in (self.state, training.result, training.timeline))

    def remove(self) -> None:
        """Remove what `run` leaves, and nothing else."""
        TrainingFolder(self.part("03_train")).remove()
        with friendly_os_errors(f"removing the run in {self.folder}"):
            self._remove_own()

    def _remove_own(self) -> None:
        for notebook in _PARTS:
            for name in (PROFILE, LEDGER, PLAN, MEMORY_REPORT):
                (self.part(notebook) / name).unlink(missing_ok=True)
            if self.part(notebook).is_dir() and not any(self.part(notebook).iterdir()):
                self.part(notebook).rmdir()
            for path in (
                self.executed(notebook),
                self.page(notebook, code=False),
                self.page(notebook, code=True),
            ):
                path.unlink(missing_ok=True)
        for path in (self.index, self.state):
            path.unlink(missing_ok=True)


def meant_run(folder: Path) -> str:
    """Ask whether another folder was meant by one that holds no run, to begin advice with; empty where none is near.

    A notebook lies in a folder of its own: what its path names may be in the folder above. Else it is a run of a like
    name, or the only one, beside the folder named, in runs/ or in runs/ above.
    """
    above = Path("..") / folder
    if not folder.is_absolute() and (RunFolder(above).is_run() or _runs_below(above)):
        return f"did you mean {str(above)!r}? If not, "
    for place in (folder.parent, above.parent, Path("runs"), Path("../runs")):
        runs = {run.name: run for run in _runs_below(place)}
        near = get_close_matches(folder.name, runs, n=1) or (list(runs) if len(runs) == 1 else [])
        if near:
            return f"did you mean {str(runs[near[0]])!r}? If not, "
    return ""


def _runs_below(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and RunFolder(path).is_run())
    except OSError:  # no folder, or one that cannot be read
        return []


def remove_empty(*folders: Path) -> None:
    """Remove those of the folders that are empty."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def read_column(path: Path, column: str) -> np.ndarray:
    """Return one column of a table of steps as float64 (steps,); a last row that a kill has torn is left out."""
    with friendly_os_errors(f"reading {path.name}"), open(path, newline="", encoding="utf-8") as file:
        whole = (line for line in file if line.endswith("\n"))
        return np.array([_number(row[column]) for row in csv.DictReader(whole)])


def _number(text: str) -> float:
    return float(text == "True") if text in ("True", "False") else float(text)


def _read_if_there(path: Path) -> dict[str, Any] | None:
    """The content of a run's JSON file; None where there is no such file, DataError for a file of something else."""
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise foreign_file(path, "it holds no JSON object")
    return content


def foreign_file(path: Path, why: str) -> DataError:
    """Return the error for a file that has one of our names, and that no run wrote."""
    return DataError(f"{path} does not belong to a run: {why}; give the --out of a run")
