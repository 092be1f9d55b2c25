import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import DataError, SettingsError
from deeptrade.making.klines import CHANNELS, COLUMNS, build

SHARED = Path(__file__).parents[3] / "shared" / "data"
SMALL = {"timeframes": ("5min", "15min"), "step": "10min", "horizons": 3, "window": 20}
START = 1_690_848_000_000
BARS = 5 * 260 * 3


def make_klines(bars=BARS, seed=0):
    """One-minute klines as a table of the exchange's columns, numbers as text."""
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(generator.normal(0, 1e-3, bars).cumsum())
    opened = np.concatenate([[100], close[:-1]])
    high = np.maximum(opened, close) * (1 + generator.random(bars) * 1e-3)
    low = np.minimum(opened, close) * (1 - generator.random(bars) * 1e-3)
    volume = np.round(generator.lognormal(3, 1, bars), 2)
    taker = np.round(volume * generator.random(bars), 2)
    time = START + 60_000 * np.arange(bars)
    zero = np.zeros(bars, int)
    columns = [time, opened, high, low, close, volume, time + 59_999, volume * close, (volume * 3).astype(int)]
    return pd.DataFrame(dict(zip(COLUMNS, [*columns, taker, taker * close, zero], strict=True)))


@pytest.fixture(scope="module")
def klines():
    return make_klines()


def build_from(tmp_path, table, *, name="k.csv", header=True, **options):
    path = tmp_path / name
    table.to_csv(path, index=False, header=header)
    result = build([path], out=tmp_path / "rows.csv", **(SMALL | options))
    return result, (tmp_path / "rows.csv").read_bytes()


def read(tmp_path):
    return pd.read_csv(tmp_path / "rows.csv")


