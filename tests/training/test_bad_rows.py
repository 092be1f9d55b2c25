"""Rows that give no finite loss or gradient, or cannot be read: left out one by one, and the others count."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeptrade.data.batches import BatchReader
from deeptrade.data.dataset import Dataset
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, TrainingFailedError
from deeptrade.run_folder import read_column
from deeptrade.settings import FitSettings
from deeptrade.store.ledger import read_ledger
from deeptrade.store.row_range import RowRange
from deeptrade.training.fit import fit
from deeptrade.training.loop import MOST_FAULTS_IN_A_ROW, Trainer
from deeptrade.training.step import AccumulatingStep

FEATURE = "arr_ctx"


@keras.saving.register_keras_serializable("tests")
class Root(keras.layers.Layer):
    """x -> x + tiny * sqrt(|x[0]|): finite everywhere, its gradient is NaN where x[0] is 0."""

    def call(self, x):
        return x + 1e-30 * tf.sqrt(tf.abs(x[:, :1]))


def make_trainer(lines=None, policy="float32", **options):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    x = keras.layers.Dense(4, use_bias=False, kernel_initializer="identity", dtype=policy)(inputs[FEATURE])
    x = keras.layers.Rescaling(0.01)(Root()(x))
    x = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(1), dtype="float32")(x)
    options = {"batch_size": 2, "accum_steps": 4, "learning_rate": 0.01, **options}
    return Trainer(keras.Model(inputs, x), sink=(lines if lines is not None else []).append, **options)


class Harmed:
    """A reader of 46 rows, some of which are replaced or fail when they are read."""

    def __init__(self, dataset, monkeypatch):
        self.reader = BatchReader(dataset, RowRange(0, 46), batch_size=2, features=[FEATURE])
        self.numbers, self.errors, self.once = {}, {}, set()
        read = dataset.read

        def harmed(rows, names):
            for row in rows.tolist():
                if row in self.errors:
                    error = self.errors.pop(row) if row in self.once else self.errors[row]
                    raise error
            found = read(rows, names)
            for row, value in list(self.numbers.items()):
                found[FEATURE][rows == row] = value
                if row in self.once and row in rows:
                    del self.numbers[row]
            return found

        monkeypatch.setattr(dataset, "read", harmed)

    def row_at(self, position):
        return int(self.reader.epoch_rows(0, position, position + 1)[0])


@pytest.fixture
def harmed(market, monkeypatch):
    with open_dataset(market.path) as dataset:
        yield Harmed(dataset, monkeypatch)


def weights(trainer):
    return [variable.numpy().tobytes() for variable in trainer.variables]


def never_drawn(reader, rows, **options):
    """The weights of the naive version: the same passes, fed by hand without these rows."""
    trainer = make_trainer(**options)
    for start in range(0, reader.samples, 8):
        stop = min(start + 8, reader.samples)
        batches = [reader.fetch(0, first, min(first + 2, stop)) for first in range(start, stop, 2)]
        batches = [batch for batch in batches if not np.isin(batch.row_ids, rows).all()]
        for number, batch in enumerate(batches, start=1):
            kept = ~np.isin(batch.row_ids, rows)
            inputs = {name: values[kept] for name, values in batch.inputs.items()}
            trainer._step(inputs, batch.targets[kept], last=number == len(batches))
    return weights(trainer)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0], ids=["NaN loss", "Inf loss", "NaN gradient"])
@pytest.mark.parametrize("positions", [[0], [7], [8, 9], [3, 20, 45]], ids=str)
def test_a_bad_row_is_left_out_and_the_weights_are_those_of_a_run_that_never_drew_it(harmed, value, positions):
    rows = [harmed.row_at(position) for position in positions]
    expected = never_drawn(harmed.reader, rows)
    harmed.numbers = dict.fromkeys(rows, value)
    trainer = make_trainer()
    records = list(trainer.train(harmed.reader))
    assert weights(trainer) == expected
    assert all(record.applied for record in records)
    left_out = {one.row: one for record in records for one in record.left_out}
    assert list(left_out) == rows
    tensor = "gradient of dense" if value == 0 else "loss of this row"
    assert all(one.reason == "non_finite_step" and tensor in one.detail for one in left_out.values())
    used = np.concatenate([record.row_ids for record in records])
    assert sorted([*used, *rows]) == list(range(46))


def test_a_row_that_is_bad_once_and_fine_when_read_again_counts(harmed):
    clean, lines = make_trainer(), []
    list(clean.train(harmed.reader))
    harmed.numbers, harmed.once = {harmed.row_at(11): np.nan}, {harmed.row_at(11)}
    trainer = make_trainer(lines)
    records = list(trainer.train(harmed.reader))
    assert weights(trainer) == weights(clean)
    assert not any(record.left_out for record in records)
    assert lines == ["step 2: a loss or gradient was not finite, but all were when run again"]


def test_the_findings_of_a_pass_are_not_read_before_its_window_ends(harmed, monkeypatch):
    """No round trip to the host per pass: tensors are converted only with the window's last pass."""
    trainer, looks, passes = make_trainer(), [], []
    run, numpy = AccumulatingStep.__call__, type(tf.constant(0)).numpy

    def counted(step, inputs, targets, *, last, row_weights):
        passes.append(last)
        return run(step, inputs, targets, last=last, row_weights=row_weights)

    monkeypatch.setattr(AccumulatingStep, "__call__", counted)
    monkeypatch.setattr(type(tf.constant(0)), "numpy", lambda self: looks.append(len(passes)) or numpy(self))
    records = trainer.train(harmed.reader)
    next(records)  # traces the step, which reads constants
    looks.clear()
    next(records)
    monkeypatch.undo()
    records.close()
    assert passes == 2 * [False, False, False, True]
    assert {8} <= set(looks) <= {4, 8}  # before the window, and after its last pass
    assert trainer.tracing_count == 1


