"""Inner rows choose the weights and calibrate them; validation rows change nothing but their own scores."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from deeptrade import open_dataset, predict
from deeptrade.errors import SettingsError
from deeptrade.settings import FitSettings
from deeptrade.training.checkpoints import Checkpoints
from deeptrade.training.fit import fit
from deeptrade.training.saved_model import weights_sha256
from tests.support.markets import make_market
from tests.support.training_runs import QUICK, comparable

pytestmark = pytest.mark.usefixtures("every_encoder")

ROWS, SETTINGS = 240, QUICK | {"epochs": 3, "learning_rate": 0.01}


@pytest.fixture
def wide(tmp_path):
    return make_market(tmp_path / "wide.csv", rows=ROWS)


def train(market, out, **changes):
    settings = FitSettings(**(SETTINGS | {"csv": str(market.path), "out": str(out)} | changes))
    return fit(settings, progress="silent")


def parts_of(market):
    with open_dataset(market.path) as data:
        split = data.split(0.2, inner_ratio=FitSettings().inner_ratio)
        return {name: getattr(split, name).numbers() for name in ("train", "inner", "validation")}


def alter(market, rows, *, seed=1):
    """Give these rows other features and targets."""
    generator = np.random.default_rng(seed)
    for row in rows:
        cells = market.cells[row]
        cells[-2:] = [str(value) for value in generator.normal(0, 0.02, 2)]
        cells[-3] = json.dumps(generator.normal(100, 5, (1, 4)).tolist())
    market.write()


def training_losses(out):
    return [line.split(",")[:5] for line in (out / "history.csv").read_text().splitlines()]


def last_weights(out):
    """The trained weights at the end, whichever were chosen."""
    (path,) = (out / "checkpoints").glob("stop-*.npz")
    archive = np.load(path)
    return {name: archive[name].tobytes() for name in archive.files if name != "__state__"}


def test_parts_are_apart_in_time_and_every_row_is_accounted_for(wide, tmp_path):
    rows = train(wide, tmp_path / "run", epochs=1)["rows"]
    assert sum(rows.values()) == 2 * rows["read"]
    parts = parts_of(wide)
    assert parts["train"].max() + 2 < parts["inner"].min()
    assert parts["inner"].max() + 2 < parts["validation"].min()
    assert rows["inner"] == len(parts["inner"]) == 28 - 2


def test_the_weights_of_the_best_inner_epoch_are_saved(wide, tmp_path):
    result = train(wide, tmp_path / "run", epochs=4, learning_rate=0.05)
    losses = [one["loss"] for one in result["inner_history"]]
    best = int(np.argmin(losses))
    assert best < 3, "the last epoch is the best; the test needs another seed"
    assert result["weights_of"] == {"epoch": best + 1, "step": result["inner_history"][best]["step"]}
    alone = train(wide, tmp_path / "alone", epochs=best + 1, learning_rate=0.05)
    assert alone["weights_sha256"] == result["weights_sha256"]
    assert alone["validation"] == result["validation"]


def test_what_is_saved_is_what_was_judged(wide, tmp_path):
    result = train(wide, tmp_path / "run")
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert weights_sha256(model.variables) == result["weights_sha256"]
    validation = parts_of(wide)["validation"]
    forecasts = predict(model, wide.path).to_numpy()[validation]
    mae = np.abs(forecasts - wide.targets[validation].astype(np.float32)).mean(axis=0)
    np.testing.assert_allclose(mae, result["validation"]["mae"], rtol=1e-5)
    layer = model.network.get_layer("calibrated")
    np.testing.assert_allclose(layer.shrinkage, result["calibration"]["shrinkage"], rtol=1e-6)
    np.testing.assert_allclose(layer.half_width, result["calibration"]["half_width"], rtol=1e-6)


def test_other_validation_rows_change_nothing_but_their_scores(wide, tmp_path):
    before = train(wide, tmp_path / "before")
    alter(wide, range(parts_of(wide)["validation"].min() - 2, ROWS))
    after = train(wide, tmp_path / "after")
    same = ("weights_sha256", "weights_of", "inner", "inner_history", "train", "steps", "rows")
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert training_losses(tmp_path / "before") == training_losses(tmp_path / "after")
    changed = ("coverage",)
    assert {k: v for k, v in before["calibration"].items() if k not in changed} == {
        k: v for k, v in after["calibration"].items() if k not in changed
    }
    assert before["validation"] != after["validation"]


def test_other_inner_rows_change_only_the_choice_and_the_calibration(wide, tmp_path):
    before = train(wide, tmp_path / "before")
    alter(wide, parts_of(wide)["inner"])
    after = train(wide, tmp_path / "after")
    assert before["inner_history"] != after["inner_history"]
    assert training_losses(tmp_path / "before") == training_losses(tmp_path / "after")
    assert last_weights(tmp_path / "before") == last_weights(tmp_path / "after")


def test_a_run_that_was_killed_while_it_was_judged_is_judged_when_it_goes_on(wide, tmp_path):
    expected = train(wide, tmp_path / "whole")
    result = train(wide, tmp_path / "run")
    out = tmp_path / "run"  # as a kill after the last step leaves it
    (out / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    for name in ("model.keras", "forecasts.parquet", "inner_forecasts.parquet"):
        (out / name).unlink()
    assert train(wide, out)["weights_sha256"] == expected["weights_sha256"]
    for name in ("forecasts.parquet", "inner_forecasts.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_without_inner_rows_the_last_weights_are_kept_as_they_are(wide, tmp_path):
    result = train(wide, tmp_path / "run", inner_ratio=0.0)
    assert (result["rows"]["inner"], result["inner"], result["calibration"]) == (0, None, None)
    assert result["weights_of"]["epoch"] == 3
    assert result["inner_history"] == []
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert not any("calibrated" in variable.path for variable in model.variables)


def test_too_few_rows_for_inner_ones_are_told(tmp_path):
    few = make_market(tmp_path / "few.csv", rows=14)
    result = train(few, tmp_path / "run", epochs=1)
    assert result["rows"]["inner"] == 0
    assert any(line.startswith("no inner rows: inner_ratio=0.15 of 9 training rows") for line in result["warnings"])


def test_stopping_early_needs_inner_rows(wide, tmp_path):
    with pytest.raises(SettingsError, match="early_stop_patience=2 needs inner rows; give an inner_ratio above 0"):
        train(wide, tmp_path / "run", inner_ratio=0.0, early_stop_patience=2)
    result = train(wide, tmp_path / "run", epochs=40, learning_rate=0.05, early_stop_patience=2)
    losses = [one["loss"] for one in result["inner_history"]]
    assert result["stopped_early"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 40


def test_a_run_that_is_continued_past_its_best_epoch_equals_one_that_never_stopped(wide, tmp_path):
    given = {"learning_rate": 0.05}
    straight = train(wide, tmp_path / "straight", epochs=5, **given)
    for epochs in (1, 2, 4, 5):
        parts = train(wide, tmp_path / "parts", epochs=epochs, **given)
    assert parts["weights_of"] == straight["weights_of"]
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "straight")


KILLED = """
import sys
from deeptrade.settings import FitSettings
from deeptrade.training.fit import fit
import json
fit(FitSettings(**json.loads(sys.argv[1])), progress="silent")
"""


@pytest.mark.slow
def test_kills_around_the_ends_of_epochs_leave_the_same_bytes(wide, tmp_path):
    given = SETTINGS | {"epochs": 5, "learning_rate": 0.05, "csv": str(wide.path)}
    train(wide, tmp_path / "straight", epochs=5, learning_rate=0.05)
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, json.dumps(given | {"out": str(out)})]
    seen = set()
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                best = {path.name for path in (out / "checkpoints").glob("best-*")}
                if best - seen:  # the weights of a best epoch are there, the state that names them is not yet
                    seen |= best
                    os.kill(process.pid, signal.SIGKILL)
                    break
                time.sleep(0.0005)
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert seen
    assert comparable(out) == comparable(tmp_path / "straight")


def test_weights_of_epochs_that_a_rollback_has_undone_are_forgotten(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    variable = keras.Variable(np.zeros(3, np.float32), name="v")
    for step in (10, 20, 30, 40):
        variable.assign(np.full(3, step, np.float32))
        checkpoints.save_best(step, [variable])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"best-{step:010d}.npz" for step in (20, 30, 40)]
    checkpoints.forget_best_after(30)
    checkpoints.restore_best(20, [variable])
    assert variable.numpy().tolist() == [20, 20, 20]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"best-{step:010d}.npz" for step in (20, 30)]
