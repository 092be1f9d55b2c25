import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, RunConflictError, TrainingFailedError
from deeptrade.files import read_json
from deeptrade.judging.evaluate import evaluate
from deeptrade.memory import Limit, MemoryLimits
from deeptrade.settings import FitSettings
from deeptrade.sources.identity import former_content_ids
from deeptrade.store.ledger import read_ledger
from deeptrade.training.fit import fit
from deeptrade.training.run_state import read_state
from deeptrade.training.session import Session
from tests.support.holding import another_process
from tests.support.markets import make_market
from tests.support.training_runs import QUICK, column, comparable

pytestmark = pytest.mark.usefixtures("every_encoder")

"""60 rows, 20% validate, 2 horizons: 46 train (12 steps an epoch), 4 are purged, 10 validate."""


@pytest.fixture
def train(market, tmp_path):
    """A function that runs fit on the small market and returns its result; its lines are in `train.lines`."""

    def run(out="run", **changes):
        run.lines.clear()
        settings = FitSettings(**{**QUICK, "csv": str(market.path), "out": str(tmp_path / out), **changes})
        return fit(settings, given=changes, sink=run.lines.append, progress="silent")

    run.lines = []
    return run


def test_a_run_leaves_its_files_and_accounts_for_every_row(market, train, tmp_path):
    market.cells[7][3] = "[[1.0]]"
    market.write()
    result = train(max_bad_rows=0.1, max_steps=5)
    out = tmp_path / "run"
    names = {"result.json", "history.csv", "timing.csv", "starts.csv", "memory.jsonl", "ledger.csv", "model.keras"}
    names |= {"forecasts.parquet", "inner_forecasts.parquet"}
    assert {path.name for path in out.iterdir()} == {*names, "checkpoints", "logs"}
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    rows = result["rows"]
    assert rows == {"read": 60, "trained": 20, "inner": 5, "validation": 10, "purged": 8, "rejected": 1, "unused": 16}
    assert [(entry.row, entry.reason) for entry in read_ledger(out / "ledger.csv")] == [
        (7, "shape"),
        *((row, "purged") for row in (37, 38, 39, 40, 46, 47, 48, 49)),
    ]
    assert column(out, "step") == ["1", "2", "3", "4", "5"]
    assert (result["status"], result["steps"], result["effective_batch"]) == ("completed", 5, 4)


def test_validation_comes_with_the_error_of_the_zero_forecast(train, market):
    result = train(max_steps=1, learning_rate=1e-30)
    expected = np.abs(market.targets[50:].astype(np.float32)).mean(axis=0)
    np.testing.assert_allclose(result["validation"]["zero_mae"], expected, rtol=1e-5)
    np.testing.assert_allclose(result["validation"]["mae"], expected, rtol=1e-5)


def test_the_saved_model_has_the_weights_of_the_result(train, tmp_path):
    import keras

    from deeptrade.training.saved_model import weights_sha256

    result = train(max_steps=3)
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert weights_sha256(model.variables) == result["weights_sha256"]


def test_two_runs_are_equal_bit_for_bit(train, tmp_path):
    for out in ("a", "b"):
        train(out, max_steps=6)
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")


