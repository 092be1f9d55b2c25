"""Workers that train together end with the weights of one process, whatever rows each of them meets."""

import signal
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeptrade.data.batches import BatchReader
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, Interrupted, RunConflictError, TrainingFailedError, WorkersDifferError
from deeptrade.store.row_range import RowRange
from deeptrade.training import traced
from deeptrade.training.feed import NON_FINITE, LeftOut
from deeptrade.training.loop import Trainer
from deeptrade.training.team import Team, checksum
from tests.support.thread_workers import at_once, make_teams

FEATURE = "arr_ctx"


@pytest.fixture(autouse=True)
def _tracing_in_threads(monkeypatch):
    """What one thread traces, another must not take for its own."""
    monkeypatch.setattr(traced, "_forgetting_gradients", nullcontext)


def make_trainer(team=None, policy="float32", **options):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    start = {"kernel_initializer": keras.initializers.GlorotUniform(1)}
    x = keras.layers.Rescaling(0.01)(inputs[FEATURE])
    x = keras.layers.Dense(8, activation="tanh", dtype=policy, name="hidden", **start)(x)
    x = keras.layers.Dense(2, dtype="float32", name="head", **start)(x)
    options = {
        "batch_size": 2,
        "accum_steps": 4,
        "learning_rate": 0.01,
        "clip_norm": 1e-3,
        "averaging": True,
        **options,
    }
    return Trainer(keras.Model(inputs, x), target_scale=0.01, team=team, **options)


class Rows:
    """Rows of a file for readers of any share; `values` and `errors` by row number harm what is read."""

    def __init__(self, dataset, monkeypatch, rows=47):
        self.dataset, self.samples, self.values, self.errors = dataset, rows, {}, {}
        read, read_targets = dataset.read, dataset.read_targets

        def harmed(rows, names):
            for row in rows.tolist():
                if row in self.errors:
                    raise self.errors[row]
            found = read(rows, names)
            for row, value in self.values.items():
                found[FEATURE][rows == row] = value
            return found

        def masked(rows):
            found = read_targets(rows)
            found[rows % 5 == 0, 0] = np.nan
            found[rows % 7 == 0] = np.nan
            return found

        monkeypatch.setattr(dataset, "read", harmed)
        monkeypatch.setattr(dataset, "read_targets", masked)

    def reader(self, share=None, **options):
        rows = RowRange(0, self.samples)
        return BatchReader(self.dataset, rows, share=share, batch_size=2, features=[FEATURE], **options)

    def row_at(self, position):
        return int(self.reader().epoch_rows(0, position, position + 1)[0])


@pytest.fixture
def rows(market, monkeypatch):
    with open_dataset(market.path) as dataset:
        yield Rows(dataset, monkeypatch)


def outcome(trainer, records):
    """What must be the same, to the last bit, however many workers there are."""
    steps = [
        (r.step, r.samples, r.loss, r.gradient_norm, r.valid_targets, r.applied, sorted(r.row_ids), r.left_out)
        for r in records
    ]
    return [variable.numpy().tobytes() for variable in trainer.variables], repr(steps)


def train(trainer, reader, *, epochs=2, **options):
    records = [record for epoch in range(epochs) for record in trainer.train(reader, epoch=epoch, **options)]
    return outcome(trainer, records)


def train_together(count, rows, *, settings=None, **options):
    """The outcomes of `count` workers."""
    teams = make_teams(count)
    trainers = [make_trainer(team, **(settings or {})) for team in teams]
    readers = [rows.reader(team.share(batch_size=2, step_rows=8)) for team in teams]
    return at_once(teams, lambda number: train(trainers[number], readers[number], **options))


def check(rows, *, settings=None, **options):
    """Check that two workers end like one, and return its outcome."""
    alone = train(make_trainer(**(settings or {})), rows.reader(), **options)
    assert train_together(2, rows, settings=settings, **options) == [alone, alone]
    return alone


def test_workers_end_with_the_weights_of_one_process(rows):
    """Two epochs with masked targets, clipping that is always active, and a last window of 4 passes, one of one row."""
    _, steps = check(rows)
    assert "applied=False" not in steps


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5])
def test_a_worker_without_rows_in_the_last_window_takes_part(rows, last):
    rows.samples = 40 + last
    check(rows)


def test_all_workers_leave_out_a_row_that_is_not_finite_for_one_of_them(rows):
    rows.values = {rows.row_at(position): np.nan for position in (0, 13, 22, 23)}
    _, steps = check(rows)
    assert steps.count("non_finite_step") == 8  # once each epoch


def test_all_workers_leave_out_a_row_that_one_of_them_cannot_read(rows):
    rows.errors = {rows.row_at(3): DataError("damaged"), rows.row_at(31): OSError(5, "Input/output error")}
    rows.values = {rows.row_at(2): np.inf, rows.row_at(7): np.nan}
    _, steps = check(rows)
    assert steps.count("read_error") == 4
    assert steps.count("non_finite_step") == 4


def test_a_window_of_which_one_worker_can_read_nothing_and_the_other_everything(rows):
    rows.errors = {rows.row_at(position): DataError("damaged") for position in (8, 9, 10)}
    check(rows)


def test_a_window_of_which_no_row_counts_is_the_same_for_all(rows):
    rows.samples = 41
    rows.errors = {rows.row_at(40): DataError("damaged")}
    check(rows, epochs=1)


