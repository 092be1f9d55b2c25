import numpy as np
import pytest

from deeptrade.run_folder import TrainingFolder, read_column
from deeptrade.training.loop import StepRecord
from deeptrade.training.run_report import latest_loss
from deeptrade.training.step_table import HISTORY_COLUMNS, StepTable


def record(step, *, loss=0.5, valid_targets=10, applied=True):
    return StepRecord(step, 0, 4 * step, loss, 1.0, 1e-3, valid_targets, applied, np.arange(4), (), 0.25, 0.125)


def write_history(path, records, *, kept_steps=0):
    table = StepTable(path, HISTORY_COLUMNS, kept_steps=kept_steps)
    for each in records:
        table.append(each)
    table.close()


def test_rows_after_the_checkpoint_are_dropped_when_a_run_continues(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [record(step) for step in (1, 2, 3)])
    path.write_text(path.read_text()[:-5])
    write_history(path, [record(3, loss=0.7)], kept_steps=2)
    assert read_column(path, "step").tolist() == [1, 2, 3]
    assert read_column(path, "loss").tolist() == [0.5, 0.5, 0.7]


def test_numbers_read_back_from_a_table_are_equal_bit_for_bit(tmp_path):
    loss = float(np.float32(0.1)) / 3
    write_history(tmp_path / "history.csv", [record(1, loss=loss)])
    assert read_column(tmp_path / "history.csv", "loss").tolist() == [loss]


def test_an_incomplete_last_line_is_left_out(tmp_path):
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
    assert latest_loss(TrainingFolder(tmp_path)) == pytest.approx((2 * 10 + 1 * 30) / 40)


def test_steps_that_changed_nothing_do_not_make_the_training_loss(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [record(1, loss=2), record(2, loss=float("nan"), applied=False)])
    assert latest_loss(TrainingFolder(tmp_path)) == 2
    write_history(path, [record(1, loss=float("inf"), applied=False)])
    assert latest_loss(TrainingFolder(tmp_path)) is None
