import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from deeptrade.model import build_forecaster, half_width_of
from deeptrade.model.forecaster import _Layers
from deeptrade.planning.sizes import SIZES, count_parameters
from deeptrade.settings import ENCODERS
from deeptrade.sources.schema import Feature, Schema
from deeptrade.sources.statistics import Moments
from tests.support.forecasters import scrambled

ORIGINAL = Schema(
    (
        Feature("arr_5m", (1, 241, 9)),
        Feature("arr_15m", (1, 241, 9)),
        Feature("arr_1h", (1, 241, 9)),
        Feature("arr_google_trend", (1, 24, 1)),
        Feature("arr_santiment", (1, 12)),
        Feature("arr_ta_63", (1, 63)),
        Feature("arr_ctx_11", (1, 11)),
    ),
    10,
)
ODD = Schema((Feature("arr_a/<b>", (1, 6, 2, 3)), Feature("arr_é 'x'", (4,)), Feature("arr_..", (5, 1))), 2)
SCALE = np.array([0.01, 0.03], np.float32)


def rows_of(schema, rows, seed=0):
    generator = np.random.default_rng(seed)
    return {f.name: generator.normal(3, 2, (rows, *f.shape)).astype(np.float32) for f in schema.features}


def statistics_of(schema):
    result = {}
    for feature in schema.features:
        moments = Moments(feature)
        moments.add(rows_of(schema, 20)[feature.name])
        result[feature.name] = moments.result()
    return result


@pytest.fixture(params=ENCODERS)
def make(request):
    """Build a forecaster with each encoder in turn."""

    def build(schema=ODD, size="tiny", scale=SCALE, **options):
        statistics, encoder = statistics_of(schema), request.param
        return build_forecaster(
            schema, model_size=size, encoder=encoder, statistics=statistics, target_scale=scale, **options
        )

    build.encoder = request.param
    return build


def test_the_untrained_model_is_the_zero_forecast(make):
    forecasts = np.asarray(make()(rows_of(ODD, 3)))
    assert forecasts.shape == (3, 2)
    assert forecasts.dtype == np.float32
    assert not forecasts.any()


def test_forecasts_are_in_units_of_the_target_scale(make):
    x = rows_of(ODD, 3)
    large, small = (scrambled(make(scale=scale)) for scale in (SCALE, SCALE / 100))
    np.testing.assert_allclose(np.asarray(large(x)), 100 * np.asarray(small(x)), rtol=1e-5)


def test_a_row_is_forecast_alike_alone_and_in_company(make):
    model, x = scrambled(make()), rows_of(ODD, 5)
    alone = [np.asarray(model({name: values[n : n + 1] for name, values in x.items()})) for n in range(5)]
    np.testing.assert_allclose(np.concatenate(alone), np.asarray(model(x)), rtol=2e-5, atol=1e-7)


def test_a_forecast_does_not_depend_on_the_other_rows_of_its_batch(make):
    model, x, others = scrambled(make()), rows_of(ODD, 5), rows_of(ODD, 5, seed=1)
    for row in range(5):
        mixed = {name: values.copy() for name, values in others.items()}
        for name, values in x.items():
            mixed[name][row] = values[row]
        assert np.asarray(model(mixed))[row].tobytes() == np.asarray(model(x))[row].tobytes()


@pytest.mark.parametrize("shapes", [[(6, 6), (6, 2, 3)], [(6, 2, 3), (6, 6)]])
def test_sequences_of_equal_channels_may_be_written_in_different_shapes(make, shapes):
    schema = Schema(tuple(Feature(f"arr_{n}", (1, *shape)) for n, shape in enumerate(shapes)), 2)
    assert np.isfinite(np.asarray(scrambled(make(schema))(rows_of(schema, 3)))).all()


def test_every_feature_and_every_step_counts(make):
    model, x = scrambled(make()), rows_of(ODD, 1)
    before = np.asarray(model(x))
    for feature in ODD.features:
        steps = range(feature.shape[0]) if feature.is_sequence else [slice(None)]
        for step in steps:
            changed = {name: values.copy() for name, values in x.items()}
            changed[feature.name][:, step] += 1
            assert (np.asarray(model(changed)) != before).any(), (feature.name, step)


def test_numbers_that_are_not_finite_do_not_reach_the_forecast(make):
    model, x = scrambled(make()), rows_of(ODD, 2)
    for values in x.values():
        values[0].flat[0], values[1].flat[1] = np.nan, np.inf
    assert np.isfinite(np.asarray(model(x))).all()


