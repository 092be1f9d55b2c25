import hashlib

import keras
import numpy as np
import pytest

from deeptrade.errors import DoesNotFitError
from deeptrade.training.loop import StepRecord
from deeptrade.training.results import (
    HISTORY_COLUMNS,
    StepTable,
    latest_loss,
    read_column,
    remove_leftovers,
    save_model,
    weights_sha256,
)


def record(step, *, loss=0.5, valid_targets=10, applied=True):
    return StepRecord(step, 0, 4 * step, loss, 1.0, 1e-3, valid_targets, applied, np.arange(4), (), 0.25, 0.125)


def write_history(path, records, *, kept_steps=0):
    table = StepTable(path, HISTORY_COLUMNS, kept_steps=kept_steps)
    for each in records:
        table.append(each)
    table.close()


def test_rows_after_the_checkpoint_are_cut_when_a_run_goes_on(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [record(step) for step in (1, 2, 3)])
    path.write_text(path.read_text()[:-5])
    write_history(path, [record(3, loss=0.7)], kept_steps=2)
    assert read_column(path, "step").tolist() == [1, 2, 3]
    assert read_column(path, "loss").tolist() == [0.5, 0.5, 0.7]


def test_numbers_come_back_from_a_table_to_the_last_bit(tmp_path):
    loss = float(np.float32(0.1)) / 3
    write_history(tmp_path / "history.csv", [record(1, loss=loss)])
    assert read_column(tmp_path / "history.csv", "loss").tolist() == [loss]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [record(1), record(2)])
    whole = path.read_text()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_text(whole[:-cut])
        assert read_column(path, "step").tolist() == [1]


def test_the_training_loss_is_the_mean_over_targets_of_the_latest_steps_that_counted(tmp_path):
    old = [record(step, loss=100) for step in range(1, 51)]
    new = [record(step, loss=2 if step % 2 else 1, valid_targets=10 if step % 2 else 30) for step in range(51, 151)]
    write_history(tmp_path / "history.csv", [*old, *new])
    assert latest_loss(tmp_path / "history.csv") == pytest.approx((2 * 10 + 1 * 30) / 40)


def test_steps_that_changed_nothing_do_not_make_the_training_loss(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [record(1, loss=2), record(2, loss=float("nan"), applied=False)])
    assert latest_loss(path) == 2
    write_history(path, [record(1, loss=float("inf"), applied=False)])
    assert latest_loss(path) is None


def tiny_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_a_saved_model_leaves_no_other_file_and_what_a_kill_leaves_is_removed(tmp_path):
    model = tiny_model()
    save_model(model, tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    for name in (".model.tmp.keras", ".result.json.7.tmp", "checkpoints/.step-0000000001.npz.7.tmp", "mine.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"model.keras", "checkpoints", "mine.tmp"}
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_a_full_disk_while_the_model_is_saved_leaves_the_old_model_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "model.keras").write_bytes(b"old")

    def full(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    model = tiny_model()
    monkeypatch.setattr(model, "save", full)
    with pytest.raises(DoesNotFitError, match=r"writing model.keras.*free some space"):
        save_model(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").read_bytes() == b"old"


def test_the_hash_is_over_float32_bytes_in_the_order_of_paths():
    with keras.name_scope("b"):
        first = keras.Variable(np.array([1, 2]), dtype="float32", name="w")
    with keras.name_scope("a"):
        second = keras.Variable(np.array([[3.0]]), dtype="float32", name="w")
    expected = hashlib.sha256(np.array([3, 1, 2], "<f4").tobytes()).hexdigest()
    assert weights_sha256([first, second]) == weights_sha256([second, first]) == expected