def plain_bars(table, rule):
    """Resampled by pandas: whole bars only."""
    indexed = table.set_index(pd.to_datetime(table["open_time"], unit="ms", utc=True))
    how = {"open": "first", "high": "max", "low": "min", "close": "last"} | dict.fromkeys(CHANNELS[4:], "sum")
    bars = indexed.resample(rule).agg(how)[list(CHANNELS)]
    counts = indexed["open"].resample(rule).count()
    return bars[counts == pd.Timedelta(rule) // pd.Timedelta("1min")]


def test_windows_price_and_targets_equal_plain_pandas(tmp_path, klines):
    result, _ = build_from(tmp_path, klines)
    rows = read(tmp_path)
    assert list(rows) == ["timestamp", "arr_5m", "arr_15m", "arr_ta_42", "arr_ctx_11", "price", "y_1", "y_2", "y_3"]
    closes = klines.set_index(pd.to_datetime(klines["open_time"] + 60_000, unit="ms", utc=True))["close"]
    frames = {"arr_5m": plain_bars(klines, "5min"), "arr_15m": plain_bars(klines, "15min")}
    assert len(rows) == result.rows > 5
    for _, row in rows.iloc[:: len(rows) // 5].iterrows():
        time = pd.Timestamp(row["timestamp"])
        assert row["price"] == pytest.approx(closes[time], rel=1e-12)
        for name, bars in frames.items():
            known = bars[bars.index + pd.Timedelta(name[4:].replace("m", "min")) <= time]
            window = np.array(json.loads(row[name]))
            assert window.shape == (1, 20, 9)
            np.testing.assert_allclose(window[0], known.iloc[-20:].to_numpy(), rtol=1e-9)
        for step in (1, 2, 3):
            ahead = closes.get(time + step * pd.Timedelta("10min"), np.nan)
            np.testing.assert_allclose(row[f"y_{step}"], ahead / row["price"] - 1, atol=1e-12)


def test_a_row_is_the_same_when_the_future_is_not_there(tmp_path, klines):
    _, whole = build_from(tmp_path, klines)
    cut = klines.iloc[: BARS - 65]
    _, early = build_from(tmp_path, cut)
    strip = [line.rsplit(b",", 3)[0] for line in whole.splitlines()]
    kept = [line.rsplit(b",", 3)[0] for line in early.splitlines()]
    assert 2 < len(kept) < len(strip)
    assert kept == strip[: len(kept)]


def test_a_row_is_the_same_when_the_far_past_is_not_there(tmp_path):
    klines = make_klines(2 * BARS)
    _, whole = build_from(tmp_path, klines)
    _, late = build_from(tmp_path, klines.iloc[60:])
    longest_memory = 223 * 15 // 10  # steps until the slowest indicator is full
    assert len(late.splitlines()) > longest_memory
    assert set(late.splitlines()[1 + longest_memory :]) <= set(whole.splitlines())


def test_nothing_crosses_a_missing_bar(tmp_path):
    klines = make_klines(2 * BARS)
    gap = BARS + 7
    result, _ = build_from(tmp_path, klines.drop(index=gap))
    rows = read(tmp_path)
    assert result.gaps == 1
    times = (pd.to_datetime(rows["timestamp"]) - pd.Timestamp(0, tz="UTC")) // pd.Timedelta("1min") - START // 60_000
    past = 72 * 10 + 1
    assert not times.between(gap, gap + past).any()
    before = rows[times < gap]
    late = times[times < gap].iloc[-1]
    missing = before.iloc[-1][["y_1", "y_2", "y_3"]].isna().to_numpy()
    assert missing.tolist() == [late + 10 * step > gap for step in (1, 2, 3)]
    assert (times > gap + past).any()


def test_cells_are_what_json_writes(tmp_path, klines):
    build_from(tmp_path, klines)
    row = read(tmp_path).iloc[0]
    for name in ("arr_5m", "arr_ta_42", "arr_ctx_11"):
        assert json.dumps(json.loads(row[name])) == row[name]


def forms(klines):
    seconds = klines.assign(open_time=klines["open_time"] / 1000)
    micro = klines.assign(open_time=klines["open_time"] * 1000)
    iso = klines.assign(open_time=pd.to_datetime(klines["open_time"], unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S"))
    return {
        "no header": (klines, False),
        "float seconds": (seconds, False),
        "microseconds": (micro, False),
        "iso time": (iso, True),
        "unsorted": (klines.sample(frac=1, random_state=0), True),
        "repeated": (pd.concat([klines, klines.iloc[100:120]]), True),
        "named timestamp": (klines.rename(columns={"open_time": "timestamp"}), True),
    }


@pytest.mark.parametrize(
    "form", ["no header", "float seconds", "microseconds", "iso time", "unsorted", "repeated", "named timestamp"]
)
def test_all_forms_of_a_file_give_the_same_rows(tmp_path, klines, form):
    _, expected = build_from(tmp_path, klines)
    table, header = forms(klines)[form]
    result, found = build_from(tmp_path, table, header=header)
    assert found == expected
    assert result.repeated == (20 if form == "repeated" else 0)


def test_several_gzip_files_are_one_series(tmp_path, klines):
    _, expected = build_from(tmp_path, klines)
    for number, part in enumerate(np.array_split(np.arange(BARS), 3)):
        with gzip.open(tmp_path / f"month-{number}.csv.gz", "wt") as file:
            klines.iloc[part].to_csv(file, index=False)
    build([str(tmp_path / "month-*.csv.gz")], out=tmp_path / "glob.csv", **SMALL)
    assert (tmp_path / "glob.csv").read_bytes() == expected


def test_six_columns_give_windows_of_five_channels_and_no_taker_share(tmp_path, klines):
    build_from(tmp_path, klines.iloc[:, :6], header=False)
    rows = read(tmp_path)
    assert list(rows)[1:5] == ["arr_5m", "arr_15m", "arr_ta_42", "arr_ctx_9"]
    assert np.array(json.loads(rows["arr_5m"][0])).shape == (1, 20, 5)


def test_flat_prices_leave_undefined_numbers_undefined(tmp_path, klines):
    flat = klines.assign(open=1.5, high=1.5, low=1.5, close=1.5, volume=0.0, taker_buy_volume=0.0)
    build_from(tmp_path, flat)
    assert "NaN" in read(tmp_path)["arr_ctx_11"][0]


def test_what_is_built_can_be_trained_on(tmp_path, klines):
    build_from(tmp_path, klines)
    with open_dataset(tmp_path / "rows.csv") as data:
        assert not data.ledger
        assert [feature.shape for feature in data.schema.features] == [(20, 9), (20, 9), (42,), (11,)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
        (bytes(range(256)), "not a text file; give klines"),
        (b"open_time,open,high,low,close,volume\n", "header but no rows"),
        (b"open_time,open,high,low,close\n1,1,1,1,1\n", "columns; expected|no column 'volume'"),
        (b"1690848000000,1,1,1,x,1\n1690848060000,1,1,1,1,1\n", "close='x' is not a number"),
        (b"now,open,high,low,close,volume\n1,1,1,1,1,1\n", "no column 'open_time'"),
        (b"1690848000000,1,2,1,1,1\n1690848000000,1,2,1,2,1\n", "two different bars open at 2023-08-01"),
    ],
)
def test_other_files_are_one_clear_line(tmp_path, content, words):
    path = tmp_path / ("k.csv.gz" if content[:2] == b"\x1f\x8b" else "k.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        build([path], out=tmp_path / "rows.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeframes": ("90s",)}, "timeframe 90s is not a multiple of the source's 1m bars"),
        ({"timeframes": ("7min",)}, "does not divide a day"),
        ({"step": "soon"}, "duration 'soon' is not valid; use a form like 5min"),
        ({"step": "1500ms"}, "step='1500ms' is no number of whole seconds; use such as 20min"),
        ({"timeframes": []}, r"timeframes=\[\] names none; give at least one, such as 5min"),
        ({"timeframes": ("60500ms",)}, "timeframe 60500ms is not a multiple of the source's 1m bars"),
        ({"window": 0}, "window=0"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(tmp_path, klines, options, words):
    with pytest.raises(SettingsError, match=words):
        build_from(tmp_path, klines, **options)


def test_a_path_may_begin_with_a_tilde(tmp_path, klines, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    klines.to_csv(tmp_path / "k.csv", index=False)
    for given in ("~/k.csv", "~/k*.csv"):
        build([given], out="~/rows.csv", **SMALL)
        assert (tmp_path / "rows.csv").stat().st_size > 0
        assert (tmp_path / "rows.ledger.csv").exists()
        (tmp_path / "rows.csv").unlink()
    with pytest.raises(DataError, match="is one of the input files"):
        build(["~/k.csv"], out="~/k.csv", **SMALL)


def test_too_few_bars_are_one_clear_line(tmp_path, klines):
    with pytest.raises(DataError, match=r"700 bars of 1m are too few for a row: .* bars without a gap are needed"):
        build_from(tmp_path, klines.iloc[:700])
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of real market data is absent")
def test_three_real_months_give_about_5900_rows(tmp_path):
    result = build([str(SHARED / "binance_um_NEARUSDT-1m-2023-*.csv.gz")], out=tmp_path / "near.csv")
    assert result.bars == 132_480
    assert result.gaps == result.repeated == 0
    assert 5_800 < result.rows < 5_950
    with open_dataset(tmp_path / "near.csv", max_rows=300) as data:
        assert not data.ledger
        np.testing.assert_allclose(np.diff(data.timestamps), 1200e9)
