"""A window cut into passes equals the full batch: gradients, and all that happens once per window."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeptrade.data.batches import BatchReader
from deeptrade.data.opening import open_dataset
from deeptrade.errors import SettingsError
from deeptrade.store.row_range import RowRange
from deeptrade.training.exactness import refuse_inexact
from deeptrade.training.loop import Trainer
from deeptrade.training.step import AccumulatingStep

HORIZONS, ROWS = 10, 21
PASSES = {1: [21], 2: [11, 10], 3: [8, 8, 5], 5: [5, 5, 5, 5, 1], 7: [3, 3, 3, 3, 3, 3, 3]}
SCALE = np.linspace(0.5, 2, HORIZONS).astype(np.float32)
L2 = 2.0**-7  # Keras rounds it to float32


def make_model(dtype):
    inputs = {"a": keras.Input((6,), name="a", dtype=dtype)}
    x = inputs["a"]
    for seed, units in enumerate((16, HORIZONS)):
        x = keras.layers.Dense(
            units,
            "tanh" if units == 16 else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            kernel_regularizer=keras.regularizers.L2(L2),
            dtype=dtype,
        )(x)
    return keras.Model(inputs, x)


def make_batch():
    """Every horizon is masked differently, the second pass of seven has no target, and rows weigh differently."""
    generator = np.random.default_rng(1)
    x = {"a": generator.normal(size=(ROWS, 6)).astype(np.float32)}
    y = generator.normal(0, 2, (ROWS, HORIZONS)).astype(np.float32)
    y[generator.random(y.shape) < np.linspace(0.1, 0.6, HORIZONS)] = np.nan
    y[3:6] = np.nan
    return x, y, generator.uniform(0.2, 3, ROWS).astype(np.float32)


def plain_gradients(model, x, y, row_weights, *, l2=L2):
    """The naive version: weighted mean Huber loss over the known targets, plus the penalty."""
    dtype = model.output.dtype
    valid = np.isfinite(y)
    weights = tf.boolean_mask(np.repeat(row_weights[:, None], HORIZONS, 1).astype(dtype), valid)
    with tf.GradientTape() as tape:
        errors = tf.boolean_mask((np.nan_to_num(y).astype(dtype) - model(x)) / SCALE.astype(dtype), valid)
        losses = tf.where(tf.abs(errors) < 1, errors**2 / 2, tf.abs(errors) - 0.5)
        loss = tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
        loss += l2 * sum(tf.reduce_sum(v.value**2) for v in model.trainable_variables if v.name == "kernel")
    return [g.numpy() for g in tape.gradient(loss, [v.value for v in model.trainable_variables])]


class Recorder:
    """Stands in for an optimizer and keeps the gradients."""

    def build(self, variables):
        self.gradients = [tf.Variable(tf.zeros(v.shape, v.dtype)) for v in variables]

    def apply(self, gradients, variables):
        for kept, gradient in zip(self.gradients, gradients, strict=True):
            kept.assign(gradient)


def parts_of(x, y, row_weights, sizes):
    stops = np.cumsum(sizes)
    for start, stop in zip(stops - sizes, stops, strict=True):
        yield {"a": x["a"][start:stop]}, y[start:stop], row_weights[start:stop]


def accumulated(model, x, y, row_weights, sizes):
    recorder = Recorder()
    step = AccumulatingStep(model, recorder, batch_size=max(sizes), target_scale=SCALE, clip_norm=0)
    for number, (inputs, targets, weights) in enumerate(parts_of(x, y, row_weights, sizes), start=1):
        step(inputs, targets, last=number == len(sizes), row_weights=weights)
    return [g.numpy() for g in recorder.gradients]


def worst(found, expected):
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-6), ("float64", 1e-12)])
def test_passes_of_weighted_masked_and_regularized_rows_give_the_full_batch_gradient(passes, dtype, most):
    model, batch = make_model(dtype), make_batch()
    assert worst(accumulated(model, *batch, PASSES[passes]), plain_gradients(model, *batch)) <= most


@pytest.mark.parametrize("passes", [2, 3, 5, 7])
def test_the_mean_of_means_and_a_penalty_per_pass_would_differ(passes):
    model, batch = make_model("float64"), make_batch()
    expected = plain_gradients(model, *batch)
    parts = [part for part in parts_of(*batch, PASSES[passes]) if np.isfinite(part[1]).any()]
    means = [plain_gradients(model, *part) for part in parts]
    assert worst([sum(each) / len(means) for each in zip(*means, strict=True)], expected) >= 1e-3
    twice = plain_gradients(model, *batch, l2=passes * L2)
    assert worst(twice, expected) >= 1e-3


class Counter(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs["loss"]))


def make_trainer(batch_size, accum_steps, callbacks=()):
    inputs = {"arr_ctx": keras.Input((4,), name="arr_ctx")}
    x = keras.layers.Rescaling(0.1, offset=-10)(inputs["arr_ctx"])
    for seed, units in enumerate((8, 2)):
        initializer = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(
            units, "tanh" if units == 8 else None, kernel_initializer=initializer, name=f"dense_{seed}"
        )(x)
    x = keras.layers.Rescaling(0.01)(x)
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 200)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01, use_ema=True, ema_momentum=0.9, name="adamw")
    return Trainer(
        keras.Model(inputs, x),
        batch_size=batch_size,
        accum_steps=accum_steps,
        target_scale=0.01,
        clip_norm=0.5,
        optimizer=optimizer,
        callbacks=callbacks,
    ), schedule


def test_schedule_decay_averages_and_callbacks_see_one_step_per_window_over_200_windows(market):
    """23 rows: each epoch has two windows of 8 and a trailing one of 7, whose denominator is its own."""
    finals = []
    for batch_size, accum_steps in ((8, 1), (2, 4)):
        counter = Counter()
        trainer, schedule = make_trainer(batch_size, accum_steps, [counter])
        records = []
        with open_dataset(market.path) as dataset:
            dataset.targets[5] = np.nan
            reader = BatchReader(dataset, RowRange(0, 23), batch_size=batch_size, features=["arr_ctx"])
            for epoch in range(67):
                records += trainer.train(reader, epoch=epoch)
        assert len(records) == len(counter.batches) == int(trainer.optimizer.iterations.numpy()) == 201
        assert [batch for batch, _ in counter.batches] == list(range(201))
        expected = [float(schedule(record.step - 1)) for record in records]
        np.testing.assert_allclose([record.learning_rate for record in records], expected, rtol=1e-6)
        assert {record.valid_targets for record in records} <= {16, 14, 12}
        assert trainer.tracing_count == 1
        finals.append({v.path: v.numpy().astype(np.float64) for v in trainer.variables})
    assert any("average" in path for path in finals[0])
    for path, one in finals[0].items():
        assert np.linalg.norm(one - finals[1][path]) <= 1e-5 * max(np.linalg.norm(one), 1e-6), path


def test_without_its_own_denominator_the_trailing_window_would_differ(market):
    """The negative control: dividing the short window by the full one's rows gives other weights."""
    gradients = []
    with open_dataset(market.path) as dataset:
        batch = dataset.batches(batch_size=7, split="all", features=["arr_ctx"]).batch(0)
    for padding in (0, 1):
        recorder, (trainer, _) = Recorder(), make_trainer(8, 1)
        step = AccumulatingStep(trainer.model, recorder, batch_size=8, target_scale=0.01, clip_norm=0)
        inputs, targets = batch.inputs, batch.targets
        if padding:  # a row of zeros that counts
            inputs = {"arr_ctx": np.concatenate([inputs["arr_ctx"], inputs["arr_ctx"][:1]])}
            targets = np.concatenate([targets, np.zeros_like(targets[:1])])
        step(inputs, targets, last=True)
        gradients.append([g.numpy() for g in recorder.gradients])
    assert worst(*gradients) >= 1e-3


