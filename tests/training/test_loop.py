import keras
import numpy as np
import pytest

from deeptrade.data.batches import BatchReader
from deeptrade.data.generator import MemoryEfficientGenerator
from deeptrade.data.opening import open_dataset
from deeptrade.errors import SettingsError
from deeptrade.store.row_range import RowRange
from deeptrade.training.loop import Trainer

FEATURE = "arr_ctx"


@pytest.fixture
def dataset(market):
    with open_dataset(market.path) as dataset:
        dataset.targets[3] = np.nan
        yield dataset


@pytest.fixture
def reader(dataset):
    return BatchReader(dataset, RowRange(0, 23), batch_size=4, features=[FEATURE])


def make_model(seed=0):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    x = keras.layers.Rescaling(0.01)(inputs[FEATURE])
    return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed))(x))


def make_trainer(**options):
    return Trainer(make_model(), **{"batch_size": 2, "accum_steps": 4, "learning_rate": 0.05, **options})


def weights(trainer):
    return [variable.numpy() for variable in trainer.variables]


def test_an_epoch_is_windows_of_the_effective_batch_and_a_short_last_one(reader):
    records = list(make_trainer().train(reader))
    assert [record.samples for record in records] == [8, 16, 23]
    assert [record.step for record in records] == [1, 2, 3]
    np.testing.assert_array_equal(np.concatenate([r.row_ids for r in records]), reader.epoch_rows(0, 0, 23))


def test_the_last_short_window_is_applied_with_its_own_denominator(reader):
    records = list(make_trainer().train(reader))
    for record in records:
        assert record.valid_targets == np.isfinite(reader.dataset.targets[record.row_ids]).sum()


@pytest.mark.parametrize(("batch_size", "accum_steps"), [(8, 1), (4, 2), (1, 8)])
def test_how_a_window_is_cut_does_not_change_what_is_learned(reader, batch_size, accum_steps):
    plain, cut = make_trainer(), make_trainer(batch_size=batch_size, accum_steps=accum_steps)
    for epoch in range(4):
        losses = [[record.loss for record in each.train(reader, epoch=epoch)] for each in (plain, cut)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for mine, other in zip(weights(plain), weights(cut), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_a_run_stopped_after_any_step_continues_to_the_same_weights(reader):
    whole = make_trainer()
    expected = [record.loss for epoch in range(2) for record in whole.train(reader, epoch=epoch)]
    for stop in range(1, len(expected)):
        first, losses = make_trainer(), []
        epoch, position = 0, 0
        while len(losses) < stop:
            for record in first.train(reader, epoch=epoch, start=position):
                losses.append(record.loss)
                position = record.samples
                if len(losses) == stop:
                    break
            if position == reader.samples:
                epoch, position = epoch + 1, 0
        second = make_trainer()
        for variable, value in zip(second.variables, weights(first), strict=True):
            variable.assign(value)
        second.restore(first.state())
        for later in range(epoch, 2):
            losses += [r.loss for r in second.train(reader, epoch=later, start=position)]
            position = 0
        assert losses == expected
        for mine, other in zip(weights(second), weights(whole), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_a_loop_left_in_the_middle_of_a_window_leaves_nothing_behind(reader, monkeypatch):
    clean, broken = make_trainer(), make_trainer()
    read, reads = reader.dataset.read, []

    def fail_at_third(*arguments):
        reads.append(1)
        if len(reads) == 3:
            raise ZeroDivisionError("a bug")
        return read(*arguments)

    monkeypatch.setattr(reader.dataset, "read", fail_at_third)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(broken.train(reader))
    for each in (clean, broken):
        list(each.train(reader))
    for mine, other in zip(weights(clean), weights(broken), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_generator_is_accepted_like_a_reader(dataset):
    with MemoryEfficientGenerator(dataset, batch_size=4, features=[FEATURE], val_ratio=0.3) as generator:
        records = list(make_trainer().train(generator))
    assert records[-1].samples == generator.reader.samples


def test_training_lowers_the_loss_and_traces_once(reader):
    trainer = make_trainer()
    epochs = [np.mean([record.loss for record in trainer.train(reader, epoch=epoch)]) for epoch in range(15)]
    assert epochs[-1] < 0.5 * epochs[0]
    assert trainer.tracing_count == 1


def test_a_window_that_overflows_in_float16_is_tried_again_and_loses_no_row(reader):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    x = keras.layers.Rescaling(0.01)(inputs[FEATURE])
    x = keras.layers.Dense(2, dtype="mixed_float16", kernel_initializer="zeros")(x)
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))
    trainer = Trainer(model, batch_size=2, accum_steps=4, target_scale=1e-4, learning_rate=1e-5)
    trainer.restore({**trainer.state(), "loss_scale": 2.0**24})
    records = list(trainer.train(reader))
    assert trainer.state()["loss_scale"] < 2.0**24
    assert all(record.applied for record in records)
    np.testing.assert_array_equal(np.concatenate([r.row_ids for r in records]), reader.epoch_rows(0, 0, 23))


def test_a_model_that_looks_across_rows_is_refused():
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(inputs[FEATURE]))
    with pytest.raises(SettingsError, match="'norm' normalizes over the batch"):
        Trainer(model, batch_size=2)


@pytest.mark.parametrize(
    ("layer", "draws"),
    [
        (keras.layers.Dropout(0.1), "rate=0.1"),
        (keras.layers.GaussianNoise(0.5), "stddev=0.5"),
        (keras.layers.Dropout(0.0), ""),
    ],
    ids=["dropout", "noise", "dropout that is off"],
)
def test_a_model_that_draws_random_numbers_per_pass_is_refused(layer, draws):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    model = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs[FEATURE])))
    if draws:
        with pytest.raises(SettingsError, match=f"draws random numbers per pass .{draws}"):
            Trainer(model, batch_size=2)
    else:
        Trainer(model, batch_size=2)