def test_weights_are_a_function_of_the_seed_alone(make):
    keras.utils.set_random_seed(1)
    first = make(seed=5).get_weights()
    keras.utils.set_random_seed(2)
    again, other = make(seed=5).get_weights(), make(seed=6).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_two_weight_matrices_of_one_shape_start_alike(make):
    stacks = [np.asarray(one) for one in make().weights if len(one.shape) > 1 and "bias" not in one.path]
    stacks = [stack for stack in stacks if np.ptp(stack)]  # not the gains, which are all 1
    kernels = [kernel for stack in stacks for kernel in (stack if stack.ndim > 2 else [stack])]
    alike = [(a.shape, n) for n, a in enumerate(kernels) for b in kernels[:n] if np.array_equal(a, b)]
    assert not alike


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
@pytest.mark.parametrize("schema", [ORIGINAL, ODD], ids=["original", "odd"])
def test_the_arithmetic_counts_the_parameters_that_keras_counts(make, schema, size):
    model = make(schema, size, np.ones(schema.horizons, np.float32))
    assert count_parameters(schema, size, make.encoder) == sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_sizes_grow(encoder):
    counts = [count_parameters(ORIGINAL, size, encoder) for size in SIZES]
    assert counts == sorted(counts)
    assert counts[-1] > 100_000_000


def test_counting_parameters_does_not_import_tensorflow():
    code = "import sys, deeptrade.planning.sizes; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_the_model_s_own_and_forecasts_stay_float32(make, precision):
    before = keras.config.dtype_policy().name
    mixed, plain, x = scrambled(make(precision=precision)), scrambled(make()), rows_of(ODD, 3)
    assert keras.config.dtype_policy().name == before == "float32"
    assert mixed.network.get_layer("trunk").compute_dtype == precision.removeprefix("mixed_")
    assert all(variable.dtype == "float32" for variable in mixed.variables)
    forecasts = np.asarray(mixed(x))
    assert forecasts.dtype == np.float32
    np.testing.assert_allclose(forecasts, np.asarray(plain(x)), atol=0.03 * np.abs(np.asarray(plain(x))).max())


def test_a_saved_model_forecasts_the_same_in_a_new_process(make, tmp_path):
    model, x = scrambled(make()), rows_of(ODD, 3)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "rows.npz", *x.values())
    code = """
import sys, numpy as np, keras, deeptrade.model
model = keras.models.load_model(sys.argv[1] + "/model.keras")
arrays = np.load(sys.argv[1] + "/rows.npz")
np.save(sys.argv[1] + "/forecasts.npy", model(dict(zip(model.feature_names, arrays.values()))))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "forecasts.npy"), np.asarray(model(x)))


def test_a_saved_model_names_no_code_and_no_path(make, tmp_path):
    make().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json").decode()
    assert "Lambda" not in config
    assert str(tmp_path) not in config


def test_keras_own_fit_takes_the_model(make):
    model, x = make(), rows_of(ODD, 8)
    model.compile("adam", "mse")
    y = np.random.default_rng(0).normal(0, 0.01, (8, 2)).astype(np.float32)
    history = model.fit(x, y, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_the_seeds_of_the_initial_weights_are_these_for_ever():
    # NumPy's generators promise no such thing from one version to the next.
    layers = _Layers("float32", 7)
    assert [layers.next_seed() for _ in range(3)] == [299504144, 1124244165, 495310759]


def test_a_model_saved_by_an_earlier_version_loads_and_forecasts_the_same():
    # Saved when each feature had layers of its own (commit cb3b722), with weights that are multiples of 1/16.
    model = keras.models.load_model(Path(__file__).parent / "saved" / "forecaster_of_network_1.keras")
    assert half_width_of(model).tolist() == [np.float32(0.02), np.float32(0.04)]
    numbers = {f.name: np.arange(3 * f.size).reshape(3, *f.shape) % 7 for f in ODD.features}
    forecasts = np.asarray(model({name: values.astype(np.float32) for name, values in numbers.items()}))
    before = [
        [0.0006431512883864343, -0.000531363592017442],
        [0.0006404006853699684, -0.0005190777010284364],
        [0.0006415981915779412, -0.0005336407339200377],
    ]
    np.testing.assert_allclose(forecasts, before, rtol=2e-5)