def test_a_bad_row_in_float16_does_not_lower_the_loss_scale(harmed):
    harmed.numbers = {harmed.row_at(3): np.nan}
    trainer = make_trainer(policy="mixed_float16")
    before = trainer.state()["loss_scale"]
    records = list(trainer.train(harmed.reader))
    assert [one.row for record in records for one in record.left_out] == [harmed.row_at(3)]
    assert trainer.state()["loss_scale"] == before > 1


def test_a_row_that_overflows_in_float16_beside_a_bad_one_is_not_mistaken_for_bad(market):
    """At the first loss scale every row overflows; only one is really bad."""
    with open_dataset(market.path) as dataset:
        reader = BatchReader(dataset, RowRange(0, 8), batch_size=2, features=[FEATURE])
        bad = int(reader.epoch_rows(0, 5, 6)[0])
        read = dataset.read

        def harmed(rows, names):
            found = read(rows, names)
            found[FEATURE][rows == bad] = np.nan
            return found

        trainer = make_trainer(policy="mixed_float16", target_scale=1e-4, clip_norm=0.0, learning_rate=1e-6)
        dataset.read = harmed
        trainer.restore({**trainer.state(), "loss_scale": 2.0**24, "clean_windows": 77})
        record = next(iter(trainer.train(reader)))
    assert record.applied
    assert [one.row for one in record.left_out] == [bad]
    assert trainer.state()["loss_scale"] < 2.0**24