def test_a_finished_run_says_so_and_changes_no_file(train, tmp_path):
    first = train(epochs=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert train(epochs=1) == json.loads(json.dumps(first))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "is done: 10 steps" in train.lines[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"model_size": "small"},
        {"learning_rate": 0.01},
        {"clip_norm": 2.0},
        {"seed": 1},
        {"batch_size": 4},
        {"features": "arr_5m"},
        {"precision": "mixed_bfloat16"},
        {"max_rows": 50},
        {"val_ratio": 0.3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_settings_are_refused_and_the_difference_is_named(finished, changes):
    settings = FitSettings(**{**finished, **changes})
    name = "effective_batch" if "batch_size" in changes else next(iter(changes))
    with pytest.raises(RunConflictError, match=f"{name}=.*--fresh"):
        fit(settings, given=changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The settings of a completed run of one step."""
    folder = tmp_path_factory.mktemp("finished")
    csv_path = make_market(folder / "market.csv").path
    settings = {**QUICK, "csv": str(csv_path), "out": str(folder / "run"), "max_steps": 1}
    fit(FitSettings(**settings), progress="silent")
    return settings


def test_other_data_are_refused(finished, tmp_path):
    other = make_market(tmp_path / "other.csv", seed=1).path
    with pytest.raises(RunConflictError, match="other data"):
        fit(FitSettings(**{**finished, "csv": str(other)}))


def test_a_lengthened_run_continues_and_equals_one_that_was_longer_from_the_start(train, tmp_path):
    train("grown", max_steps=5)
    train("grown", max_steps=0, epochs=1)
    train("grown", epochs=2, max_steps=15)
    train("straight", epochs=2, max_steps=15)
    assert comparable(tmp_path / "grown") == comparable(tmp_path / "straight")


def test_fresh_starts_over_and_leaves_other_people_s_files_alone(train, tmp_path):
    train(max_steps=3)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(max_steps=2, seed=5, fresh=True)
    assert column(tmp_path / "run", "step") == ["1", "2"]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_changed_batch_size_continues_with_the_same_rows_to_the_same_weights(train, tmp_path, monkeypatch):
    note, drawn = Session._note, {}

    def noted(self, record, tables):
        drawn.setdefault(self.folder.folder.name, []).append(record.row_ids.tolist())
        note(self, record, tables)

    monkeypatch.setattr(Session, "_note", noted)
    train(max_steps=5)
    changed = train(epochs=2, batch_size=4, accum_steps=1)
    straight = train("straight", epochs=2)
    assert (changed["micro_batch_changes"], straight["micro_batch_changes"]) == (1, 0)
    assert drawn["run"] == drawn["straight"]
    assert changed["rows"] == straight["rows"]
    archives = [tmp_path / out / "checkpoints" / "step-0000000020.npz" for out in ("run", "straight")]
    one, other = (np.concatenate([np.load(a)[path].ravel() for path in np.load(a) if "/" in path]) for a in archives)
    assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other)


def test_training_that_is_never_finite_rolls_back_twice_and_ends_with_all_rows_in_the_ledger(train, tmp_path):
    with pytest.raises(TrainingFailedError, match=r"rollbacks to a checkpoint did not help; .*lower --learning_rate"):
        train(learning_rate=1e38, epochs=2)
    result = read_json(tmp_path / "run" / "result.json")
    assert result["status"] == "failed"
    assert [back["to_step"] for back in result["rollbacks"]] == [0, 0]
    left_out = [entry for entry in read_ledger(tmp_path / "run" / "ledger.csv") if entry.reason == "non_finite_step"]
    rows = [entry.row for entry in left_out]
    assert left_out
    assert len(rows) == len(set(rows))
    assert sum(result["rows"].values()) == 2 * result["rows"]["read"]
    assert all("is not finite" in entry.detail for entry in left_out)
    assert min(result["rows"].values()) >= 0
    newest = np.load(tmp_path / "run" / "checkpoints" / "step-0000000000-r2.npz")
    assert all(np.isfinite(values).all() for values in newest.values())


def test_training_stops_early_when_validation_does_not_improve_and_continues_with_more_patience(train):
    worse = {"epochs": 12, "learning_rate": 0.5, "clip_norm": 0.0}
    stopped = train(**worse, early_stop_patience=1)
    assert stopped["stopped_early"]
    assert stopped["epochs"] < 12
    further = train(**worse, early_stop_patience=12)
    assert (further["epochs"], further["stopped_early"]) == (12, False)


def test_a_run_that_fails_says_failed_and_can_be_continued(train, tmp_path, monkeypatch):
    note = Session._note

    def fail_at_six(self, record, tables):
        if record.step == 6:
            raise ZeroDivisionError("a bug")
        note(self, record, tables)

    monkeypatch.setattr(Session, "_note", fail_at_six)
    with pytest.raises(ZeroDivisionError):
        train(epochs=1)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert "ZeroDivisionError: a bug" in result["warnings"]
    monkeypatch.setattr(Session, "_note", note)
    assert train(epochs=1)["status"] == "completed"
    train("straight", epochs=1)
    assert comparable(tmp_path / "run") == comparable(tmp_path / "straight")


def test_a_run_that_failed_before_its_first_checkpoint_starts_over(train, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Session, "_note", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(max_steps=2)
    assert train(max_steps=2, learning_rate=0.01)["status"] == "completed"


def test_switches_without_effect_are_named(train):
    train(max_steps=1, grad_accum=False, accum_steps=8, no_tf_allow_growth=True)
    text = "\n".join(train.lines)
    for line in ("accum_steps=8 has no effect", "--no_tf_allow_growth has no effect"):
        assert text.count(line) == 1


def test_files_name_only_folders_that_were_given(train, tmp_path, market):
    train(max_steps=1)
    home = str(Path.home())
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".json", ".jsonl", ".csv"):
            text = path.read_text().replace(str(market.path), "").replace(str(tmp_path / "run"), "")
            assert home not in text
            assert str(tmp_path) not in text


def test_a_run_that_cannot_start_over_leaves_the_finished_one_as_it_is(market, train, tmp_path):
    market.cells[7][3] = "[[1.0]]"
    market.write()
    train(max_steps=2, max_bad_rows=0.1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for fresh in (True, False):
        with pytest.raises(DataError, match=r"1 of 60 rows .*; they are listed in .*ledger\.refused\.csv"):
            train(max_steps=4, fresh=fresh)
    refused = tmp_path / "run" / "ledger.refused.csv"
    assert [entry.row for entry in read_ledger(refused)] == [7]
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path != refused}
    assert {path for path in before if before[path] != after.get(path)} <= {tmp_path / "run" / "memory.jsonl"}
    again = train(max_steps=2, max_bad_rows=0.1, fresh=True)
    assert again["status"] == "completed"
    assert not refused.exists()
    assert (tmp_path / "run" / "memory.jsonl").read_bytes().count(b'"kind": "start"') == 1


def test_an_implausible_target_is_reported_with_its_row(market, train):
    market.cells[11][-2] = "1000"
    market.write()
    result = train(max_steps=1)
    assert any(line.startswith("y_1 is 1000 in row 11,") for line in result["warnings"])
    assert not any("y_2" in line for line in result["warnings"])


def test_a_file_without_a_target_is_refused(market, train):
    for cells in market.cells:
        cells[-2:] = ["", ""]
    market.write()
    with pytest.raises(DataError, match="no training row has a target"):
        train()


def test_a_missing_file_costs_no_import_of_tensorflow(tmp_path):
    code = """
import sys
from deeptrade.errors import DataError
from deeptrade.settings import FitSettings
from deeptrade.training.fit import fit
from deeptrade.training.run_state import read_state
try:
    fit(FitSettings(csv=sys.argv[1] + "/none.csv", out=sys.argv[1] + "/run"))
except DataError:
    sys.exit("tensorflow" in sys.modules)
sys.exit("no error")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert not list(tmp_path.iterdir())


class Stated(MemoryLimits):
    """The limits of this machine, but for the one that is said to be in force."""

    def __init__(self, limit_bytes):
        super().__init__()
        self._limit_bytes = limit_bytes

    def smallest(self):
        return Limit("user", self._limit_bytes, 1 << 40)


def test_rows_over_the_memory_limit_are_shuffled_in_windows_that_stay(market, tmp_path):
    out, lines = tmp_path / "run", []
    settings = FitSettings(csv=str(market.path), out=str(out), model_size="tiny", max_steps=3, skip_rl=True)
    fit(settings, limits=Stated(4000), sink=lines.append, progress="silent")
    words = "the rows hold 8.7 KiB, more than the limit of 3.9 KiB: they are shuffled in windows of 16 rows"
    assert any(line.startswith(words) for line in lines), lines
    assert read_state(out / "checkpoints").window_rows == 16
    fit(replace(settings, max_steps=6), limits=Stated(1 << 40), progress="silent")
    assert read_state(out / "checkpoints").window_rows == 16


def test_a_run_begun_by_an_earlier_version_keeps_its_data_id_and_ends_with_the_same_bytes(
    train, market, tmp_path, monkeypatch
):
    with monkeypatch.context() as earlier:
        earlier.setattr("deeptrade.sources.csv.content_id", lambda *content: former_content_ids(*content)[0])
        expected = train("straight", epochs=2, max_steps=15)
        train(epochs=2, max_steps=5)
    shutil.rmtree(tmp_path / "market.dtstore")  # a newly compiled store has the new name
    with open_dataset(market.path) as data:
        assert data.former_data_ids == (expected["data_id"],)
        assert data.data_id.startswith("sha256-2:")
    result = train(epochs=2, max_steps=15)
    assert (result["data_id"], result["steps"]) == (expected["data_id"], 15)
    assert comparable(tmp_path / "run") == comparable(tmp_path / "straight")
    assert train("anew", epochs=2, max_steps=15)["data_id"] == data.data_id
    assert evaluate(tmp_path / "run").scores


def test_a_run_is_looked_at_only_by_the_process_that_holds_its_folder(market, tmp_path):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "step-0000000001.npz").write_bytes(b"half of a checkpoint that is being written")
    with another_process(out), pytest.raises(RunConflictError, match="another process is training"):
        fit(FitSettings(csv=str(market.path), out=str(out), **QUICK))


def test_a_first_fit_opens_its_source_once(market, tmp_path, monkeypatch):
    from deeptrade.sources import csv as csv_module

    opened, plain = [], csv_module._read_header
    monkeypatch.setattr(csv_module, "_read_header", lambda file: opened.append(file.name) or plain(file))
    fit(FitSettings(csv=str(market.path), out=str(tmp_path / "run"), max_steps=1, **QUICK), progress="silent")
    assert opened == [market.path.name]
