"""What tests of comparisons share."""

import json
import shutil

import numpy as np

from deeptrade.files import write_json
from deeptrade.judging.evaluation import judge
from deeptrade.run_folder import TrainingFolder
from deeptrade.training.judged import Judged


def add_run(folder, name, source, **changes):
    """A folder as `fit` leaves it, from a real result with some values changed."""
    train = folder / name
    train.mkdir(parents=True)
    result = json.loads((source / "train" / "result.json").read_text())
    for path, value in changes.items():
        *parts, last = path.split("__")
        inner = result
        for part in parts:
            inner = inner[part]
        inner[last] = value
    (train / "result.json").write_text(json.dumps(result))
    for name in ("memory.jsonl", "history.csv"):
        shutil.copy(source / "train" / name, train)
    return train


def make_judged(seed, *, skill=0.0, noise=0.3, rows=800):
    """Forecasts of two horizons that hold `skill` of the same outcomes, and noise of a seed."""
    truth, generator = np.random.default_rng(1000), np.random.default_rng(seed)
    targets = truth.standard_t(5, (rows, 2)).astype(np.float32)
    forecasts = (skill * targets + noise * generator.normal(size=(rows, 2))).astype(np.float32)
    return Judged(np.arange(rows), 3600 * 10**9 * np.arange(rows), np.full(rows, "", object), forecasts, targets)


def add_judged(folder, name, source, judged, **changes):
    """A folder as `fit` and `evaluate` leave it, with these forecasts and their errors."""
    error, size = (np.abs(judged.targets - one).mean(axis=0).tolist() for one in (judged.forecasts, 0))
    weights = f"{name.encode().hex():0<64}"[:64]
    changes = {"validation__mae": error, "validation__zero_mae": size, "weights_sha256": weights} | changes
    train = TrainingFolder(add_run(folder, name, source, **changes))
    evaluation = judge(
        judged,
        {"zero": np.zeros_like(judged.targets)},
        target_step=3600 * 10**9,
        overlap=2,
    )
    judged.write(train.forecasts)
    write_json(train.evaluation, {"weights_sha256": weights, **evaluation.to_json()})
    return train.folder
