"""Judge what a training, or all those of a walk, forecast on their validation rows, beside simple forecasts of these.

No TensorFlow is needed: `fit` has left the forecasts. Only those of runs of earlier versions are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..data.split import Split
from ..errors import DataError, RunConflictError, interruptible
from ..files import atomic_write, is_held, user_path, write_json
from ..memory import MemoryLimits
from ..run_folder import TrainingFolder, WalkFolder
from ..settings import FitSettings
from ..store.row_range import RowRange
from ..training.judged import Judged
from .baselines import simple_forecasts
from .costs import after_costs
from .evaluation import Evaluation, judge
from .folds import Fold, Training, Walk, paths
from .periods import PeriodScore, by_period


@interruptible()
def evaluate(run: str | Path, *, data: str | Path = "", seed: int = 0) -> Evaluation:
    """Judge a completed run or walk on its validation rows, together and by market; write and return the evaluation.

    `run` is the folder that `fit --out` or `walk --out` wrote; `data` is needed only where the data has moved since.
    It writes evaluation.json, and of a walk forecasts.parquet: timestamp, market, row, fold, seed, f_1..f_H, y_1..y_H.

    Raises DataError where the run is not completed, or the data is not the run's, RunConflictError while it walks.
    """
    folder = WalkFolder(user_path(run))
    content = folder.read_state()
    if content is None:
        return _evaluate_run(TrainingFolder(folder.folder), data, seed)
    if is_held(folder.folder):
        raise RunConflictError(f"another process walks in {folder.folder}; it judges at the end")
    return evaluate_walk(Walk.from_json(content), folder, data=data, seed=seed)


def _evaluate_run(folder: TrainingFolder, data: str | Path, seed: int) -> Evaluation:
    result = folder.read_completed_result()
    if result is None:
        raise DataError(f"the run in {folder.folder} is not completed; run it again to continue, then evaluate")
    settings = _settings_of(result)
    with _opened(settings, data, result) as dataset:
        split = dataset.split(**settings.split_options, by_count="embargo" not in result["settings"])
        judged, inner = _forecasts(folder, dataset, split)
        labels = dataset.labels(target_step=settings.target_step, markets=settings.market_names)
        simple = simple_forecasts(dataset, split, settings.feature_names, overlap=labels.overlap)
        part = _Part(judged, inner, _of_rows(simple, split, judged), _is_forward(dataset, split))
        evaluation = _judge(part, [part], dataset, settings, seed)
    if not _has_left(folder):
        judged.write(folder.forecasts)  # first: where evaluation.json is of these weights, so is this
    _write(folder.evaluation, evaluation, weights=result["weights_sha256"])
    return evaluation


def evaluate_walk(walk: Walk, folder: WalkFolder, *, data: str | Path = "", seed: int = 0) -> Evaluation:
    """Judge a walk, all of whose trainings are done, as `evaluate` does; DataError where one is not."""
    trainings = list(walk.trainings(folder))
    weights = weights_of(trainings)
    if weights is None:
        raise DataError(f"the walk in {folder.folder} is not completed; run it again to continue, then evaluate")
    parts: dict[tuple[int, int], _Part] = {}
    with _opened(walk.settings, data, trainings[0].folder.read_result() or {}) as dataset:
        overlap = dataset.labels(target_step=walk.settings.target_step, markets=walk.settings.market_names).overlap
        for fold, of_fold in groupby(trainings, lambda training: training.fold.number):
            simple: dict[str, np.ndarray] = {}
            for training in of_fold:
                split = dataset.split(**training.settings.split_options)
                simple = simple or simple_forecasts(dataset, split, walk.settings.feature_names, overlap=overlap)
                judged, inner = _forecasts(training.folder, dataset, split)
                rows = _of_rows(simple, split, judged)
                parts[fold, training.seed] = _Part(judged, inner, rows, _is_forward(dataset, split))
        by_fold = {fold.number: _pool([parts[fold.number, one] for one in walk.seeds]) for fold in walk.folds}
        evaluation = _judge(_pool(list(parts.values())), list(by_fold.values()), dataset, walk.settings, seed)
    evaluation = replace(evaluation, **_by_part(walk, parts, by_fold))
    _write_forecasts(folder.forecasts, parts)
    _write(folder.evaluation, evaluation, weights=weights)
    return evaluation


def weights_of(trainings: Sequence[Training]) -> str | None:
    """Return what names the weights of all trainings together, SHA-256; None where one of them is not done."""
    results = [training.folder.read_completed_result() if training.is_done else None for training in trainings]
    known = [str(result["weights_sha256"]) for result in results if result is not None]
    return sha256("".join(known).encode()).hexdigest() if len(known) == len(results) else None


def _settings_of(result: Mapping[str, Any]) -> FitSettings:
    known = {name: value for name, value in result["settings"].items() if name in FitSettings.__dataclass_fields__}
    return FitSettings(**{"inner_ratio": 0.0} | known)  # a run of a version without inner rows


@contextmanager
def _opened(settings: FitSettings, data: str | Path, result: Mapping[str, Any]) -> Iterator[Dataset]:
    """Open the data of a run; DataError where it is not the run's."""
    limits = MemoryLimits.of(settings.memory_limit)
    with open_dataset(data or settings.csv, **settings.reading_options, memory_limit=limits) as dataset:
        if result["data_id"] not in (dataset.data_id, *dataset.former_data_ids):
            raise DataError(f"{data or settings.csv} is not the data of this run; give the file it was trained on")
        yield dataset