def test_the_model_s_own_losses_that_depend_on_rows_are_refused_and_not_ignored(reader):
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    model = keras.Model(inputs, keras.layers.Dense(2, activity_regularizer="l2")(inputs[FEATURE]))
    with pytest.raises(SettingsError, match="depend on its rows"):
        list(Trainer(model, batch_size=2).train(reader))


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        (keras.optimizers.Adam(gradient_accumulation_steps=4), "mean of means"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "the inner optimizer"),
    ],
)
def test_optimizers_that_accumulate_or_scale_themselves_are_refused(optimizer, problem):
    with pytest.raises(SettingsError, match=problem):
        make_trainer(optimizer=optimizer)


class Stopping(keras.callbacks.Callback):
    def __init__(self, after):
        super().__init__()
        self.after, self.calls = after, []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.after:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, logs["loss"]))


def test_callbacks_may_stop_an_epoch_and_see_its_mean_loss(reader):
    stopping = Stopping(after=2)
    trainer = make_trainer(callbacks=[stopping])
    records = list(trainer.train(reader))
    targets = [record.valid_targets for record in records]
    assert len(records) == 2
    assert stopping.calls[0] == "begin"
    assert stopping.calls[1][1] == pytest.approx(np.average([record.loss for record in records], weights=targets))


@pytest.mark.parametrize("weights", [[1.0, -1.0], [np.nan] * 60, np.ones((60, 1)), np.ones(59)], ids=str)
def test_invalid_row_weights_are_refused(reader, weights):
    with pytest.raises(SettingsError, match="row_weights"):
        list(make_trainer(row_weights=weights).train(reader))


def test_rows_of_weight_two_count_like_rows_drawn_twice_and_of_weight_zero_not_at_all(reader):
    heavy, light = make_trainer(), make_trainer(row_weights=np.zeros(60))
    assert not any(record.applied for record in light.train(reader))
    equal = make_trainer(row_weights=np.full(60, 2.0))
    for each in (heavy, equal):
        list(each.train(reader))
    for mine, other in zip(weights(heavy), weights(equal), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"optimizer": "adam"}, "give a Keras optimizer"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0"),
        ({"target_scale": 0.0}, "target_scale=0.0"),
    ],
    ids=str,
)
def test_invalid_arguments_are_refused_by_name(options, problem):
    with pytest.raises(SettingsError, match=problem):
        make_trainer(**options)


def test_a_scale_or_model_of_other_horizons_is_refused_before_a_step(reader):
    with pytest.raises(SettingsError, match="target_scale has 3 horizons, the data has 2"):
        list(make_trainer(target_scale=np.ones(3)).train(reader))
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    with pytest.raises(SettingsError, match="the model's output has 5 horizons, the data has 2"):
        list(Trainer(keras.Model(inputs, keras.layers.Dense(5)(inputs[FEATURE])), batch_size=2).train(reader))


def test_a_model_gets_only_the_features_it_reads(dataset, reader):
    everything = BatchReader(dataset, RowRange(0, 23), batch_size=4)
    trainers = make_trainer(), make_trainer()
    for trainer, batches in zip(trainers, (everything, reader), strict=True):
        list(trainer.train(batches))
    for mine, other in zip(*map(weights, trainers), strict=True):
        np.testing.assert_array_equal(mine, other)
    other = BatchReader(dataset, RowRange(0, 23), batch_size=4, features=["arr_5m"])
    with pytest.raises(SettingsError, match="the model reads 'arr_ctx', but the batches hold only arr_5m"):
        list(make_trainer().train(other))


