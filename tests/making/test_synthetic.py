import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import SettingsError
from deeptrade.making.synthetic import oracle_r2, synthesize

ROWS = 120


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("synth") / "market.csv"
    synthesize(path, rows=ROWS, seed=3)
    return path


def test_the_file_is_in_the_original_layout(path):
    header = "timestamp,arr_5m,arr_15m,arr_1h,arr_google_trend,arr_santiment,arr_ta_63,arr_ctx_11"
    assert path.read_text().split("\n", 1)[0] == header + "".join(f",y_{step}" for step in range(1, 11))
    with open_dataset(path) as data:
        shapes = [feature.cell_shape for feature in data.schema.features]
        assert shapes == [(1, 241, 9)] * 3 + [(1, 24, 1), (1, 12), (1, 63), (1, 11)]
        assert data.rows == ROWS
        assert not data.ledger
        assert not any(data.nonfinite.values())
        assert set(np.diff(data.timestamps)) == {1200 * 10**9}
    assert 95_000 < path.stat().st_size / ROWS < 115_000


def test_numbers_are_full_doubles_as_json_writes_them(path):
    table = pd.read_csv(path, nrows=3)
    for name in [name for name in table if name.startswith("arr_")]:
        for cell in table[name]:
            assert json.dumps(json.loads(cell)) == cell
    digits = [len(number.replace(".", "")) for number in table["arr_5m"][0].strip("[]").split("], [")[0].split(", ")]
    assert max(digits) >= 16


def test_same_seed_same_bytes_other_seed_other_bytes(path, tmp_path):
    def digest(**options):
        synthesize(tmp_path / "x.csv", rows=5, **options)
        return hashlib.sha256((tmp_path / "x.csv").read_bytes()).hexdigest()

    assert digest(seed=1) == digest(seed=1)
    assert len({digest(seed=1), digest(seed=2), digest(seed=1, signal=0)}) == 3


def test_a_shorter_file_is_the_head_of_a_longer_one(path, tmp_path):
    synthesize(tmp_path / "short.csv", rows=40, seed=3)
    assert path.read_bytes().startswith((tmp_path / "short.csv").read_bytes())


def test_windows_follow_each_other_and_end_at_the_row(path):
    with open_dataset(path) as data:
        window = data.read(np.arange(3))["arr_5m"]
    np.testing.assert_array_equal(window[0, 4:], window[1, :-4])
    np.testing.assert_array_equal(window[:, 1:, 0], window[:, :-1, 3])


def test_targets_are_the_returns_of_later_closes(path):
    table = pd.read_csv(path)
    close = table["arr_5m"].map(lambda cell: json.loads(cell)[0][-1][3])
    for step in (1, 10):
        np.testing.assert_allclose((close.shift(-step) / close - 1)[:-10], table[f"y_{step}"][:-10], atol=1e-12)


def test_the_best_forecast_explains_at_most_five_percent():
    found = oracle_r2(1.0)
    assert len(found) == 10
    assert 0.02 < min(found) < max(found) <= 0.05
    assert oracle_r2(0.0) == (0.0,) * 10


@pytest.mark.slow
@pytest.mark.parametrize("signal", [0.0, 1.0])
def test_the_share_explained_is_what_the_formula_says(tmp_path, signal):
    synthesize(tmp_path / "long.csv", rows=6000, seed=1, signal=signal)
    with open_dataset(tmp_path / "long.csv") as data:
        imbalance = data.read(np.arange(data.rows), ["arr_santiment"])["arr_santiment"][:, 0]
        found = [np.corrcoef(imbalance, data.targets[:, step])[0, 1] ** 2 for step in range(10)]
    np.testing.assert_allclose(found, oracle_r2(signal), atol=0.02)


def test_volatility_clusters(tmp_path):
    synthesize(tmp_path / "m.csv", rows=300, seed=0)
    with open_dataset(tmp_path / "m.csv") as data:
        close = data.read(np.arange(0, 300, 12), ["arr_1h"])["arr_1h"][:, :, 3].astype(float)
    size = np.abs(np.diff(np.log(close), axis=1))[0]
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"rows": 0}, "rows=0"), ({"rows": 1, "signal": 2.0}, "signal=2"), ({"rows": 1, "seed": -1}, "seed=-1")],
)
def test_other_values_are_refused(tmp_path, options, words):
    with pytest.raises(SettingsError, match=words):
        synthesize(tmp_path / "x.csv", **options)
    assert not (tmp_path / "x.csv").exists()


def test_memory_does_not_grow_with_the_rows(tmp_path):
    code = (
        "import sys; from deeptrade.memory import MemoryMonitor; from deeptrade.making.synthetic import synthesize\n"
        "with MemoryMonitor(interval_seconds=0.02) as monitor:\n"
        "    synthesize(sys.argv[1], rows=int(sys.argv[2]))\n"
        "print(monitor.peak_anon_bytes)"
    )
    peaks = []
    for rows in ("100", "3000"):
        command = [sys.executable, "-c", code, str(tmp_path / "m.csv"), rows]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < peaks[0] + (40 << 20)
