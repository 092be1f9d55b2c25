import csv
import json

import numpy as np
import pandas as pd
import pytest

from deeptrade import compile_store, open_store
from deeptrade.errors import DataError, SettingsError
from deeptrade.making.klines import build
from deeptrade.making.market_names import symbol_of
from tests.support.kline_origins import archive, lines, make_bars

LAYOUT = {"timeframes": ("5min", "15min"), "step": "15min", "horizons": 3, "window": 20}


def write(folder, name, bars, **options):
    (folder / name).write_text(archive(bars, **options))
    return folder / name


def build_rows(folder, paths, **options):
    build(paths, out=folder / "rows.csv", **(LAYOUT | options))
    return (folder / "rows.csv").read_text().splitlines()


def without_market(line):
    time, _, rest = line.split(",", 2)
    return f"{time},{rest}"


@pytest.mark.parametrize(
    ("file", "symbol"),
    [
        ("BTCUSDT-15m-2024-01.zip", "BTCUSDT"),
        ("binance_um_NEARUSDT-1m-2023-08.csv.gz", "NEARUSDT"),
        ("binance_spot_BTCUSDT-15m_20230102_20260430.csv.gz", "BTCUSDT"),
        ("BTC_USDT-5m.feather", "BTC_USDT"),
        ("BTC_USDT_USDT-1h-futures.feather", "BTC_USDT_USDT"),
        ("BTC-USD-PERP.parquet", "BTC-USD-PERP"),
        ("BTCUSD_240628-1h-2024-05.csv", "BTCUSD_240628"),
        ("1000PEPEUSDT-1m.csv", "1000PEPEUSDT"),
        ("Binance_BTCUSDT_1h.csv", "BTCUSDT"),
        ("EURUSD60.csv", "EURUSD"),
        ("EURUSDM5.CSV", "EURUSD"),
        ("EURUSD_M5_202401020000_202403012355.csv", "EURUSD"),
        ("DAT_ASCII_EURUSD_M1_2012.csv", "EURUSD"),
        ("AAPL.csv", "AAPL"),
        ("btcusdt-1m.csv", "BTCUSDT"),
        ("klines.csv", ""),
        ("2024-01.csv", ""),
        ("k.csv", ""),
        ("DATA_2024.csv", ""),
        ("part-0001.csv.gz", ""),
        ("1H.csv", ""),
    ],
)
def test_the_symbol_is_found_in_the_name_of_a_file(file, symbol):
    assert symbol_of(file) == symbol


def test_rows_of_several_markets_are_those_of_each_alone_in_order_of_time_then_name(tmp_path):
    bars = {"NEARUSDT": make_bars(seed=1), "BTCUSDT": make_bars(700, seed=2), "AVAXUSDT": make_bars(seed=3)[100:]}
    paths = [write(tmp_path, f"{name}-5m.csv", table) for name, table in bars.items()]
    header, *rows = build_rows(tmp_path, paths)
    assert header.startswith("timestamp,market,arr_5m,arr_15m,")
    keys = [tuple(row.split(",", 2)[:2]) for row in rows]
    assert keys == sorted(keys)
    for name, path in zip(bars, paths, strict=True):
        alone = build_rows(tmp_path, [path])
        assert [without_market(row) for row in [header, *rows] if row.split(",", 2)[1] in ("market", name)] == alone


def test_one_market_has_no_column_unless_it_is_named(tmp_path):
    bars = make_bars()
    halves = [write(tmp_path, f"BTCUSDT-5m-{part}.csv", bars[part * 450 : part * 450 + 450]) for part in range(2)]
    plain = build_rows(tmp_path, halves)
    assert plain[0].startswith("timestamp,arr_5m")
    named = build_rows(tmp_path, halves, market="BTC")
    assert named[1].split(",", 2)[1] == "BTC"
    assert [without_market(row) for row in named] == plain


def test_spellings_of_one_name_are_one_market(tmp_path):
    bars = make_bars()
    names = ("BTCUSDT-1.csv", "BTC_USDT-2.csv", "btcusdt-3.csv")
    paths = [write(tmp_path, name, bars[part * 300 : part * 300 + 300]) for part, name in enumerate(names)]
    assert build_rows(tmp_path, paths) == build_rows(tmp_path, [write(tmp_path, "k.csv", bars)])


def test_symbols_in_a_column_name_the_markets_of_one_file(tmp_path):
    one, other = make_bars(seed=1), make_bars(seed=2)
    form = ",{when},{open},{high},{low},{close},{volume}"
    header = "ticker,date,open,high,low,close,volume"
    text = lines(one, "AAA" + form, header) + lines(other, "BBB" + form)
    (tmp_path / "stocks.csv").write_text(text)
    header, *rows = build_rows(tmp_path, [tmp_path / "stocks.csv"])
    alone = build_rows(
        tmp_path, [write(tmp_path, "k.csv", one, width=6, header="timestamp,open,high,low,close,volume")]
    )
    assert [without_market(row) for row in rows if ",AAA," in row] == alone[1:]


