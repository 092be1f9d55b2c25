import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeptrade.errors import DataError
from deeptrade.making.klines import build
from tests.support.kline_origins import ORIGINS, archive, lines, make_bars

LAYOUT = {"timeframes": ("5min", "15min"), "step": "15min", "horizons": 3, "window": 20}
DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def bars():
    return make_bars()


@pytest.fixture(scope="module")
def plain(bars, tmp_path_factory):
    """The rows of the bars as six and as twelve columns, by the number of channels."""
    folder = tmp_path_factory.mktemp("plain")
    found = {}
    for channels, width in ((5, 6), (9, 12)):
        (folder / "plain.csv").write_text(archive(bars, header=None, width=width))
        build([folder / "plain.csv"], out=folder / "rows.csv", **LAYOUT)
        found[channels] = (folder / "rows.csv").read_bytes()
    return found


def build_text(folder, content, *, name="k.csv", **options):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = []
    build([path], out=folder / "rows.csv", sink=said.append, **(LAYOUT | options))
    return (folder / "rows.csv").read_bytes(), said


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.name)
def test_the_same_bars_of_any_origin_are_the_same_rows(tmp_path, bars, plain, origin):
    said = []
    path = origin.to(tmp_path, bars)
    result = build([path], out=tmp_path / "rows.csv", sink=said.append, **LAYOUT)
    assert (tmp_path / "rows.csv").read_bytes() == plain[origin.channels]
    assert [line for line in said if line.startswith("left out")] == (
        [f"left out: {origin.left_out}"] if origin.left_out else []
    )
    assert result.repeated == result.bad == result.gaps == 0


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.name)
def test_the_documentation_lists_every_origin(origin):
    row = next((line for line in DOCS.read_text().splitlines() if line.startswith(f"| {origin.name} |")), "")
    assert all(f"`{name}`" in row for name in origin.left_out.split(", ") if name), row


def swap(text, **names):
    header, _, rest = text.partition("\n")
    return ",".join(names.get(name, name) for name in header.split(",")) + "\n" + rest


HEADER = "timestamp,open,high,low,close,volume"
SAME = {
    "a BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "quotes": lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.splitlines()),
    "trailing commas": lambda text: text.replace("\n", ",\n").replace(",\n", "\n", 1),
    "trailing commas in the header too": lambda text: text.replace("\n", ",\n"),
    "a comment above": lambda text: "# exported, by, a, script, of, ours\n" + text,
    "two comments and a blank line": lambda text: "# one\n\n// two\n" + text,
    "a header as numpy writes it": lambda text: "# " + text,
    "blanks around cells": lambda text: text.replace(",", " , "),
    "capitals": lambda text: text.replace(HEADER, HEADER.upper()),
    "semicolons": lambda text: text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "bars": lambda text: text.replace(",", "|"),
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "no newline at the end": lambda text: text.rstrip("\n"),
    "an index column": lambda text: "\n".join(
        f"{number - 1 if number else ''},{line}" for number, line in enumerate(text.splitlines())
    ),
}


@pytest.mark.parametrize("form", SAME)
def test_dress_makes_no_difference(tmp_path, bars, plain, form):
    found, _ = build_text(tmp_path, SAME[form](archive(bars, header=HEADER, width=6)))
    assert found == plain[5]


TIMES = {
    "seconds": "{s}",
    "float seconds": "{s}.0",
    "microseconds": "{ms}000",
    "nanoseconds": "{ms}000000",
}
CLOCKS = (
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y.%m.%d %H:%M",
    "%Y%m%d %H%M%S",
    "%Y%m%d%H%M",
    "%Y%m%d%H%M%S",
    "%Y/%m/%d %H:%M",
    "%b %d %Y %H:%M",
    "%d-%b-%Y %I:%M %p",
    "%d.%m.%Y %H:%M",
)


@pytest.mark.parametrize("form", TIMES)
def test_epochs_of_any_unit_are_the_same_times(tmp_path, bars, plain, form):
    text = lines(bars, TIMES[form] + ",{open},{high},{low},{close},{volume}", HEADER)
    assert build_text(tmp_path, text)[0] == plain[5]


@pytest.mark.parametrize("clock", CLOCKS)
def test_dates_of_many_forms_are_the_same_times(tmp_path, bars, plain, clock):
    text = lines(bars, "{when},{open},{high},{low},{close},{volume}", HEADER, clock)
    assert build_text(tmp_path, text)[0] == plain[5]


@pytest.mark.parametrize("clock", ["%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%y %H:%M"])
def test_a_day_above_twelve_settles_what_comes_first(tmp_path, clock):
    bars = make_bars(3800)  # to 17 March
    text = lines(bars, "{when},{open},{high},{low},{close},{volume}", HEADER, clock)
    found, _ = build_text(tmp_path, text)
    expected, _ = build_text(tmp_path, archive(bars, header=HEADER, width=6))
    assert found == expected