@dataclass(frozen=True)
class _Part:
    """Forecasts of some rows, and simple ones of the same by name, float (rows, horizons); `inner`: of inner rows.

    is_forward: whether they were learned from rows before all of them.
    """

    judged: Judged
    inner: Judged
    simple: dict[str, np.ndarray]
    is_forward: bool = True


def _is_forward(dataset: Dataset, split: Split) -> bool:
    learned = dataset.read_times(np.concatenate([split.train.numbers(), split.inner.numbers()]))
    return bool(learned.max() < dataset.read_times(split.validation.numbers()).min())


def _of_rows(simple: Mapping[str, np.ndarray], split: Split, judged: Judged) -> dict[str, np.ndarray]:
    """Return the forecasts of the rows that were judged: those that could not be read are not there."""
    numbers = split.validation.numbers()
    if len(numbers) == len(judged):
        return dict(simple)
    there = np.searchsorted(numbers, judged.rows)
    return {name: values[there] for name, values in simple.items()}


def _has_left(folder: TrainingFolder) -> bool:
    """Whether `fit` has left its forecasts, as it does since there are inner rows."""
    return folder.forecasts.exists() and folder.inner_forecasts.exists()


def _forecasts(folder: TrainingFolder, dataset: Dataset, split: Split) -> tuple[Judged, Judged]:
    """Return the forecasts of validation and of inner rows that `fit` has left, or made anew."""
    if _has_left(folder):
        return Judged.read(folder.forecasts), Judged.read(folder.inner_forecasts)
    from .predict import predict

    def predicted(rows: RowRange) -> Judged:
        forecasts = predict(folder.model, dataset, rows=rows).to_numpy() if len(rows) else None
        horizons = dataset.schema.horizons
        return Judged.of(dataset, rows.numbers(), np.empty((0, horizons)) if forecasts is None else forecasts)

    return predicted(split.validation), predicted(split.inner)


def _judge(part: _Part, traded: Sequence[_Part], dataset: Dataset, settings: FitSettings, seed: int) -> Evaluation:
    """Judge a part, and what trading on the folds `traded` would have earned: nothing where one knew the future."""
    labels = dataset.labels(target_step=settings.target_step, markets=settings.market_names)
    evaluation = judge(part.judged, part.simple, target_step=labels.target_step, overlap=labels.overlap, seed=seed)
    costs = after_costs(
        [(fold.inner, fold.judged) for fold in traded] if all(fold.is_forward for fold in traded) else [],
        target_step=labels.target_step,
        block_length=evaluation.block_steps,
        seed=seed,
    )
    return replace(evaluation, costs=costs)


