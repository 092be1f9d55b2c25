import gc
import json
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest

from deeptrade.making.synthetic import synthesize
from deeptrade.memory import LeakWatch
from deeptrade.memory.leaks import LEAK_WARM_UP_STEPS, SAMPLES, find_growth, theil_sen
from tests.support.markets import make_market

MB = 1_000_000


def noise(seed, count=400):
    return np.random.default_rng(seed).normal(0, 0.3 * MB, count)


def test_the_slope_is_the_median_over_all_pairs_and_its_interval_holds_the_truth():
    steps = np.arange(60.0)
    misses = 0
    for seed in range(100):
        sizes = 2000 * steps + noise(seed, 60) / 30
        slope = theil_sen(steps, sizes)
        pairs = [(sizes[b] - sizes[a]) / (b - a) for a, b in combinations(range(60), 2)]
        assert slope.bytes_per_step == pytest.approx(np.median(pairs))
        misses += not slope.low <= 2000 <= slope.high
    assert misses <= 10  # 5 are expected


def test_the_interval_of_near_pairs_holds_the_truth_and_a_jump_moves_their_slope_less():
    steps, reach = np.arange(400.0), 100
    misses = 0
    for seed in range(100):
        sizes = 2000 * steps + noise(seed)
        slope = theil_sen(steps, sizes, reach=reach)
        pairs = [(sizes[b] - sizes[a]) / (b - a) for a in range(400) for b in range(a + 1, min(400, a + reach + 1))]
        assert slope.bytes_per_step == pytest.approx(np.median(pairs))
        misses += not slope.low <= 2000 <= slope.high
    assert misses <= 10  # 5 are expected
    jump = 8 * MB * (steps > 150)
    near, far = (theil_sen(steps, noise(0) + jump, reach=reach).bytes_per_step for reach in (reach, None))
    assert near < far / 2


def test_pairs_within_the_whole_length_are_all_pairs():
    steps, sizes = np.arange(60.0), noise(0, 60)
    assert theil_sen(steps, sizes, reach=59) == theil_sen(steps, sizes) == theil_sen(steps, sizes, reach=1000)
    n, slopes = 60, np.sort([(sizes[b] - sizes[a]) / (b - a) for a, b in combinations(range(60), 2)])
    half = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2  # Kendall's variance
    assert theil_sen(steps, sizes).low == slopes[int(len(slopes) / 2 - half)]


def test_one_large_step_is_not_growth_and_a_slow_rise_is():
    steps = range(100)
    assert find_growth(list(zip(steps, np.repeat([0, 50], 50) * MB + noise(0, 100), strict=True))) is None
    assert find_growth(list(zip(steps, np.arange(100) * 0.3 * MB + noise(0, 100), strict=True))) is not None


@pytest.fixture
def few_objects():
    """Freeze what other tests left, as a training run does: counting those objects takes seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def watched(sizes, *, restart_at=None):
    """A watch that has seen these sizes, one a step; no freed memory is released here."""
    now = [0.0]
    leaks = LeakWatch(look=lambda: int(now[0]))
    for step, size in enumerate(sizes, start=1):
        now[0] = size
        leaks.observe(step)
        if step == restart_at:
            leaks.restart()
    leaks.close()
    return leaks


def watch(sizes):
    """The leaks that a watch over these sizes reports."""
    return watched(sizes).leaks


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("seed", range(5))
def test_noise_steps_and_growth_that_ends_raise_no_alarm(seed):
    base = 500 * MB + noise(seed, 2000)
    at = np.arange(2000)
    for shape in (0, 80 * MB * (at > 700), 30 * MB * np.minimum(at, 60) / 60, 5 * MB * (at % 50 == 0)):
        assert watch(base + shape) == []


@pytest.mark.usefixtures("few_objects")
def test_what_came_before_a_restart_is_no_growth_and_a_leak_after_it_is_found():
    steps = np.arange(1000)
    with_graph = 500 * MB + noise(0, 1000) + 32 * MB * (steps >= 200)
    plain, restarted = watched(with_graph[:500]), watched(with_graph[:500], restart_at=200)
    assert abs(restarted.slope.bytes_per_step) < 1000 < plain.slope.bytes_per_step
    assert restarted.leaks == []
    assert len(watched(with_graph + 0.1 * MB * np.maximum(0, steps - 200), restart_at=200).leaks) == 1


def test_a_restart_near_the_end_leaves_the_slope_of_the_samples_before_it():
    leaks = watched(500 * MB + 2000 * np.arange(305), restart_at=300)
    assert leaks.slope.bytes_per_step == pytest.approx(2000)


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("seed", range(5))
def test_slow_growth_is_found_in_time(seed):
    found = watch(500 * MB + 0.03 * MB * np.arange(2000) + noise(seed, 2000))
    assert len(found) == 1
    assert 550 < found[0].step < 1300


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("seed", range(5))
def test_a_heap_that_settles_raises_no_alarm(seed):
    at = np.arange(2000)
    assert (
        watch(320 * MB + 200 * MB * (1 - np.exp(-at / 25)) + 13 * MB * np.minimum(at, 400) / 400 + noise(seed, 2000))
        == []
    )


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("seed", range(5))
def test_steady_growth_is_found_within_two_hundred_steps_and_reported_once(seed):
    found = watch(500 * MB + 0.5 * MB * np.arange(600) + noise(seed, 600))
    assert len(found) == 1
    assert LEAK_WARM_UP_STEPS + SAMPLES // 2 < found[0].step <= 200
    assert found[0].low <= 0.5 * MB <= found[0].high
    assert found[0].holder == "native"  # none of it is held by Python objects


TRAINING = """
import ctypes, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, tensorflow as tf
from deeptrade import open_store
from deeptrade.data.batches import BatchReader
from deeptrade.memory import Collector, LeakWatch
from deeptrade.store.row_range import RowRange
from deeptrade.data.opening import open_dataset
from deeptrade.training.loop import Trainer