def test_files_without_names_that_differ_are_refused_with_the_way_to_name_them(tmp_path):
    paths = [write(tmp_path, name, make_bars(seed=seed)) for seed, name in enumerate(("a.csv", "b.csv"))]
    with pytest.raises(
        DataError, match=r"a.csv row 0 and b.csv row 0 .900 such times.*several markets, name each file by"
    ):
        build_rows(tmp_path, paths)


@pytest.mark.parametrize("known", [("BTCUSDT.csv",), ("BTCUSDT.csv", "ETHUSDT.csv")])
def test_a_file_without_a_name_among_named_ones_is_refused(tmp_path, known):
    bars = make_bars(1200)
    paths = [write(tmp_path, name, bars[:900]) for name in known] + [write(tmp_path, "k.csv", bars[900:])]
    named = ", ".join(name.removesuffix(".csv") for name in known)
    with pytest.raises(DataError, match=f"k.csv names no market, the other files name {named}; .*--market NAME"):
        build_rows(tmp_path, paths)
    if len(known) == 1:
        assert len(build_rows(tmp_path, paths, market="BTC")) > 1


@pytest.mark.parametrize("names", [("bitcoin.csv", "ethereum.csv"), ("btc-part1.csv", "eth-part2.csv.gz")])
def test_files_without_symbols_whose_names_differ_in_words_are_refused(tmp_path, names):
    bars = make_bars()
    one, other = write(tmp_path, names[0], bars[:450]), write(tmp_path, names[1], bars[450:])
    with pytest.raises(DataError, match=f"{names[0]} and {names[1]} name no market .*BTCUSDT-1m.csv.*--market NAME"):
        build_rows(tmp_path, [one, other])
    assert build_rows(tmp_path, [one, other], market="X")[1].split(",")[1] == "X"


PARTS = [
    ("a.csv", "b.csv"),
    ("2024-01.csv", "2024-02.csv"),
    ("part1.csv", "part2.csv"),
    ("btc_jan.csv", "btc_5m_feb.csv"),
]


@pytest.mark.parametrize("names", PARTS)
def test_files_without_symbols_whose_names_differ_in_numbers_or_words_for_parts_are_one_series(tmp_path, names):
    bars = make_bars()
    paths = [write(tmp_path, name, bars[part * 450 : part * 450 + 450]) for part, name in enumerate(names)]
    assert build_rows(tmp_path, paths) == build_rows(tmp_path, [write(tmp_path, "k.csv", bars)])


SYMBOLS = "symbol,date,open,high,low,close,volume"
FORM = ",{when},{open},{high},{low},{close},{volume}"


def test_spellings_of_one_name_may_alternate_by_row(tmp_path):
    bars = make_bars()
    names = ("BTCUSDT", "btcusdt", "BTC/USDT", "BTC-USDT")
    text = "".join(lines(bars[row : row + 1], names[row % 4] + FORM) for row in range(len(bars)))
    (tmp_path / "k.csv").write_text(SYMBOLS + "\n" + text)
    assert build_rows(tmp_path, [tmp_path / "k.csv"]) == build_rows(
        tmp_path, [write(tmp_path, "plain.csv", bars, width=6, header="timestamp,open,high,low,close,volume")]
    )


def test_symbols_that_differ_in_a_dot_are_two_markets(tmp_path):
    text = lines(make_bars(seed=1), "BRK.A" + FORM, SYMBOLS) + lines(make_bars(seed=2), "BRKA" + FORM)
    (tmp_path / "k.csv").write_text(text)
    assert {row.split(",")[1] for row in build_rows(tmp_path, [tmp_path / "k.csv"])[1:]} == {"BRK.A", "BRKA"}


def test_a_row_without_a_symbol_among_several_markets_is_named(tmp_path):
    text = lines(make_bars(seed=1), "AAA" + FORM, SYMBOLS) + lines(make_bars(seed=2), "BBB" + FORM)
    (tmp_path / "k.csv").write_text(text.replace("\nAAA,2024-03-04 00:10", "\n,2024-03-04 00:10"))
    with pytest.raises(DataError, match=r"k.csv row 2: no symbol, other rows name AAA, BBB; write the symbol"):
        build_rows(tmp_path, [tmp_path / "k.csv"])


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "  "])
def test_a_market_that_a_plain_cell_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="is not a name"):
        build_rows(tmp_path, [write(tmp_path, "k.csv", make_bars())], market=name)