def _pool(parts: Sequence[_Part]) -> _Part:
    """Return each row once, in order of time, with the mean of all forecasts of it; the same of inner rows."""
    judged, simple = _mean([part.judged for part in parts], [part.simple for part in parts])
    inner, _ = _mean([part.inner for part in parts], [{} for _ in parts])
    return _Part(judged, inner, simple, all(part.is_forward for part in parts))


def _mean(parts: Sequence[Judged], simple: Sequence[Mapping[str, np.ndarray]]) -> tuple[Judged, dict[str, np.ndarray]]:
    rows, first, place = np.unique(
        np.concatenate([part.rows for part in parts]), return_index=True, return_inverse=True
    )

    def mean(values: Sequence[np.ndarray]) -> np.ndarray:
        sums = np.zeros((len(rows), values[0].shape[1]))
        np.add.at(sums, place, np.concatenate(values).astype(np.float64))
        return sums / np.bincount(place, minlength=len(rows))[:, None]

    def each(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[first]

    forecasts = mean([part.forecasts for part in parts]).astype(np.float32)
    judged = Judged(rows, each("times"), each("markets"), forecasts, each("targets"))
    order = np.argsort(judged.times, kind="stable")
    others = {name: mean([one[name] for one in simple])[order].astype(np.float32) for name in simple[0]}
    return judged.take(order), others


def _by_part(walk: Walk, parts: Mapping[tuple[int, int], _Part], by_fold: Mapping[int, _Part]) -> dict[str, Any]:
    """Return the scores of folds, of seeds where there are several, and of the paths of combinatorial folds."""
    found = {"folds": _scores({f"fold {number}": part for number, part in by_fold.items()})}
    if len(walk.seeds) > 1:
        of_seed = {seed: [part for (_, one), part in parts.items() if one == seed] for seed in walk.seeds}
        found["seeds"] = _scores({f"seed {seed}": _pool(some) for seed, some in of_seed.items()})
    if walk.is_combinatorial:
        numbered = {fold.number: fold for fold in walk.folds}
        along = [
            _pool([_of_group(by_fold[fold], numbered[fold], group) for group, fold in path])
            for path in paths(walk.folds)
        ]
        found["paths"] = _scores({f"path {number}": part for number, part in enumerate(along, start=1)})
    return found


def _of_group(part: _Part, fold: Fold, group: int) -> _Part:
    """Return the rows of a part that are of one of the groups that a fold judges."""
    begin, end = fold.period_of(group)
    some = (part.judged.times >= begin) & (part.judged.times < end)
    return _Part(part.judged.take(some), part.inner, {name: values[some] for name, values in part.simple.items()})


def _scores(parts: Mapping[str, _Part]) -> list[PeriodScore]:
    return [
        one
        for name, part in parts.items()
        for one in by_period(np.full(len(part.judged), name), part.judged.forecasts, part.judged.targets)
    ]


def _write_forecasts(path: Path, parts: Mapping[tuple[int, int], _Part]) -> None:
    """Write the forecasts of all folds and seeds as one Parquet file."""
    tables = []
    for (fold, seed), part in parts.items():
        table = part.judged.to_frame()
        table.insert(3, "fold", fold)
        table.insert(4, "seed", seed)
        tables.append(table)
    with atomic_write(path) as file:
        pd.concat(tables, ignore_index=True).to_parquet(file, index=False)


def _write(path: Path, evaluation: Evaluation, *, weights: str) -> None:
    write_json(path, {"schema_version": 1, "weights_sha256": weights, **evaluation.to_json()})
