"""Evaluate a run's model on its validation rows against zero, the last value and a ridge regression."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.opening import open_dataset
from ..errors import DataError
from ..files import read_json, user_path, write_json
from ..memory import MemoryLimits
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from ..sources.time_order import rows_by_market
from .baselines import last_values, ridge_forecasts
from .scores import Evaluation, HorizonScore, judge


def evaluate(run: str | Path, *, data: str | Path = "", seed: int = 0) -> Evaluation:
    """Return the scores of a run's model on its validation rows, together and by market; write evaluation.json.

    `run` is the folder that `fit --out` wrote; `data` is needed only where the data has moved since.

    Raises DataError where the run is not completed, or the data is not the run's.
    """
    from .predict import predict

    folder = TrainingFolder(user_path(run))
    result = read_json(folder.result)
    if result["status"] != "completed":
        raise DataError(f"the run in {folder.folder} is not completed; run fit again to continue it, then evaluate")
    known = {name: value for name, value in result["settings"].items() if name in FitSettings.__dataclass_fields__}
    settings = FitSettings(**known)
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
        split = dataset.split(
            settings.val_ratio,
            inner_ratio=result["settings"].get("inner_ratio", 0.0),
            embargo=settings.embargo,
            target_step=settings.target_step,
            markets=settings.market_names,
            by_count="embargo" not in result["settings"],
        )
        forecasts = predict(folder.model, dataset, rows=split.validation).to_numpy()
        rows = split.validation.numbers()
        targets = dataset.read_targets(rows)
        labels = dataset.labels(target_step=settings.target_step, markets=settings.market_names)
        others = {
            "zero": np.zeros_like(targets),
            "last value": last_values(dataset, rows, target_step=labels.target_step),
            "ridge": ridge_forecasts(
                dataset, split.train, split.validation, settings.feature_names, overlap=labels.overlap
            ),
        }
        markets = dataset.read_markets(rows)

    def scores_of(some: np.ndarray, overlap: int) -> list[HorizonScore]:
        compared = {name: other[some] for name, other in others.items()}
        return judge(forecasts[some], targets[some], compared, overlap=overlap, seed=seed)

    by_market = {name: some for name, some in rows_by_market(markets) if name}
    evaluation = Evaluation(
        scores_of(np.arange(len(rows)), labels.overlap * max(1, len(by_market))),
        {name: scores_of(some, labels.overlap) for name, some in by_market.items()},
    )
    content: dict[str, Any] = {"schema_version": 1, "weights_sha256": result["weights_sha256"]}
    content["horizons"] = [asdict(score) for score in evaluation.scores]
    content["markets"] = [
        {"name": name, "rows": len(by_market[name]), "horizons": [asdict(score) for score in scores]}
        for name, scores in evaluation.by_market.items()
    ]
    write_json(folder.evaluation, content)
    return evaluation