def strip_targets(rows):
    return [row.rsplit(",", 3)[0] for row in rows]


@pytest.mark.parametrize("seed", range(4))
def test_features_up_to_t_are_the_same_bytes_whatever_comes_after(tmp_path, seed):
    generator = np.random.default_rng(seed)
    tables = {"AAUSDT": make_bars(seed=seed), "BBUSDT": make_bars(seed=seed + 10)}
    tables = {name: table.drop(index=generator.choice(900, 2)) for name, table in tables.items()}
    whole = build_rows(tmp_path, [write(tmp_path, f"{name}-5m.csv", table) for name, table in tables.items()])
    cut = tables["AAUSDT"]["time"].iloc[0] + pd.Timedelta(minutes=5 * int(generator.integers(500, 800)))
    late = {name: table[table["time"] < cut] for name, table in tables.items()}
    for name, table in tables.items():
        wild = table[table["time"] >= cut].copy()
        wild = wild[generator.random(len(wild)) < 0.8]
        wild[["open", "high", "low", "close"]] *= 3
        late[name] = late[name] if seed % 2 else pd.concat([late[name], wild])
    other = build_rows(tmp_path, [write(tmp_path, f"{name}-5m.csv", table) for name, table in late.items()])
    early = [row for row in strip_targets(whole)[1:] if pd.Timestamp(row[:25]) <= cut]
    assert len(early) > 100
    assert strip_targets(other)[1 : len(early) + 1] == early
    stored = [read_early(tmp_path, lines, cut) for lines in (whole, other)]
    assert stored[0] == stored[1]


def read_early(folder, lines, cut):
    """What a store of these lines gives of the rows up to `cut`: features, and targets known by then, as bytes."""
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    with open_store(compile_store(folder / "rows.csv", store=folder / "store", fresh=True)) as data:
        rows = data.usable.numbers()
        rows = rows[data.read_times(rows) <= cut.value]
        known = data.read_times(rows)[:, None] + pd.Timedelta("15min").value * np.arange(1, 4) <= cut.value
        features = {name: values.tobytes() for name, values in data.read(rows).items()}
        targets = np.where(known, data.read_targets(rows), 0).tobytes()
        return data.read_markets(rows).tolist(), features, targets


def test_targets_equal_a_plain_pandas_spelling(tmp_path):
    tables = {"AAUSDT": make_bars(seed=1).drop(index=range(600, 603)), "BBUSDT": make_bars(seed=2)}
    build_rows(tmp_path, [write(tmp_path, f"{name}-5m.csv", table) for name, table in tables.items()])
    rows = pd.read_csv(tmp_path / "rows.csv", parse_dates=["timestamp"])
    for name, table in tables.items():
        closes = table.set_index(table["time"] + pd.Timedelta("5min"))["close"]
        missing = ~pd.date_range(closes.index[0], closes.index[-1], freq="5min").isin(closes.index)
        hole = pd.date_range(closes.index[0], closes.index[-1], freq="5min")[missing]
        mine = rows[rows["market"] == name]
        assert len(mine) > 50
        for step in (1, 2, 3):
            ahead = mine["timestamp"] + step * pd.Timedelta("15min")
            expected = closes.reindex(ahead).to_numpy() / closes.reindex(mine["timestamp"]).to_numpy() - 1
            crosses = [
                bool(((hole > t) & (hole <= end)).any()) for t, end in zip(mine["timestamp"], ahead, strict=True)
            ]
            expected[crosses] = np.nan
            np.testing.assert_array_equal(mine[f"y_{step}"].to_numpy(), expected)


def test_the_newest_row_is_written_without_targets(tmp_path):
    rows = build_rows(tmp_path, [write(tmp_path, "k.csv", make_bars())])
    assert rows[-1].startswith("2024-03-07T03:00:00+00:00,")
    assert rows[-1].endswith(",,,")
    assert rows[-2].split(",")[-3:][1:] == ["", ""]


def test_lost_rows_are_counted_by_cause_and_windows_ask_only_for_their_own_bars(tmp_path):
    bars = make_bars(8000).drop(index=range(4000, 4015))  # an outage of 75 minutes
    path = write(tmp_path, "k.csv", bars)
    said = []
    options = {"timeframes": ("5min", "1h"), "window": 100, "step": "15min", "horizons": 2}
    result = build([path], out=tmp_path / "rows.csv", sink=said.append, **options)
    grid = 8000 * 5 // 15
    assert result.rows + sum(result.lost.values()) == grid
    around = result.lost["no bar closes"] + sum(count for cause, count in result.lost.items() if "gap in" in cause)
    assert 100 * 4 < around < 103 * 4 + 6
    assert any(line.startswith("no row at ") and "gap in the 1h window" in line for line in said)
    with open(tmp_path / "rows.csv") as file:
        csv.field_size_limit(10**7)
        numbers = [json.loads(row["arr_ta_42"])[0] for row in csv.DictReader(file)]
    full = np.isfinite(numbers).all(axis=1)
    assert full.any()
    assert not full.all()
    assert np.isfinite(np.array(numbers)[:, :21]).all(axis=1).mean() > 0.9