@pytest.mark.parametrize("error", [DataError("block 3 is damaged"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_rows_that_cannot_be_read_are_left_out_and_the_rest_of_their_batch_counts(harmed, error, prefetch):
    harmed.reader.prefetch = prefetch
    rows = [harmed.row_at(position) for position in (4, 29)]
    expected = never_drawn(harmed.reader, rows)
    harmed.errors = dict.fromkeys(rows, error)
    trainer = make_trainer()
    left_out = [one for record in trainer.train(harmed.reader) for one in record.left_out]
    assert [(one.row, one.reason, one.detail) for one in left_out] == [(row, "read_error", str(error)) for row in rows]
    assert weights(trainer) == expected


def test_a_read_that_fails_once_loses_nothing(harmed):
    clean, lines = make_trainer(), []
    list(clean.train(harmed.reader))
    row = harmed.row_at(17)
    harmed.errors, harmed.once = {row: OSError("busy")}, {row}
    trainer = make_trainer(lines)
    assert not any(record.left_out for record in trainer.train(harmed.reader))
    assert weights(trainer) == weights(clean)
    assert "failed once (busy) and then worked" in lines[0]


def test_with_windowed_shuffling_too_only_rows_that_cannot_be_read_are_left_out(harmed):
    harmed.reader.window_rows = 32
    bad = [3, 17]
    harmed.errors = dict.fromkeys(bad, DataError("damaged"))
    records = list(make_trainer().train(harmed.reader))
    assert sorted(one.row for record in records for one in record.left_out) == bad
    used = np.concatenate([record.row_ids for record in records])
    assert sorted([*used, *bad]) == list(range(46))


@pytest.mark.parametrize("error", [KeyError("arr_x"), ZeroDivisionError(), MemoryError()], ids=repr)
def test_bugs_and_lack_of_memory_are_not_mistaken_for_bad_rows(harmed, error):
    harmed.errors = {harmed.row_at(17): error}
    with pytest.raises(type(error)):
        list(make_trainer().train(harmed.reader))


def test_bad_rows_in_too_many_consecutive_windows_end_training(harmed):
    harmed.numbers = {harmed.row_at(8 * window): np.nan for window in range(MOST_FAULTS_IN_A_ROW)}
    records, trainer = [], make_trainer()
    with pytest.raises(
        TrainingFailedError, match=r"rows of 5 consecutive windows had to be left out, .*loss of this row"
    ):
        records += trainer.train(harmed.reader)
    del harmed.numbers[harmed.row_at(16)]
    assert len(list(make_trainer().train(harmed.reader))) == 6


def test_too_many_bad_rows_in_one_window_end_training(harmed):
    harmed.errors = {harmed.row_at(position): OSError("gone") for position in range(8, 13)}
    with pytest.raises(TrainingFailedError, match=r"5 of 8 rows had to be left out, the last one because: gone"):
        list(make_trainer().train(harmed.reader))
    del harmed.errors[harmed.row_at(8)]
    assert len(list(make_trainer().train(harmed.reader))) == 6


def test_rows_that_are_not_finite_together_but_each_alone_are_not_blamed(harmed, monkeypatch):
    trainer = make_trainer()
    run = trainer._step._run

    def overflowing(inputs, targets, row_weights):
        finite, totals, *pieces = run(inputs, targets, row_weights)
        if len(targets) > 1:
            finite, totals = tf.zeros_like(finite), tf.concat([totals[:3], [1]], axis=0)
        return finite, totals, *pieces

    monkeypatch.setattr(trainer._step, "_run", overflowing)
    with pytest.raises(
        TrainingFailedError, match="the loss is not finite over 8 rows, but is for each row alone"
    ) as raised:
        list(trainer.train(harmed.reader))
    assert raised.value.left_out == ()


def test_a_window_of_which_nothing_can_be_read_changes_nothing(harmed):
    harmed.errors = {harmed.row_at(position): OSError("gone") for position in range(44, 46)}
    trainer = make_trainer(batch_size=1, accum_steps=2)
    record = list(trainer.train(harmed.reader))[-1]
    assert (record.applied, record.valid_targets, len(record.row_ids)) == (False, 0, 0)


# -- a whole run


@pytest.fixture
def train(market, tmp_path, monkeypatch):
    """Train on the small market with reads that fail for the rows in `train.unreadable`."""
    read, lines = Dataset.read, []

    def harmed(self, rows, names):
        bad = sorted(set(rows.tolist()) & set(train.unreadable))
        if bad:
            raise OSError(f"row {bad[0]} is gone")
        return read(self, rows, names)

    monkeypatch.setattr(Dataset, "read", harmed)

    def train(out, **changes):
        options = {"model_size": "tiny", "features": FEATURE, "batch_size": 2, "val_ratio": 0.2, "skip_rl": True}
        options |= {"csv": str(market.path), "out": str(tmp_path / out), "epochs": 2, "checkpoint_every": 4}
        return fit(FitSettings(**{**options, **changes}), sink=lines.append, progress="silent")

    train.unreadable, train.lines, train.csv, train.out = (), lines, market.path, tmp_path
    return train


def rows_of_steps(train, first, last):
    """The first rows of steps [first, last] of epoch 0."""
    with open_dataset(train.csv) as dataset:
        reader = BatchReader(dataset, dataset.split(0.2, inner_ratio=FitSettings().inner_ratio).train, batch_size=2)
        return [int(reader.epoch_rows(0, 2 * step - 2, 2 * step)[0]) for step in range(first, last + 1)]


def files_of(folder):
    kept = ("history.csv", "ledger.csv")
    return [(folder / name).read_bytes() for name in kept]


def test_a_run_rolls_back_without_the_rows_that_failed_at_a_lower_rate_and_then_completes(train):
    train.unreadable = rows_of_steps(train, 7, 11)
    result = train("run")
    assert [(back["step"], back["to_step"]) for back in result["rollbacks"]] == [(11, 4)]
    assert result["status"] == "completed"
    history = train.out / "run" / "history.csv"
    rates = read_column(history, "learning_rate")
    np.testing.assert_allclose(rates, 1e-3, rtol=1e-6)  # a smaller step does not help reading
    np.testing.assert_array_equal(read_column(history, "step"), np.arange(1, 39))
    entries = [entry for entry in read_ledger(train.out / "run" / "ledger.csv") if entry.reason == "read_error"]
    assert [entry.row for entry in entries] == list(train.unreadable)
    assert result["rows"]["rejected"] == len(train.unreadable)
    assert result["rows"]["trained"] == 37 - len(train.unreadable)
    assert any("back to step 4 without these rows" in line for line in train.lines)


@pytest.mark.parametrize("stop", [3, 9])
def test_where_a_run_was_interrupted_does_not_change_where_it_rolls_back_to(train, stop):
    train.unreadable = rows_of_steps(train, 7, 11)
    straight = train("straight")
    train("stopped", max_steps=stop)
    assert train("stopped")["weights_sha256"] == straight["weights_sha256"]
    assert files_of(train.out / "stopped") == files_of(train.out / "straight")


def test_validation_rows_that_cannot_be_read_are_named_and_the_others_judged(train):
    whole = train("whole", max_steps=2)
    train.unreadable = [52, 58]
    result = train("run", max_steps=2)
    assert result["rows"]["validation"] == whole["rows"]["validation"] - 2
    assert result["rows"]["rejected"] == whole["rows"]["rejected"] + 2
    entries = [entry for entry in read_ledger(train.out / "run" / "ledger.csv") if entry.reason == "read_error"]
    assert [(entry.row, entry.detail) for entry in entries] == [(52, "row 52 is gone"), (58, "row 58 is gone")]
    assert np.isfinite(result["validation"]["loss"])
    train.unreadable = []
    again = train("run", max_steps=4)  # the rows that were busy can now be read
    assert again["rows"]["validation"] == whole["rows"]["validation"]
    assert not any(entry.reason == "read_error" for entry in read_ledger(train.out / "run" / "ledger.csv"))


def test_a_kill_right_after_a_rollback_changes_nothing(train, monkeypatch):
    """Stopped at 9, continued, rolled back from 11 to 4, killed before old checkpoints are removed, continued."""
    train.unreadable = rows_of_steps(train, 7, 11)
    straight = train("straight")
    train("killed", max_steps=9)
    unlink = Path.unlink

    def killed(self, **options):
        if self.name.startswith("stop-"):
            raise KeyboardInterrupt
        unlink(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            train("killed")
    assert any(path.name.startswith("stop-") for path in (train.out / "killed" / "checkpoints").iterdir())
    assert train("killed")["weights_sha256"] == straight["weights_sha256"]
    assert files_of(train.out / "killed") == files_of(train.out / "straight")
