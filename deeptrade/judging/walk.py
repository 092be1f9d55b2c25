"""Walk-forward: many trainings on the past, each judged on the time after it, together one long record of forecasts.

Each fold and seed is a training of its own in a folder of its own, made by `fit` in a child process. All of them read
one store. What is done is never done again: killed anywhere, the same call goes on and ends with the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..errors import DataError, RunConflictError, interruptible
from ..files import friendly_os_errors, locked_folder, user_path, write_json
from ..memory import MemoryLimits
from ..planning.jobs import Job, Start, in_child, run_all
from ..planning.memory_model import pass_row_bytes
from ..planning.plan import planned
from ..planning.rules import apply_rules
from ..progress import ByteProgress
from ..run_folder import RunFolder, WalkFolder
from ..settings import FitSettings
from ..training.run_state import NETWORK_VERSION, check_network
from ..units import count_of, format_estimate
from .continuing import BATCH, continued
from .evaluate import evaluate_walk, weights_of
from .evaluation import Evaluation, read_evaluation
from .folds import Training, Walk, make_folds
from .walk_settings import OWN, WalkSettings, default_folder

Sink = Callable[[str], None]
FEW_ROWS = 200
"""Fewer training rows teach a network nothing that lasts."""


class WalkError(Exception):
    """A training of a walk failed for a reason that is not the user's; its log says more."""


@interruptible()
def walk(
    settings: FitSettings,
    options: WalkSettings | None = None,
    *,
    given: Collection[str] = (),
    fresh: bool = False,
    sink: Sink = lambda line: None,
    start: Start = in_child,
    at_once: int = 1,
) -> Evaluation:
    """Train every fold and seed of a walk, judge all forecasts together, and return the evaluation.

    Arguments: settings of `fit`, with the walk's folder as `out`; options of the walk; given, the names of options of
    `fit` the user set, which no automatic rule changes; fresh starts over; sink takes a line of text; start runs one
    training, in a thread of its own where several are to be under way at once.

    Leaves walk.json, folds/, forecasts.parquet and evaluation.json in `settings.out`. The same call continues.

    Raises DataError and SettingsError, RunConflictError for a folder of another walk, WalkError where a training fails.
    """
    settings = replace(settings, out=settings.out or default_folder(settings.csv))
    folder, options = WalkFolder(user_path(settings.out)), options or WalkSettings()

    def refuse() -> None:
        raise RunConflictError(f"another process walks in {folder.folder}; wait until it ends, or give another --out")

    with locked_folder(folder.folder, taken=refuse):
        whole = _plan(settings, options, folder, given=given, fresh=fresh, sink=sink)
        trainings = list(whole.trainings(folder))
        try:
            if any(not training.is_done for training in trainings):
                folder.evaluation.unlink(missing_ok=True)
            run_trainings(trainings, given=given, sink=sink, start=start, at_once=at_once)
        except KeyboardInterrupt:  # a signal, which the training has had too
            sink("stopped; run the same command again to continue")
            raise
        weights = weights_of(trainings)
        found = read_evaluation(folder.evaluation, weights_sha256=weights)
        if found.verdict is None or not folder.forecasts.exists():
            sink("judging the forecasts")
            return evaluate_walk(whole, folder)
        sink(f"{folder.folder} is done, nothing was changed; --fresh starts over")
        return found


def _plan(
    settings: FitSettings,
    options: WalkSettings,
    folder: WalkFolder,
    *,
    given: Collection[str],
    fresh: bool,
    sink: Sink,
) -> Walk:
    """Return the walk with its folds, as it was begun or new; the data is compiled first if needed."""
    before = folder.read_state()
    if before is None and RunFolder(folder.folder).is_run():
        raise RunConflictError(f"{folder.folder} holds a run, which a walk would mix with its own; give another --out")
    with _opened(settings, sink) as data:
        data.schema.select(settings.feature_names)
        settings = _resolved(settings, data, given=given, sink=sink)
        if before is not None and not fresh:
            settings = continued(before, Walk(settings, options, []), data, folder, given={*given, *settings.changed})
        whole = Walk(settings, options, make_folds(data, settings, options))
        identity = {"data_id": data.data_id, "content_hash": data.content_hash}
    if before is not None and fresh:
        folder.remove([training.name for training in Walk.from_json(before).trainings(folder)])
    version = NETWORK_VERSION if before is None or fresh else before.get("network_version", 1)
    if any(not training.is_done for training in whole.trainings(folder)):
        check_network(version, str(folder.folder))
    content = {"schema_version": 1, "network_version": version, **identity, **whole.to_json()}
    if fresh or before != content:
        write_json(folder.state, content)
    return whole