@pytest.mark.parametrize(
    ("minutes", "bars", "names", "step"),
    [
        (1, 16_000, "arr_5m,arr_15m,arr_1h", "20m"),
        (5, 4000, "arr_5m,arr_15m,arr_1h", "20m"),
        (3, 25_000, "arr_15m,arr_1h,arr_4h", "1h"),
        (15, 5000, "arr_15m,arr_1h,arr_4h", "1h"),
        (60, 6500, "arr_1h,arr_4h,arr_1d", "4h"),
        (240, 1600, "arr_4h,arr_12h,arr_1d", "12h"),
        (1440, 300, "arr_1d", "1d"),
    ],
)
def test_timeframes_and_step_follow_from_the_bars(tmp_path, minutes, bars, names, step):
    said = []
    path = write(tmp_path, "k.csv", make_bars(bars, minutes))
    build([path], out=tmp_path / "rows.csv", sink=said.append)
    assert f",{names},arr_ta" in (tmp_path / "rows.csv").read_text().partition("\n")[0]
    assert f"timeframes {names.replace('arr_', '')} and step {step}, chosen for bars of" in "\n".join(said)


TELLING = {
    ("exchange", "binance", "kraken"): "give the rows of one, in a file of their own, or put both names into a column",
    ("interval", "5m", "15m"): "give the rows of one length",
    ("hour", "1", "2"): "write it into column 'timestamp'",
}


@pytest.mark.parametrize("column", TELLING, ids=lambda column: column[0])
def test_a_column_not_read_that_tells_bars_of_one_time_apart_is_named_with_the_next_step(tmp_path, column):
    name, one, other = column
    form = "{ms},{open},{high},{low},{close},{volume},"
    text = lines(make_bars(seed=1), form + one, f"timestamp,open,high,low,close,volume,{name}")
    (tmp_path / "k.csv").write_text(text + lines(make_bars(seed=2), form + other))
    words = f"column '{name}', which is not read, tells them apart \\('{one}', '{other}'\\): {TELLING[column]}"
    with pytest.raises(DataError, match=words) as caught:
        build_rows(tmp_path, [tmp_path / "k.csv"])
    assert "--duplicates" not in str(caught.value)


def test_no_policy_for_duplicates_is_offered_where_most_times_are_there_twice(tmp_path):
    (tmp_path / "k.csv").write_text(archive(make_bars(seed=1)) + archive(make_bars(seed=2), header=None))
    with pytest.raises(DataError, match=r"900 such times.; most bars are of other markets or lengths") as caught:
        build_rows(tmp_path, [tmp_path / "k.csv"])
    assert "--duplicates" not in str(caught.value)


def test_one_name_for_files_of_several_symbols_is_told_where_their_bars_differ(tmp_path):
    paths = [write(tmp_path, name, make_bars(seed=seed)) for seed, name in enumerate(("BTCUSDT.csv", "ETHUSDT.csv"))]
    with pytest.raises(DataError, match="--market joins BTCUSDT, ETHUSDT: leave it away to build each market apart"):
        build_rows(tmp_path, paths, market="X")


def test_files_with_other_columns_are_read_by_those_that_all_have(tmp_path):
    wide, narrow = make_bars(seed=1), make_bars(seed=2)
    wide.loc[300, "quote"] = np.nan  # of no weight where no quote volume is read
    header, said = "timestamp,open,high,low,close,volume", []
    paths = [
        write(tmp_path, "BTCUSDT.csv", wide),
        write(tmp_path, "ETHUSDT.csv", narrow, width=6, header=header),
    ]
    rows = build_rows(tmp_path, paths, sink=said.append)
    assert said[0] == (
        "left out: close_time, ignore; quote_volume, count, taker_buy_volume, taker_buy_quote_volume, which "
        "ETHUSDT.csv lacks"
    )
    for name, bars in (("BTCUSDT", wide), ("ETHUSDT", narrow)):
        reduced = build_rows(tmp_path, [write(tmp_path, "k.csv", bars, width=6, header=header)])
        assert [without_market(row) for row in rows if row.split(",", 2)[1] in ("market", name)] == reduced