DRAWING = {
    **{name: {"rate": 0.1} for name in ("AlphaDropout", "Dropout", "GaussianDropout")},
    **{f"SpatialDropout{axes}D": {"rate": 0.1} for axes in (1, 2, 3)},
    "GaussianNoise": {"stddev": 0.1},
    **{name: {"units": 2, "dropout": 0.1} for name in ("GRU", "LSTM", "SimpleRNN")},
    **{name: {"units": 2, "recurrent_dropout": 0.1} for name in ("GRUCell", "LSTMCell", "SimpleRNNCell")},
    **{f"ConvLSTM{axes}D": {"filters": 2, "kernel_size": 3, "dropout": 0.1} for axes in (1, 2, 3)},
    "Attention": {"dropout": 0.1},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 2, "dropout": 0.1},
    "GroupQueryAttention": {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1, "dropout": 0.1},
    **{name: {} for name in ("AugMix", "CutMix", "MixUp", "RandAugment", "Solarization")},
    **{f"Random{name}": {} for name in ("ColorJitter", "ElasticTransform", "Erasing", "Flip", "GaussianBlur")},
    **{f"Random{name}": {} for name in ("Grayscale", "Invert", "Perspective")},
    **{f"Random{name}": {"factor": 0.1} for name in ("Brightness", "ColorDegeneration", "Contrast", "Hue", "Rotation")},
    **{f"Random{name}": {"factor": 0.1} for name in ("Saturation", "Sharpness")},
    "RandomPosterization": {"factor": 4},
    "RandomCrop": {"height": 4, "width": 4},
    "RandomShear": {"x_factor": 0.1},
    **{name: {"height_factor": 0.1, "width_factor": 0.1} for name in ("RandomTranslation", "RandomZoom")},
}
"""The layers of Keras that draw at random in training, and arguments with which they do."""