NO_EPOCH = {
    "a spreadsheet's day numbers": lambda s: f"{s / 86400 + 25569:.8f}",
    "minutes since 1970": lambda s: f"{s // 60}",
    "days since 1970": lambda s: f"{s / 86400:.6f}",
    "hours since 1970": lambda s: f"{s / 3600:.4f}",
    "clock times without a date": lambda s: f"{s // 3600 % 24:02d}{s // 60 % 60:02d}{s % 60:02d}",
}


@pytest.mark.parametrize("cause", NO_EPOCH)
def test_numbers_that_are_no_epoch_are_refused_with_their_probable_cause(tmp_path, bars, cause):
    rows = [line.split(",", 1)[1] for line in archive(bars, header=None, width=6).splitlines()]
    times = [NO_EPOCH[cause](1_709_510_400 + 300 * number) for number in range(len(rows))]
    text = HEADER + "\n" + "\n".join(",".join(pair) for pair in zip(times, rows, strict=True))
    with pytest.raises(DataError, match=f"k.csv row 0: timestamp: .* no epoch .* probably {cause}"):
        build_text(tmp_path, text)


def test_epoch_numbers_that_were_read_in_the_wrong_unit_are_refused(tmp_path, bars):
    for unit in ("s", "ms", "us"):
        bars["wrong"] = pd.to_datetime(bars["ms"] * {"s": 1, "ms": 1000, "us": 1_000_000}[unit] // 1000)
        bars.rename(columns={"wrong": "date"}).drop(columns="time").to_parquet(tmp_path / "k.parquet")
        with pytest.raises(DataError, match=r"date: .* all others lie in January 1970, probably epoch numbers"):
            build([tmp_path / "k.parquet"], out=tmp_path / "rows.csv", **LAYOUT)


def test_ambiguous_dates_are_refused(tmp_path, bars):
    text = lines(bars, "{when},{open},{high},{low},{close},{volume}", HEADER, "%d/%m/%Y %H:%M")
    with pytest.raises(DataError, match="'04/03/2024 00:00' is ambiguous: day or month may come first"):
        build_text(tmp_path, text)


ORDERS = {
    "time,open,close,high,low,volume, as Bitfinex and KuCoin": "{ms},{open},{close},{high},{low},{volume}",
    "time,low,high,open,close,volume, as Coinbase": "{s},{low},{high},{open},{close},{volume}",
    "time,volume,close,high,low,open, as Gate": "{s},{volume},{close},{high},{low},{open}",
    "time,open,close,low,high,volume, as HTX": "{s},{open},{close},{low},{high},{volume}",
    "time,high,low,open,close,volume": "{s},{high},{low},{open},{close},{volume}",
    "time,volume,open,high,low,close": "{s},{volume},{open},{high},{low},{close}",
    "time,close,high,low,open,volume": "{s},{close},{high},{low},{open},{volume}",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_columns_in_another_order_are_refused_by_the_law_of_bars(tmp_path, bars, order, reverse):
    text = lines(bars[::-1] if reverse else bars, ORDERS[order])
    with pytest.raises(DataError, match=f"its columns are probably {order}.* put a header above") as caught:
        build_text(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "rows.csv").exists()
    assert not (tmp_path / "rows.ledger.csv").exists()


@pytest.mark.parametrize(("one", "other"), [("high", "low"), ("open", "high"), ("low", "close"), ("open", "close")])
def test_names_that_changed_places_are_refused(tmp_path, bars, one, other):
    text = swap(archive(bars, header=HEADER, width=6), **{one: other, other: one})
    with pytest.raises(DataError, match=f"probably hold {HEADER.removeprefix('timestamp,')}: correct the names"):
        build_text(tmp_path, text)


def test_flat_bars_do_not_hide_another_order(tmp_path, bars):
    flat = bars.copy()
    still = flat.index % 5 > 0
    for name in ("open", "high", "low"):
        flat.loc[still, name] = flat.loc[still, "close"]
    with pytest.raises(DataError, match="as Coinbase writes them"):
        build_text(tmp_path, lines(flat, ORDERS["time,low,high,open,close,volume, as Coinbase"]))


REFUSED = {
    "has 6 names in its header but 7 cells": lambda text: text.replace("\n", ",12\n").replace(",12\n", "\n", 1),
    "line 4: 7 cells, 6 are expected": lambda text: "\n".join(
        line + ",7" if number == 3 else line for number, line in enumerate(text.splitlines())
    ),
    "the header 0,1,2,3,4,5 numbers the columns": lambda text: text.replace(HEADER, "0,1,2,3,4,5"),
    "the header ,0,1,2,3,4,5 numbers the columns": lambda text: "\n".join(
        "," + line if number else ",0,1,2,3,4,5" for number, line in enumerate(text.splitlines())
    ),
    "the header 1,2,3,4,5,6 numbers the columns": lambda text: text.replace(HEADER, "1,2,3,4,5,6"),
    "column 'volume' is there twice, as 'Volume' and 'volume'": lambda text: text.replace("\n", ",1\n").replace(
        HEADER + ",1", HEADER.replace("volume", "Volume") + ",volume"
    ),
    "column 'close' is there twice": lambda text: text.replace("\n", ",1\n").replace(HEADER + ",1", HEADER + ",close"),
    "no column 'open' among timestamp, bidopen, .*: rename the column that holds it": lambda text: text.replace(
        HEADER, "timestamp,bidopen,bidhigh,bidlow,bidclose,volume"
    ),
    "no column 'volume'": lambda text: text.replace("volume", "size"),
    "no column 'open_time'": lambda text: text.replace("timestamp", "row"),
    "a web page or XML": lambda text: "<!DOCTYPE html><html>" + text,
    "is an HDF5 file": lambda text: b"\x89HDF\r\n\x1a\n" + text.encode(),
    "is a spreadsheet": lambda text: b"\xd0\xcf\x11\xe0" + text.encode(),
    "compressed by zstd": lambda text: b"\x28\xb5\x2f\xfd" + text.encode(),
    "has no header and 8 columns; .*Kraken": lambda text: "\n".join(line + ",1,2" for line in text.splitlines()[1:]),
    "volume='1 234' is not a number": lambda text: text.replace(text.splitlines()[3].split(",")[5], "1 234", 1),
    "holds no array of bars": lambda text: '{"a": 1}',
    "cannot be read .JSON": lambda text: "[[1, 2, 3",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_table_of_bars_is_one_line_with_the_true_cause(tmp_path, bars, words):
    with pytest.raises(DataError, match=words) as caught:
        build_text(tmp_path, REFUSED[words](archive(bars, header=HEADER, width=6)))
    assert "\n" not in str(caught.value)


def test_a_comma_in_a_quoted_name_shifts_nothing(tmp_path, bars, plain):
    text = lines(
        bars,
        "{ms},{close},{open},{high},{low},{close},{volume},50",
        'timestamp,"vwap, usd",open,high,low,close,volume,trades',
    )
    found, said = build_text(tmp_path, text)
    assert found == plain[5]
    assert "left out: 'vwap, usd', trades" in said


def test_a_zip_of_two_files_is_refused_by_their_names(tmp_path, bars):
    import zipfile

    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("__MACOSX/._a.csv", "x")
        file.writestr("a.csv", archive(bars))
        file.writestr("b.csv", archive(bars))
    with pytest.raises(DataError, match=r"holds 2 files \(a.csv, b.csv\), one is accepted; unpack it"):
        build([tmp_path / "two.zip"], out=tmp_path / "rows.csv", **LAYOUT)


def test_two_different_dates_for_a_bar_use_the_exact_one(tmp_path, bars, plain):
    text = lines(
        bars, "{when},{s},{open},{high},{low},{close},{volume}", "Date,Unix Timestamp,open,high,low,close,volume", "%Y"
    )
    found, said = build_text(tmp_path, text)
    assert found == plain[5]
    assert "left out: Date" in said


def test_seven_columns_of_kucoin_get_a_header_of_seven_names(tmp_path, bars, plain):
    text = lines(bars, "{s},{open},{close},{high},{low},{volume},{quote}")
    header = "timestamp,open,close,high,low,volume,column 7"
    with pytest.raises(
        DataError, match=f"as Bitfinex and KuCoin write them: put a header above the first line, {header}$"
    ):
        build_text(tmp_path, text)
    assert build_text(tmp_path, header + "\n" + text)[0] == plain[5]


def test_the_volume_of_the_markets_own_coin_is_read_wherever_it_stands(tmp_path, bars, plain):
    form, header = "{s},BTC/USDT,{open},{high},{low},{close},{quote},{volume}", "unix,symbol,open,high,low,close,"
    found, said = build_text(tmp_path, lines(bars, form, header + "Volume USDT,Volume BTC"))
    assert found == plain[5]
    assert "left out: Volume USDT" in said


@pytest.mark.parametrize(
    ("header", "clock"),
    [
        ("date,time", "%Y-%m-%d,%H:%M"),
        ("Date,Timestamp", "%Y%m%d,%H:%M:%S"),
        ("<DATE>,<TIME>", "%Y%m%d,%H%M"),
        ("time,date", "%H%M%S,%Y%m%d"),
        ("date,time", "%Y-%m-%d,%Y-%m-%dT%H:%M:%SZ"),
        ("date,time", "%d.%m.%Y,%I:%M %p"),
    ],
)
def test_date_and_time_may_stand_in_two_columns(tmp_path, bars, plain, header, clock):
    text = lines(bars, "{when},{open},{high},{low},{close},{volume}", header + ",open,high,low,close,volume", clock)
    assert build_text(tmp_path, text)[0] == plain[5]


def test_daily_bars_that_begin_at_midnight_of_a_place_are_dates(tmp_path):
    bars = make_bars(400, 1440)
    options = {"timeframes": ("1D",), "step": "1D"}
    form = "{when},{open},{high},{low},{close},{volume}"
    expected, _ = build_text(tmp_path, lines(bars, form, HEADER, "%Y-%m-%d"), **options)
    summer = bars["time"].dt.month.between(4, 10)
    text = lines(bars[~summer], form, HEADER, "%Y-%m-%d 00:00:00-05:00") + lines(
        bars[summer], form, "", "%Y-%m-%d 00:00:00-04:00"
    )
    assert build_text(tmp_path, text, **options)[0] == expected
    local = bars.assign(date=bars["time"].dt.tz_localize(None).dt.tz_localize("America/New_York"))
    local[["date", "open", "high", "low", "close", "volume"]].to_parquet(tmp_path / "k.parquet")
    build([tmp_path / "k.parquet"], out=tmp_path / "rows.csv", **(LAYOUT | options))
    assert (tmp_path / "rows.csv").read_bytes() == expected


def test_decimals_are_the_numbers_of_their_text(tmp_path, bars):
    texts = {name: [f"{cell:.4f}" for cell in bars[name] * 123.4567] for name in ("open", "high", "low", "close")}
    texts |= {"timestamp": [str(ms) for ms in bars["ms"]], "volume": [f"{cell:.8f}" for cell in bars["volume"] / 3]}
    table = pd.DataFrame(texts)[HEADER.split(",")]
    expected, _ = build_text(tmp_path, table.to_csv(index=False))
    exact = pa.table({name: pa.array([Decimal(cell) for cell in cells]) for name, cells in texts.items()})
    assert pa.types.is_decimal(exact.schema.field("close").type)
    pq.write_table(exact, tmp_path / "k.parquet")
    build([tmp_path / "k.parquet"], out=tmp_path / "rows.csv", **LAYOUT)
    assert (tmp_path / "rows.csv").read_bytes() == expected


UNREAD_NUMBERS = {
    "its decimals follow a comma: .*decimal=',', thousands='.'": "{:.2f}",
    "its decimals follow a comma: .*decimal=','": "1{:07.2f}",
    "a comma parts thousands or decimals": "1,{:03.0f}",
    "commas part its thousands": "1,{:06.2f}",
    "leave currencies, units and other signs away": "${:.4f}",
    "K, M and B stand for thousands": "{:.4f}K",
}


@pytest.mark.parametrize("words", UNREAD_NUMBERS)
def test_numbers_of_another_form_throughout_are_told_with_the_next_step(tmp_path, bars, words):
    texts = {name: [UNREAD_NUMBERS[words].format(cell) for cell in bars[name]] for name in HEADER.split(",")[1:]}
    table = pd.DataFrame({"timestamp": bars["ms"], **texts})
    if "decimals" in words:
        table = table.replace(r"\.", ",", regex=True)
    with pytest.raises(DataError, match=f"row 0: open='.*' is not a number; most rows are written so, {words}"):
        build_text(tmp_path, table.to_csv(index=False, sep=";"))


def test_a_second_line_of_names_or_units_is_told(tmp_path, bars):
    text = archive(bars, header=HEADER + "\n,USD,USD,USD,USD,BTC", width=6)
    with pytest.raises(DataError, match=r"row 0: open='USD' is not a number; a second line of names or units. Remove"):
        build_text(tmp_path, text)


def test_arrays_of_json_in_an_unknown_order_are_not_told_to_get_a_line_above(tmp_path, bars):
    coinbase = json.dumps(bars[["ms", "low", "high", "open", "close", "volume"]].to_numpy().tolist())
    eleven = json.dumps([[*row, 1, 2, 3, 4, 5] for row in json.loads(coinbase)])
    for content, words in ((coinbase, "save it as CSV with the header, timestamp,low"), (eleven, "arrays of 11 cells")):
        with pytest.raises(DataError, match=words) as caught:
            build_text(tmp_path, content, name="k.json")
        assert "above the first" not in str(caught.value)


def test_a_damaged_line_of_json_is_named_by_its_number(tmp_path, bars):
    text = bars[["ms", "open", "high", "low", "close", "volume"]].to_json(orient="records", lines=True)
    with pytest.raises(DataError, match=r"k.jsonl cannot be read .JSON: line 900: "):
        build_text(tmp_path, text[:-20], name="k.jsonl")