def test_too_many_faults_end_all_workers_alike(rows):
    rows.errors = {rows.row_at(position): DataError("damaged") for position in range(8, 13)}
    with pytest.raises(TrainingFailedError, match="5 of 8 rows"):
        train_together(2, rows)


def test_rows_known_to_be_bad_are_left_out_by_whichever_worker_meets_them(rows):
    known = {row: LeftOut(row, NON_FINITE, "seen before") for row in range(3, 9)}
    _, steps = check(rows, known=known)
    assert steps.count("seen before") == 12


def test_a_loss_scale_that_is_too_high_for_one_worker_is_lowered_by_all(rows):
    rows.values = {rows.row_at(4): 6e4}
    check(rows, settings={"policy": "mixed_float16"}, epochs=1)


def test_the_rows_of_a_windowed_shuffle_are_read_by_one_worker_each(rows):
    alone, parts = rows.reader(window_rows=16), []
    for team in make_teams(3):
        reader = rows.reader(team.share(batch_size=2, step_rows=8), window_rows=16)
        parts.append(np.concatenate([batch.row_ids for batch in reader.stream(1)]))
        held = reader._window.contents.row_ids
        assert len(held) < 31  # not the whole window
    whole = alone.epoch_rows(1, 0, 47)
    assert sorted(np.concatenate(parts)) == sorted(whole)
    assert all(len(part) >= 12 for part in parts)


def test_weights_that_differ_are_an_error_before_they_are_used(rows):
    teams = make_teams(2)
    trainers = [make_trainer(team) for team in teams]
    readers = [rows.reader(team.share(batch_size=2, step_rows=8)) for team in teams]
    kernel = trainers[1].model.trainable_variables[0]
    values = kernel.numpy()
    values[0, 0] = np.nextafter(values[0, 0], np.float32(9))
    kernel.assign(values)
    before = [variable.numpy().tobytes() for variable in trainers[0].variables]

    def train_in_vain(number):
        with pytest.raises(WorkersDifferError, match="weights of worker 1 are no longer those of worker 0"):
            next(trainers[number].train(readers[number]))

    at_once(teams, train_in_vain)
    assert [variable.numpy().tobytes() for variable in trainers[0].variables] == before


def test_one_vector_is_added_per_step(rows):
    teams = make_teams(2)
    trainers = [make_trainer(team) for team in teams]
    readers = [rows.reader(team.share(batch_size=2, step_rows=8)) for team in teams]
    at_once(teams, lambda number: train(trainers[number], readers[number], epochs=1))
    assert teams[0]._engine.meeting.calls == 6


def test_a_request_to_stop_reaches_all_workers_with_the_same_step(rows):
    teams = make_teams(2)
    trainers = [make_trainer(team) for team in teams]
    readers = [rows.reader(team.share(batch_size=2, step_rows=8)) for team in teams]

    def stopped_after(number):
        for record in trainers[number].train(readers[number]):
            if teams[number].signal_number:
                return record.step, teams[number].signal_number
            if record.step == 2 and number == 1:
                teams[1]._stop.signal_number = signal.SIGTERM

    assert at_once(teams, stopped_after) == [(3, signal.SIGTERM)] * 2


def test_what_each_worker_tells_reaches_all_in_order():
    teams = make_teams(2)
    told = [{"name": "é" * number, "value": float("nan") if number else 0.1} for number in range(2)]
    for found in at_once(teams, lambda number: teams[number].tell(told[number])):
        assert repr(found) == repr(told)


def test_the_work_of_the_chief_reaches_all_and_is_done_once():
    teams, done = make_teams(2), []
    assert at_once(teams, lambda number: teams[number].from_chief(lambda: done.append(number) or 1.5)) == [1.5, 1.5]
    assert done == [0]


def test_a_signal_that_interrupts_the_chief_interrupts_all():
    teams = make_teams(2)

    def interrupt():
        raise Interrupted(signal.SIGTERM)

    def ask(number):
        with pytest.raises(Interrupted) as caught:
            teams[number].from_chief(interrupt)
        return caught.value.exit_code

    assert at_once(teams, ask) == [143, 143]


def test_the_first_difference_between_workers_is_named_to_all():
    teams = make_teams(2)

    def compare(number):
        with pytest.raises(RunConflictError, match=r"worker 1 has learning_rate=0.02, worker 0 has 0.01"):
            teams[number].refuse_differences({"seed": 0, "learning_rate": 0.02 if number else 0.01})

    at_once(teams, compare)


def test_a_team_without_an_engine_does_all_by_itself():
    team = Team()
    assert (team.is_alone, team.is_chief, team.share(batch_size=2, step_rows=8)) == (True, True, None)
    assert team.tell({"a": 1}) == [{"a": 1}]
    assert team.from_chief(lambda: 3) == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_checksum_sees_a_changed_bit_and_exchanged_numbers(dtype):
    pieces = [np.arange(1, 7, dtype=dtype), np.ones((2, 2), dtype)]
    found = {float(checksum([tf.constant(piece) for piece in pieces]))}
    for at in range(6):
        changed = pieces[0].copy()
        changed[at] = np.nextafter(changed[at], dtype(9))
        found.add(float(checksum([tf.constant(changed), tf.constant(pieces[1])])))
    found.add(float(checksum([tf.constant(pieces[0][::-1].copy()), tf.constant(pieces[1])])))
    assert len(found) == 8
    assert all(value == int(value) and value < 2**48 for value in found)
