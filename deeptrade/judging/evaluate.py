"""Judge what a training, or all those of a walk, forecast on their validation rows, beside simple forecasts of these.

No TensorFlow is needed: `fit` has left the forecasts. Only those of runs of earlier versions are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.dataset import Dataset
from ..data.opening import open_dataset
from ..data.split import Split
from ..errors import DataError
from ..files import atomic_write, read_json, user_path, write_json
from ..memory import MemoryLimits
from ..run_folder import TrainingFolder, WalkFolder
from ..settings import FitSettings
from ..store.row_range import RowRange
from ..training.judged import Judged
from .baselines import simple_forecasts
from .costs import after_costs
from .evaluation import Evaluation, judge
from .folds import Fold, Walk, paths
from .periods import PeriodScore, by_period


def evaluate(run: str | Path, *, data: str | Path = "", seed: int = 0) -> Evaluation:
    """Judge a completed run or walk on its validation rows, together and by market; write and return the evaluation.

    `run` is the folder that `fit --out` or `walk --out` wrote; `data` is needed only where the data has moved since.
    It writes evaluation.json, and of a walk forecasts.parquet: timestamp, market, row, fold, seed, f_1..f_H, y_1..y_H.

    Raises DataError where the run is not completed, or the data is not the run's.
    """
    folder = user_path(run)
    if WalkFolder(folder).state.exists():
        return _evaluate_walk(WalkFolder(folder), data, seed)
    return _evaluate_run(TrainingFolder(folder), data, seed)


def _evaluate_run(folder: TrainingFolder, data: str | Path, seed: int) -> Evaluation:
    result = _completed(folder)
    settings = _settings_of(result)
    with _opened(settings, data, result) as dataset:
        split = _split(dataset, settings, result)
        part = _Part.of(folder, dataset, split, settings)
        evaluation = _judge(part, [part], dataset, settings, seed)
    if not folder.inner_forecasts.exists():
        part.judged.write(folder.forecasts)  # first: where evaluation.json is of these weights, so is this
    _write(folder.evaluation, evaluation, weights=result["weights_sha256"])
    return evaluation


def _evaluate_walk(folder: WalkFolder, data: str | Path, seed: int) -> Evaluation:
    walk = Walk.from_json(read_json(folder.state))
    trainings = list(walk.trainings(folder))
    results = [_completed(training.folder) for training in trainings]
    parts: dict[tuple[int, int], _Part] = {}
    with _opened(walk.settings, data, results[0]) as dataset:
        for training in trainings:
            before = parts.get((training.fold.number, walk.seeds[0]))
            split = dataset.split(**training.settings.split_options)
            part = _Part.of(
                training.folder, dataset, split, training.settings, simple=before.simple if before else None
            )
            parts[training.fold.number, training.seed] = part
        by_fold = {fold.number: _pool([parts[fold.number, one] for one in walk.seeds]) for fold in walk.folds}
        pooled, traded = _pool(list(parts.values())), [] if walk.is_combinatorial else list(by_fold.values())
        evaluation = _judge(pooled, traded, dataset, walk.settings, seed)
    evaluation = replace(evaluation, **_by_part(walk, parts, by_fold))
    _write_forecasts(folder.forecasts, parts)
    weights = sha256("".join(result["weights_sha256"] for result in results).encode()).hexdigest()
    _write(folder.evaluation, evaluation, weights=weights)
    return evaluation


def _completed(folder: TrainingFolder) -> dict[str, Any]:
    result = folder.read_result()
    if result is None or result["status"] != "completed":
        raise DataError(f"the run in {folder.folder} is not completed; run it again to continue, then evaluate")
    return result


def _settings_of(result: Mapping[str, Any]) -> FitSettings:
    known = {name: value for name, value in result["settings"].items() if name in FitSettings.__dataclass_fields__}
    return FitSettings(**{"inner_ratio": 0.0} | known)  # a run of a version without inner rows


@contextmanager
def _opened(settings: FitSettings, data: str | Path, result: Mapping[str, Any]) -> Iterator[Dataset]:
    """Open the data of a run; DataError where it is not the run's."""
    with open_dataset(
        data or settings.csv,
        store=settings.store,
        max_rows=settings.max_rows,
        max_bad_rows=settings.max_bad_rows,
        sort=settings.sort,
        duplicates=settings.duplicates,
        use_mmap=not settings.no_mmap,
        memory_limit=MemoryLimits.of(settings.memory_limit),
    ) as dataset:
        if result["data_id"] not in (dataset.data_id, *dataset.former_data_ids):
            raise DataError(f"{data or settings.csv} is not the data of this run; give the file it was trained on")
        yield dataset


