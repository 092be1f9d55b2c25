"""What tests of comparisons share."""

import json
import shutil


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
