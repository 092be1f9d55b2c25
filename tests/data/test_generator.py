import threading

import keras
import numpy as np
import pytest

from deeptrade import MemoryEfficientGenerator
from deeptrade.data.dataset import Dataset
from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, RunConflictError, SettingsError


@pytest.fixture
def generator(market):
    with MemoryEfficientGenerator(market.path, batch_size=8, seed=5) as opened:
        yield opened


def test_items_are_inputs_by_name_and_targets(generator, market):
    inputs, targets = generator[2]
    rows = generator.row_ids(2)
    assert set(inputs) == set(market.features)
    for name, values in inputs.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, market.features[name][rows, 0].astype(np.float32))
    np.testing.assert_array_equal(targets, market.targets[rows].astype(np.float32))


def test_an_epoch_serves_every_training_row_once_and_the_last_batch_is_short(generator):
    rows = np.concatenate([generator.row_ids(index) for index in range(len(generator))])
    assert sorted(rows.tolist()) == generator.dataset.split(0.1).train.numbers().tolist()
    assert len(generator[len(generator) - 1][1]) == len(rows) % 8


def test_in_order_and_random_access_agree(generator):
    in_order = [generator[index][1] for index in range(len(generator))]
    for index in (3, 0, 3, 4, 1, -1):
        np.testing.assert_array_equal(generator[index][1], in_order[index])


def test_each_epoch_has_its_own_order_and_can_be_set(generator):
    first = generator.row_ids(0)
    generator.on_epoch_end()
    assert generator.row_ids(0).tolist() != first.tolist()
    generator.set_epoch(0)
    np.testing.assert_array_equal(generator.row_ids(0), first)


def test_plain_keras_fit_works(market):
    with MemoryEfficientGenerator(market.path, batch_size=8, features=["arr_ctx"]) as generator:
        inputs = keras.Input((4,), name="context")
        model = keras.Model({"arr_ctx": inputs}, keras.layers.Dense(2)(inputs))
        model.compile(loss="mae", optimizer="sgd")
        history = model.fit(generator, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert generator.epoch > 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deeptrade")]


def test_an_unknown_split_is_refused(market):
    with pytest.raises(SettingsError, match="split='test' is not accepted; choose from train, inner, validation, all"):
        MemoryEfficientGenerator(market.path, batch_size=8, split="test")


def test_a_generator_that_cannot_be_built_closes_what_it_opened(market, monkeypatch):
    closed = []
    monkeypatch.setattr(Dataset, "close", lambda self: closed.append(self.name))
    with pytest.raises(SettingsError, match="features='arr_none'"):
        MemoryEfficientGenerator(market.path, batch_size=4, features=["arr_none"])
    assert closed == ["market"]


def test_a_number_that_is_not_accepted_is_refused_before_the_data_is_read(market):
    with pytest.raises(SettingsError, match="batch_size=0 is not accepted; use at least 1"):
        MemoryEfficientGenerator(market.path.with_name("none.csv"), batch_size=0)


def test_an_error_while_closing_is_not_swallowed(market, monkeypatch):
    generator = MemoryEfficientGenerator(market.path, batch_size=8)
    with monkeypatch.context() as patch, pytest.raises(AttributeError, match="a fault of ours"):
        patch.setattr(generator.reader, "close", lambda: (_ for _ in ()).throw(AttributeError("a fault of ours")))
        generator.close()
    generator.close()


def test_batches_are_read_ahead_again_after_a_jump(generator):
    generator[3]
    assert generator._stream is None
    generator[4]
    assert generator._stream is not None
    generator[1]
    for index in (2, 3):
        np.testing.assert_array_equal(generator[index][1], generator.reader.batch(index).targets)
    assert generator._stream is not None


@pytest.mark.parametrize("window_rows", [0, 16])
def test_a_state_is_plain_data_from_which_other_batches_continue_exactly(market, window_rows):
    import json

    with open_dataset(market.path) as data:
        whole = data.batches(batch_size=60, seed=2, window_rows=window_rows).batch(0, epoch=3).row_ids
    with MemoryEfficientGenerator(market.path, batch_size=8, seed=2) as generator:
        generator.reader.window_rows = window_rows
        generator.set_epoch(3)
        for served in range(len(generator) + 1):
            state = json.loads(json.dumps(generator.state()))
            assert state["position"] == min(8 * served, len(whole))
            with MemoryEfficientGenerator(market.path, batch_size=5, prefetch=0, seed=2) as other:
                other.reader.window_rows = window_rows
                other.restore(state)
                rest = [other.row_ids(index) for index in range(len(other))]
                targets = [other[index][1] for index in range(len(other))]
            np.testing.assert_array_equal(np.concatenate([whole[: state["position"]], *rest]), whole)
            if targets:
                expected = market.targets[np.concatenate(rest)].astype(np.float32)
                np.testing.assert_array_equal(np.concatenate(targets), expected)
            if served < len(generator):
                generator[served]


def test_a_state_of_another_order_is_refused_with_the_difference(generator, market):
    state = generator.state()
    with (
        MemoryEfficientGenerator(market.path, batch_size=8, seed=9) as other,
        pytest.raises(RunConflictError, match="the state has seed=5, these batches have 9"),
    ):
        other.restore(state)


def test_after_an_error_the_same_batch_can_be_requested_again(generator, monkeypatch):
    plain, failures = generator.dataset.read, [DataError("the disk is away")]

    def read(rows, names):
        if failures and len(rows):
            raise failures.pop()
        return plain(rows, names)

    monkeypatch.setattr(generator.dataset, "read", read)
    with pytest.raises(DataError, match="the disk is away"):
        generator[0]
    for index in range(len(generator)):
        np.testing.assert_array_equal(generator[index][1], generator.reader.batch(index).targets)


def test_a_state_after_batches_out_of_order_is_refused(generator):
    generator[3]
    with pytest.raises(SettingsError, match="out of order"):
        generator.state()
    generator.on_epoch_end()
    assert generator.state()["position"] == 0