def _split(dataset: Dataset, settings: FitSettings, result: Mapping[str, Any]) -> Split:
    return dataset.split(**settings.split_options, by_count="embargo" not in result["settings"])


@dataclass(frozen=True)
class _Part:
    """Forecasts of some rows, and simple ones by name, float64 (rows, horizons); `inner` are those of inner rows."""

    judged: Judged
    inner: Judged
    simple: dict[str, np.ndarray]

    @classmethod
    def of(
        cls,
        folder: TrainingFolder,
        dataset: Dataset,
        split: Split,
        settings: FitSettings,
        *,
        simple: dict[str, np.ndarray] | None = None,
    ) -> _Part:
        """Return a run's forecasts of its validation rows; `simple` where simple ones of these rows are known."""
        judged, inner = _forecasts(folder, dataset, split)
        if simple is not None:
            return cls(judged, inner, simple)
        labels = dataset.labels(target_step=settings.target_step, markets=settings.market_names)
        simple = simple_forecasts(dataset, split, settings.feature_names, overlap=labels.overlap)
        there = np.searchsorted(split.validation.numbers(), judged.rows)  # rows that could not be read are not there
        return cls(judged, inner, {name: values[there] for name, values in simple.items()})


def _forecasts(folder: TrainingFolder, dataset: Dataset, split: Split) -> tuple[Judged, Judged]:
    """Return the forecasts of validation and of inner rows that `fit` has left, or made anew."""
    if folder.inner_forecasts.exists():
        return Judged.read(folder.forecasts), Judged.read(folder.inner_forecasts)
    from .predict import predict

    def predicted(rows: RowRange) -> Judged:
        forecasts = predict(folder.model, dataset, rows=rows).to_numpy() if len(rows) else None
        horizons = dataset.schema.horizons
        return Judged.of(dataset, rows.numbers(), np.empty((0, horizons)) if forecasts is None else forecasts)

    return predicted(split.validation), predicted(split.inner)


def _judge(part: _Part, traded: Sequence[_Part], dataset: Dataset, settings: FitSettings, seed: int) -> Evaluation:
    """Judge a part, and what trading on the folds `traded` would have earned."""
    labels = dataset.labels(target_step=settings.target_step, markets=settings.market_names)
    judged = part.judged
    evaluation = judge(
        judged.forecasts,
        judged.targets,
        part.simple,
        times=judged.times,
        markets=judged.markets,
        target_step=labels.target_step,
        overlap=labels.overlap,
        seed=seed,
    )
    costs = after_costs(
        [(fold.inner, fold.judged) for fold in traded],
        target_step=labels.target_step,
        block_length=evaluation.block_steps,
        seed=seed,
    )
    return replace(evaluation, costs=costs)


def _pool(parts: Sequence[_Part]) -> _Part:
    """Return each row once, in order of time, with the mean of all forecasts of it; the same of inner rows."""
    judged, simple = _mean([part.judged for part in parts], [part.simple for part in parts])
    inner, _ = _mean([part.inner for part in parts], [{} for _ in parts])
    return _Part(judged, inner, simple)


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
    return judged.take(order), {name: mean([one[name] for one in simple])[order] for name in simple[0]}


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
