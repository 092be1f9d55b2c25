"""Walk-forward: many trainings on the past, each judged on the time after it, together one long record of forecasts.

Each fold and seed is a training of its own in a folder of its own, made by `fit` in a child process. All of them read
one store. What is done is never done again: killed anywhere, the same call goes on and ends with the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..errors import DataError, RunConflictError
from ..files import friendly_os_errors, is_held, locked_folder, user_path, write_json
from ..memory import MemoryLimits
from ..planning.children import bound_command, run_logged
from ..progress import ByteProgress
from ..run_folder import WalkFolder
from ..settings import MATHS, FitSettings
from ..units import count_of
from .evaluate import evaluate
from .evaluation import Evaluation, read_evaluation
from .folds import Training, Walk, make_folds
from .walk_settings import OWN, WalkSettings

Sink = Callable[[str], None]
Start = Callable[[Sequence[str], Path], tuple[int, str]]
"""Runs `deeptrade` with arguments, what it says in a log, and returns its exit code and its last line."""

_WAIT_SECONDS = 60


def in_child(arguments: Sequence[str], log: Path) -> tuple[int, str]:
    """Run `deeptrade` in a child process, which ends with this one."""
    return run_logged([*bound_command("deeptrade"), *arguments], log)


class WalkError(Exception):
    """A training of a walk failed for a reason that is not the user's; its log says more."""


def walk(
    settings: FitSettings,
    options: WalkSettings | None = None,
    *,
    given: Collection[str] = (),
    fresh: bool = False,
    sink: Sink = lambda line: None,
    start: Start = in_child,
) -> Evaluation:
    """Train every fold and seed of a walk, judge all forecasts together, and return the evaluation.

    Arguments: settings of `fit`, with the walk's folder as `out`; options of the walk; given, the names of options of
    `fit` the user set, which no automatic rule changes; fresh starts over; sink takes a line of text; start runs one
    training.

    Leaves walk.json, folds/, forecasts.parquet and evaluation.json in `settings.out`. The same call continues.

    Raises DataError and SettingsError, RunConflictError for a folder of another walk, WalkError where a training fails.
    """
    folder, options = WalkFolder(user_path(settings.out)), options or WalkSettings()

    def refuse() -> None:
        raise RunConflictError(f"another process walks in {folder.folder}; wait until it ends, or give another --out")

    with locked_folder(folder.folder, taken=refuse):
        whole = _plan(settings, options, folder, fresh=fresh, sink=sink)
        trainings = list(whole.trainings(folder))
        _run_all(trainings, given, sink, start, folder)
        found = _found(folder)
        if found is None:
            sink("judging the forecasts")
            return evaluate(folder.folder)
        sink(f"{folder.folder} is done, nothing was changed; --fresh starts over")
        return found


def _plan(settings: FitSettings, options: WalkSettings, folder: WalkFolder, *, fresh: bool, sink: Sink) -> Walk:
    """Return the walk with its folds, as it was begun or new; the data is compiled first if needed."""
    before = folder.read_state()
    if fresh and before is not None:
        folder.remove([training.name for training in Walk.from_json(before).trainings(folder)])
        before = None
    with (
        closing(ByteProgress("reading", sink=sink)) as progress,
        open_dataset(
            settings.csv,
            compiled=True,
            store=settings.store,
            max_bad_rows=settings.max_bad_rows,
            max_rows=settings.max_rows,
            chunk_size=settings.chunk_size,
            sort=settings.sort,
            duplicates=settings.duplicates,
            use_mmap=not settings.no_mmap,
            memory_limit=MemoryLimits.of(settings.memory_limit),
            sink=sink,
            progress=progress,
        ) as data,
    ):
        data.schema.select(settings.feature_names)
        whole = Walk(settings, options, make_folds(data, settings, options))
        if before is not None:
            _check_same(before, whole, data, folder)
        identity = {"data_id": data.data_id, "content_hash": data.content_hash}
    write_json(folder.state, {"schema_version": 1, **identity, **whole.to_json()})
    return whole


def _check_same(before: dict[str, Any], now: Walk, data: Dataset, folder: WalkFolder) -> None:
    """Raise RunConflictError naming the difference where the folder holds another walk."""
    advice = "give another --out, or --fresh to start over"
    if before["data_id"] not in (data.data_id, *data.former_data_ids):
        raise RunConflictError(f"{folder.folder} holds a walk over other data; {advice}")
    earlier = Walk.from_json(before)
    pairs = [(asdict(earlier.options), asdict(now.options)), (asdict(earlier.settings), asdict(now.settings))]
    for (was, is_now), names in zip(pairs, (asdict(now.options), set(MATHS) - set(OWN)), strict=True):
        for name in sorted(names):
            if name in was and was[name] != is_now[name]:
                raise RunConflictError(
                    f"{folder.folder} holds a walk with {name}={was[name]!r}, given {is_now[name]!r}; {advice}"
                )


def _run_all(
    trainings: Sequence[Training], given: Collection[str], sink: Sink, start: Start, folder: WalkFolder
) -> None:
    """Train what is not done, in order; say what it costs and how long the rest takes."""
    left = [training for training in trainings if not training.is_done]
    if not left:
        return
    rows = sum(_work(training) for training in left)
    done = f", {len(trainings) - len(left)} of them done" if len(left) < len(trainings) else ""
    sink(f"{count_of(len(trainings), 'training')}{done}; {rows:,} rows to train on")
    folder.evaluation.unlink(missing_ok=True)
    seconds, worked = 0.0, 0
    for training in left:
        number = trainings.index(training) + 1
        counts = training.fold.rows
        sink(
            f"training {number} of {len(trainings)}: fold {training.fold.number}, seed {training.seed}, "
            f"{counts['train']:,} training, {counts['inner']:,} inner, {counts['validation']:,} validation rows"
        )
        started = time.monotonic()
        _run_one(training, given, start, folder.log(training.name))
        seconds, worked = seconds + time.monotonic() - started, worked + _work(training)
        rest = (rows - worked) * seconds / max(1, worked)
        sink(f"training {number} of {len(trainings)}: done{f'; about {_time_left(rest)} left' if rest else ''}")


def _work(training: Training) -> int:
    return training.fold.rows["train"] * training.settings.epochs


def _time_left(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _run_one(training: Training, given: Collection[str], start: Start, log: Path) -> None:
    """Train one fold with one seed; raise for how it failed."""
    out = training.settings.out_dir
    for _ in range(_WAIT_SECONDS):  # what trained there when the walk was killed saves its progress and leaves
        if not is_held(out):
            break
        time.sleep(1)
    with friendly_os_errors(f"making the folder {log.parent}"):
        log.parent.mkdir(parents=True, exist_ok=True)
    names = {*given, *training.settings.changed, *OWN} - {"fresh"}
    code, last = start(training.settings.as_arguments(names), log)
    if code == 0:
        return
    what = f"the training of fold {training.fold.number}, seed {training.seed}"
    if code == DataError.exit_code:
        raise DataError(f"{what}: {last.removeprefix('deeptrade fit: ')}")
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    again = f"see {log}; the same command continues"
    if code < 0 or code > 128:
        raise DataError(f"{what} {how}; {again}")
    raise WalkError(f"{what} {how}; {again}")


def _found(folder: WalkFolder) -> Evaluation | None:
    """Return the evaluation of this walk, None where it has none yet."""
    found = read_evaluation(folder.evaluation)
    return found if found.verdict is not None and folder.forecasts.exists() else None