@contextmanager
def _opened(settings: FitSettings, sink: Sink) -> Iterator[Dataset]:
    with (
        closing(ByteProgress("reading", sink=sink)) as progress,
        open_dataset(
            settings.csv,
            compiled=True,
            **settings.reading_options,
            memory_limit=MemoryLimits.of(settings.memory_limit),
            sink=sink,
            progress=progress,
        ) as data,
    ):
        yield data


def _resolved(settings: FitSettings, data: Dataset, *, given: Collection[str], sink: Sink) -> FitSettings:
    """Return the settings with what the plan and the rules for large files choose, once for all trainings."""
    if settings.plan:
        chosen = planned(settings.plan, given=given)
        settings, given = replace(settings, plan="", **chosen), {*given, *chosen}
        sink("from the plan " + ", ".join(f"{name}={value}" for name, value in chosen.items()))
    settings, decisions = apply_rules(
        settings,
        given=given,
        file_bytes=data.file_bytes,
        limit=MemoryLimits.of(settings.memory_limit).smallest(),
        pass_row_bytes=pass_row_bytes(data.schema, settings),
        row_bytes=data.schema.row_bytes,
    )
    for decision in decisions:
        sink(decision.line())
    return settings


def run_trainings(
    trainings: Sequence[Training],
    *,
    given: Collection[str] = (),
    sink: Sink = lambda line: None,
    start: Start = in_child,
    at_once: int = 1,
) -> None:
    """Train what is not done, in order, each in a child process; say what it costs and how long the rest takes.

    given: names of options of `fit` that no automatic rule changes, beside those that differ from their defaults.
    at_once: how many are under way; one that begins with the weights of another comes after it. Raises as `walk` does.
    """
    left = [training for training in trainings if not training.is_done]
    if not left:
        return
    rows = sum(_work(training) for training in left)
    done = f", {len(trainings) - len(left)} of them done" if len(left) < len(trainings) else ""
    sink(f"{count_of(len(trainings), 'training')}{done}; {rows:,} rows to train on")
    fewest = min(left, key=lambda training: training.fold.rows["train"]).fold
    if fewest.rows["train"] < FEW_ROWS:
        rows_left = count_of(fewest.rows["train"], "row")
        sink(f"fold {fewest.number} has only {rows_left} to learn from: expect nothing of it")
    began, worked = time.monotonic(), 0

    def say_begin(training: Training) -> None:
        counts = training.fold.rows
        sink(
            f"training {trainings.index(training) + 1} of {len(trainings)}: fold {training.fold.number}, "
            f"seed {training.seed}, {counts['train']:,} training, {counts['inner']:,} inner, "
            f"{counts['validation']:,} validation rows"
        )

    def train(training: Training) -> None:
        _run_one(training, given, start)

    def is_ready(training: Training, unfinished: Collection[Training]) -> bool:
        return training.settings.warm_start not in {one.settings.out for one in unfinished}

    for training, _ in run_all(left, train, begin=say_begin, at_once=at_once, is_ready=is_ready):
        worked += _work(training)
        rest = (rows - worked) * (time.monotonic() - began) / max(1, worked)
        number = trainings.index(training) + 1
        sink(f"training {number} of {len(trainings)}: done{f'; about {format_estimate(rest)} left' if rest else ''}")


def _work(training: Training) -> int:
    return training.fold.rows["train"] * training.settings.epochs


def _run_one(training: Training, given: Collection[str], start: Start) -> None:
    """Train one fold with one seed; raise for how it failed."""
    log = training.log
    with friendly_os_errors(f"making the folder {log.parent}"):
        log.parent.mkdir(parents=True, exist_ok=True)
    names = {*given, *training.settings.changed, *OWN, *BATCH, "chunk_size", "cache_batches"} - {"fresh"}
    code, last = start(Job.of_fit(training.settings, names, log=log))
    if training.is_done:
        return
    what = f"the training of fold {training.fold.number}, seed {training.seed}"
    if code == DataError.exit_code:
        raise DataError(f"{what}: {last.removeprefix('deeptrade fit: ')}")
    again = f"see {log}; run the same command again to continue"
    if code < 0 or code > 128:
        how = f"was ended by signal {-code}" if code < 0 else f"was stopped by signal {code - 128}"
        raise DataError(f"{what} {how}; {again}")
    raise WalkError(f"{what} failed with exit code {code}; {again}")