kind, held, libc = sys.argv[2], [], ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

@tf.function
def scale(x, factor):
    for _ in range(10):
        x = x * factor + 1.0
    return x

def leak(step):
    if kind == "python":
        held.append(bytearray(1_000_000))
    if kind == "native":
        libc.memset(libc.malloc(500_000), 1, 500_000)
    if kind == "retracing":
        scale(tf.ones(4), float(step))

inputs = {"arr_ctx": keras.Input((4,), name="arr_ctx")}
model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Rescaling(0.01)(inputs["arr_ctx"])))
watch, collector = LeakWatch(), Collector()
with open_dataset(sys.argv[1]) as data:
    trainer = Trainer(model, batch_size=1, target_scale=0.01)
    reader = BatchReader(data, RowRange(0, 60), batch_size=1, features=["arr_ctx"])
    for epoch in range(int(sys.argv[3]) // 60 + 1):
        for record in trainer.train(reader, epoch=epoch):
            leak(record.step)
            collector.freeze()
            collector.collect_small()
            watch.observe(record.step)
            if record.step == int(sys.argv[3]):
                break
watch.close()
print(json.dumps({
    "leaks": [vars(leak) for leak in watch.leaks], "slope": vars(watch.slope), "traced": trainer.tracing_count
}))
"""


@pytest.fixture(scope="module")
def leaky_runs(tmp_path_factory):
    """What a watch reports on four runs, in processes of their own at the same time: most of the time is startup."""
    market = make_market(tmp_path_factory.mktemp("leaks") / "market.csv")
    steps = {"python": 200, "native": 200, "retracing": 200, "none": 2000}
    children = {
        kind: subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(market.path), kind, str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind, count in steps.items()
    }
    found = {}
    for kind, child in children.items():
        out, problem = child.communicate()
        assert child.returncode == 0, problem[-2000:]
        found[kind] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("kind", "bytes_per_step", "says"),
    [("python", MB, "<string>:"), ("native", 0.5 * MB, "outside of Python"), ("retracing", None, "is retraced for")],
)
def test_a_leak_in_training_is_found_within_two_hundred_steps_and_named(leaky_runs, kind, bytes_per_step, says):
    found = leaky_runs[kind]["leaks"]
    assert len(found) == 1
    assert found[0]["holder"] == kind
    assert says in found[0]["detail"]
    if bytes_per_step:
        assert found[0]["bytes_per_step"] == pytest.approx(bytes_per_step, rel=0.2)


def test_a_clean_run_of_two_thousand_steps_grows_by_less_than_5_kilobytes_a_step(leaky_runs):
    result = leaky_runs["none"]
    assert result["leaks"] == []
    assert abs(result["slope"]["bytes_per_step"]) <= 5000
    assert result["traced"] == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_steps_of_fit_on_a_synthetic_market_grow_by_less_than_5_kilobytes_a_step(tmp_path):
    synthesize(tmp_path / "market.csv", rows=1500)
    options = {"csv": tmp_path / "market.csv", "out": tmp_path / "run", "model_size": "tiny", "max_steps": 2000}
    command = [sys.executable, "-m", "deeptrade", "fit", "--epochs=8", "--skip_rl"]
    subprocess.run([*command, *(f"--{k}={v}" for k, v in options.items())], check=True, capture_output=True)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 2000
    assert result["memory"]["leaks"] == []
    assert result["memory"]["slope"]["bytes_per_step"] <= 5000
    assert result["memory"]["tracing_count"] == 1
