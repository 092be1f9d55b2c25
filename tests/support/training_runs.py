"""What tests of training runs share."""

import csv
import json

QUICK = {
    "model_size": "tiny",
    "features": "arr_ctx",
    "batch_size": 2,
    "grad_accum": True,
    "accum_steps": 2,
    "val_ratio": 0.2,
    "checkpoint_every": 4,
    "skip_rl": True,
}

"""Steps of two passes."""

ONE_PASS = {"model_size": "tiny", "features": "arr_ctx", "batch_size": 4, "val_ratio": 0.2, "skip_rl": True}


def comparable(out):
    """What two equal runs share to the last bit."""
    result = json.loads((out / "result.json").read_text())
    kept = ("status", "rows", "steps", "epochs", "train", "validation", "weights_sha256", "data_id", "warnings")
    files = [(out / name).read_bytes() for name in ("history.csv", "ledger.csv")]
    return {name: result[name] for name in kept}, files


def column(out, name):
    with open(out / "history.csv", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]