def test_after_a_stop_there_are_no_further_epochs_and_finish_ends_the_callbacks(reader):
    stopping = Stopping(after=2)
    ended = []
    last = keras.callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(1))
    trainer = make_trainer(callbacks=[stopping, last])
    assert sum(1 for epoch in range(4) for _ in trainer.train(reader, epoch=epoch)) == 2
    assert [call for call in stopping.calls if call != "begin"] == stopping.calls[1:2]
    trainer.finish()
    assert ended == [1]


def test_averaged_weights_are_the_mean_over_steps_each_weighted_with_its_number(reader):
    trainer, plain = make_trainer(averaging=True), make_trainer()
    steps = [
        [weight.numpy() for weight in trainer.model.weights]
        for epoch in range(3)
        for _ in trainer.train(reader, epoch=epoch)
    ]
    assert len(steps) == 9
    for epoch in range(3):
        list(plain.train(reader, epoch=epoch))
    expected = [np.average(values, axis=0, weights=range(1, 10)) for values in zip(*steps, strict=True)]
    with trainer.averaged():
        for weight, mean in zip(trainer.model.weights, expected, strict=True):
            np.testing.assert_allclose(weight, mean, rtol=1e-5)
    for weight, unaveraged in zip(trainer.model.weights, plain.model.weights, strict=True):
        np.testing.assert_array_equal(weight, unaveraged)
    trainer.finish()
    for weight, mean in zip(trainer.model.weights, expected, strict=True):
        np.testing.assert_allclose(weight, mean, rtol=1e-5)


def test_a_second_finish_changes_nothing_and_calls_no_callback(reader):
    ended = []
    last = keras.callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(1))
    trainer = make_trainer(averaging=True, callbacks=[last])
    list(trainer.train(reader))
    with trainer.averaged():
        averages = [weight.numpy() for weight in trainer.model.weights]
    for _ in range(2):
        trainer.finish()
        for weight, average in zip(trainer.model.weights, averages, strict=True):
            np.testing.assert_array_equal(weight, average)
        assert ended == [1]
    with trainer.averaged():
        for weight, average in zip(trainer.model.weights, averages, strict=True):
            np.testing.assert_array_equal(weight, average)


def test_training_is_refused_after_finish_also_in_the_middle_of_an_epoch(reader):
    trainer = make_trainer()
    records = trainer.train(reader)
    next(records)
    trainer.finish()
    for going_on in (records, trainer.train(reader, epoch=1)):
        with pytest.raises(SettingsError, match="make a new Trainer"):
            next(going_on)
    assert trainer.steps == 1


def test_a_window_that_changes_nothing_is_not_averaged(dataset):
    dataset.targets[4:8] = np.nan
    reader = BatchReader(dataset, RowRange(0, 12), batch_size=4, features=[FEATURE], shuffle=False)
    trainer = make_trainer(averaging=True, batch_size=4, accum_steps=1)
    steps = [(record.applied, trainer.model.weights[0].numpy()) for record in trainer.train(reader)]
    assert [applied for applied, _ in steps] == [True, False, True]
    with trainer.averaged():
        expected = (steps[0][1] + 2 * steps[2][1]) / 3
        np.testing.assert_allclose(trainer.model.weights[0], expected, rtol=1e-6)


def test_a_frozen_batch_normalization_is_accepted():
    inputs = {FEATURE: keras.Input((4,), name=FEATURE)}
    model = keras.Model(
        inputs, keras.layers.Dense(2)(keras.layers.BatchNormalization(trainable=False)(inputs[FEATURE]))
    )
    Trainer(model, batch_size=2)


def test_passes_of_another_size_between_two_windows_do_not_change_what_is_learned(reader):
    plain, resized = make_trainer(), make_trainer()
    for epoch in range(3):
        losses = [record.loss for record in plain.train(reader, epoch=epoch)]
        found = []
        for record in resized.train(reader, epoch=epoch):
            found.append(record.loss)
            resized.resize((1, 8, 2, 4)[record.step % 4])
        np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert resized.effective_batch == plain.effective_batch
    assert resized.tracing_count == 1
    for mine, other in zip(weights(plain), weights(resized), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)
    with pytest.raises(SettingsError, match="batch_size=3 does not divide the 8 rows"):
        resized.resize(3)