RATES = {"rate", "stddev", "dropout", "recurrent_dropout"}


def model_with(layer):
    """A small model that contains the layer."""
    if "Attention" in type(layer).__name__:
        tokens = keras.Input((3, 4))
        is_plain = isinstance(layer, keras.layers.Attention)
        return keras.Model(tokens, layer([tokens, tokens]) if is_plain else layer(tokens, tokens))
    if type(layer).__name__.endswith("Cell"):
        layer = keras.layers.RNN(layer)
    return keras.Sequential([keras.Sequential([layer, keras.layers.Flatten()]), keras.layers.Dense(2)])


def test_every_layer_of_keras_that_takes_a_seed_is_tried():
    layers = {name: layer for name, layer in vars(keras.layers).items() if inspect.isclass(layer)}
    seeded = {name for name, layer in layers.items() if "seed" in inspect.signature(layer).parameters}
    assert seeded - {"JaxLayer"} <= set(DRAWING)  # JaxLayer needs another backend


@pytest.mark.parametrize("name", DRAWING)
def test_a_layer_that_draws_random_numbers_per_pass_is_refused(name):
    model = model_with(getattr(keras.layers, name)(**DRAWING[name]))
    with pytest.raises(SettingsError, match=r"layer '.*' draws random numbers per pass \(.*\), .*leave it out"):
        refuse_inexact(model)


@pytest.mark.parametrize("name", [name for name, given in DRAWING.items() if RATES & set(given)])
def test_a_layer_whose_rate_is_0_is_accepted(name):
    off = {key: 0.0 if key in RATES else value for key, value in DRAWING[name].items()}
    refuse_inexact(model_with(getattr(keras.layers, name)(**off)))


def test_a_generator_of_any_name_is_found_also_in_a_list():
    class Jitter(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.chances = [keras.random.SeedGenerator(1, name="of_my_own")]

        def call(self, inputs):
            return inputs + keras.random.normal((1,), seed=self.chances[0])

    with pytest.raises(SettingsError, match=r"\(Jitter\)"):
        refuse_inexact(model_with(Jitter()))
