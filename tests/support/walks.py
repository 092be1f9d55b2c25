"""Walks without trainings: what a walk leaves, of made-up forecasts and the files of a real run."""

import json
import shutil
from dataclasses import asdict

import numpy as np

from deeptrade.data.opening import open_dataset
from deeptrade.files import write_json
from deeptrade.judging.costs import after_costs
from deeptrade.judging.evaluate import weights_of
from deeptrade.judging.evaluation import Evaluation, judge
from deeptrade.judging.folds import Walk, make_folds
from deeptrade.judging.periods import by_period
from deeptrade.judging.walk_settings import WalkSettings
from deeptrade.run_folder import WalkFolder
from deeptrade.settings import FitSettings
from deeptrade.training.judged import Judged
from tests.support.markets import make_market

ROWS, STEP = 400, 1_200_000_000_000


def make_walk(path):
    """A walk of four folds and two seeds over a small file."""
    market = make_market(path, rows=ROWS)
    settings, options = FitSettings(csv=str(market.path), model_size="tiny"), WalkSettings(folds=4, seeds="0,1")
    with open_dataset(market.path) as data:
        return Walk(settings, options, make_folds(data, settings, options))


def write_walk(folder, walk, source):
    """Leave what such a walk would, each training with the files of the run in `source`; return its judgement too."""
    found, judged = WalkFolder(folder), judge_walk()
    write_json(found.state, {"data_id": "sha256-2:0"} | walk.to_json())
    trainings = list(walk.trainings(found))
    result = json.loads((source / "train" / "result.json").read_text())
    for training in trainings:
        place = training.folder
        place.folder.mkdir(parents=True)
        write_json(place.result, result | {"weights_sha256": training.name, "settings": asdict(training.settings)})
        place.forecasts.touch()
        for name in ("memory.jsonl", "history.csv"):
            shutil.copy(source / "train" / name, place.folder)
    write_json(found.evaluation, {"weights_sha256": weights_of(trainings)} | judged.to_json())
    return judged, trainings


def judge_walk():
    """What a walk with a little skill says of itself."""
    generator = np.random.default_rng(0)
    targets = generator.normal(0, 0.01, (ROWS // 2, 2)).astype(np.float32)
    forecasts = (0.3 * targets + generator.normal(0, 0.01, targets.shape)).astype(np.float32)
    rows = np.arange(ROWS // 2, ROWS)
    times = 1_700_000_000_000_000_000 + STEP * rows
    judged = Judged(rows, times, np.full(len(rows), "", object), forecasts, targets)
    whole = judge(
        judged,
        {"zero": np.zeros_like(targets), "mean": np.full_like(targets, 0.001)},
        target_step=STEP,
        overlap=2,
    )
    folds = np.array([f"fold {1 + 4 * at // len(rows)}" for at in range(len(rows))])
    parts = {"folds": by_period(folds, forecasts, targets)}
    parts["seeds"] = [
        one for seed in (0, 1) for one in by_period(np.full(len(rows), f"seed {seed}"), forecasts * (1 + seed), targets)
    ]
    costs = after_costs([(judged.take(np.arange(100)), judged)], target_step=STEP, block_length=4)
    return Evaluation(**(vars(whole) | parts | {"costs": costs}))
