import subprocess
import sys
from dataclasses import replace

import pytest

from deeptrade.errors import DoesNotFitError, SettingsError
from deeptrade.memory import MemoryLimits
from deeptrade.planning.memory_model import (
    BASELINE_BYTES,
    PARTS,
    activation_bytes,
    alternatives,
    check_fits,
    predict_peak,
    training_room,
)
from deeptrade.planning.sizes import count_parameters
from deeptrade.settings import MODEL_SIZES, FitSettings
from deeptrade.sources.schema import Feature, Schema

GIB = 1 << 30
ORIGINAL = Schema(
    (
        *(Feature(f"arr_{name}", (1, 241, 9)) for name in ("5m", "15m", "1h")),
        Feature("arr_google_trend", (1, 24, 1)),
        Feature("arr_santiment", (1, 12)),
        Feature("arr_ta_63", (1, 63)),
        Feature("arr_ctx_11", (1, 11)),
    ),
    horizons=10,
)


def test_every_term_belongs_to_one_part():
    terms = predict_peak(ORIGINAL, FitSettings())
    assert sorted(term for part in PARTS.values() for term in part) == sorted(terms)


def test_the_terms_that_follow_from_shapes_are_exact():
    settings = FitSettings(batch_size=4, cache_batches=3, prefetch=2)
    terms = predict_peak(ORIGINAL, settings)
    weights = 4 * count_parameters(ORIGINAL, "small", settings.encoder)
    assert (terms["weights"], terms["accumulators"]) == (weights, 2 * weights)
    assert (terms["gradients"], terms["optimizer slots"], terms["averages"]) == (2 * weights, 2 * weights, weights)
    batch = 4 * 4 * (3 * 241 * 9 + 24 + 12 + 63 + 11 + 10)
    assert (terms["cache"], terms["prefetch"]) == (3 * batch, 2 * batch)
    assert terms["activations"] == 4 * activation_bytes(ORIGINAL, settings)
    assert terms["baseline"] == BASELINE_BYTES
    assert all(isinstance(value, int) for value in terms.values())


@pytest.mark.parametrize(
    "more",
    [{"batch_size": 8}, {"model_size": "medium"}, {"cache_batches": 9}, {"prefetch": 9}, {"no_lazy_loading": True}],
)
def test_the_peak_grows_with_what_holds_memory(more):
    def peak(settings):
        return sum(predict_peak(ORIGINAL, settings, rows=1000).values())

    assert peak(FitSettings(**more)) > peak(FitSettings())


def test_alternatives_save_what_the_prediction_says_and_the_largest_comes_first():
    settings = FitSettings(batch_size=8, cache_batches=3, prefetch=2, no_lazy_loading=True)
    peak = sum(predict_peak(ORIGINAL, settings, rows=1000).values())
    found = alternatives(ORIGINAL, settings, rows=1000)
    changed = [
        {"no_lazy_loading": False},
        {"batch_size": 4, "grad_accum": True, "accum_steps": 2},
        {"model_size": "tiny"},
        {"cache_batches": 0},
        {"prefetch": 0},
    ]
    assert sorted(map(str, (one.change for one in found))) == sorted(map(str, changed))
    assert [one.saved_bytes for one in found] == sorted((one.saved_bytes for one in found), reverse=True)
    for one in found:
        other = replace(settings, **one.change)
        assert other.effective_batch == settings.effective_batch
        assert one.saved_bytes == peak - sum(predict_peak(ORIGINAL, other, rows=1000).values())


def test_the_least_settings_have_no_alternative():
    assert alternatives(ORIGINAL, FitSettings(model_size="tiny", batch_size=1, prefetch=0)) == []


def test_sizes_come_in_order_of_their_peaks():
    peaks = [sum(predict_peak(ORIGINAL, FitSettings(model_size=size)).values()) for size in MODEL_SIZES]
    assert peaks == sorted(peaks)


def test_features_left_out_are_not_counted():
    settings = FitSettings(features="arr_5m")
    one = predict_peak(ORIGINAL, settings)
    assert one["activations"] == 4 * activation_bytes(ORIGINAL.select(["arr_5m"]), settings)
    with pytest.raises(SettingsError, match="arr_5m"):
        predict_peak(ORIGINAL, FitSettings(features="arr_5"))


def test_the_room_is_what_is_left_once_this_process_is_gone():
    assert training_room(MemoryLimits.of(2 * GIB)) == pytest.approx(2 * GIB, abs=4 << 20)
    # A limit beyond the machine does not bind; what is free moves while other processes run.
    assert training_room(MemoryLimits()) == pytest.approx(training_room(MemoryLimits.of(1 << 60)), abs=GIB)


def test_the_baseline_is_what_a_process_with_tensorflow_holds():
    code = (
        "import deeptrade.data.batches, tensorflow as tf\n"
        "from deeptrade.memory import read_memory\n"
        "tf.ones((2, 2)) @ tf.ones((2, 2)); print(read_memory().anon_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(BASELINE_BYTES, rel=0.25)


def test_what_cannot_fit_is_refused_with_a_batch_that_would():
    settings = FitSettings(model_size="medium", encoder="recurrent", batch_size=512)
    with pytest.raises(
        DoesNotFitError, match=r"batch_size=512 with model_size='medium' needs .* GiB, 2\.0 GiB may be"
    ) as e:
        check_fits(ORIGINAL, settings, room_bytes=2 * GIB)
    batch_size = int(str(e.value).split("--batch_size ")[1].split()[0])
    check_fits(ORIGINAL, replace(settings, batch_size=batch_size), room_bytes=2 * GIB)
    with pytest.raises(DoesNotFitError, match="use a smaller model_size"):
        check_fits(ORIGINAL, FitSettings(model_size="massive", batch_size=2), room_bytes=GIB // 2)
