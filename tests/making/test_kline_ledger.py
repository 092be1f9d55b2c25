import csv
import warnings

import numpy as np
import pandas as pd
import pytest

from deeptrade.errors import DataError, DoesNotFitError, SettingsError
from deeptrade.making.klines import build
from tests.support.kline_origins import archive, make_bars

LAYOUT = {"timeframes": ("5min", "15min"), "step": "15min", "horizons": 3, "window": 20}
HEADER = "timestamp,open,high,low,close,volume"


@pytest.fixture
def bars():
    return make_bars()


def build_tables(folder, *tables, **options):
    paths = []
    for number, table in enumerate(tables):
        text = table if isinstance(table, str) else archive(table, header=HEADER, width=6)
        paths.append(folder / f"k{number}.csv")
        paths[-1].write_text(text)
    result = build(paths, out=folder / "rows.csv", **(LAYOUT | options))
    with open(folder / "rows.ledger.csv", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == ["row", "line", "byte_offset", "column", "reason", "detail"]
        return result, list(reader), (folder / "rows.csv").read_bytes()


BAD = {
    "high": {"high": 1.0},
    "low": {"low": "high"},
    "close": {"close": 0.0},
    "open": {"open": -1.0},
    "volume": {"volume": -3.0},
    "volume ": {"volume": np.nan},
    "close ": {"close": np.inf},
    "open ": {"open": np.nan},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bar_that_breaks_the_law_is_a_gap_with_its_place_and_reason(tmp_path, bars, name):
    bad = bars.copy()
    for column, value in BAD[name].items():
        bad.loc[400, column] = bad.loc[400, value] if isinstance(value, str) else value
    result, ledger, rows = build_tables(tmp_path, bad)
    _, _, without = build_tables(tmp_path, bars.drop(index=400))
    assert rows == without
    assert result.bad == result.gaps == 1
    first, second = ledger
    assert (first["row"], first["line"], first["column"], first["reason"]) == ("400", "402", name.strip(), "bad_bar")
    assert first["detail"].startswith("k0.csv: 2024-03-05T09:20:00+00:00: ")
    assert (second["row"], second["line"], second["reason"]) == ("", "", "gap")
    assert second["detail"] == "2024-03-05T09:20:00+00:00 to 2024-03-05T09:25:00+00:00: 1 bar missing"


def test_lines_count_comments_and_blank_lines(tmp_path, bars):
    bars.loc[400, "high"] = 1.0
    lines = archive(bars, header=HEADER, width=6).splitlines()
    text = "# a comment\n\n" + "\n".join([*lines[:200], "", *lines[200:]]) + "\n"
    _, ledger, _ = build_tables(tmp_path, text)
    assert (ledger[0]["row"], ledger[0]["line"]) == ("400", "405")
    assert text.splitlines()[404] == lines[401]


def test_a_line_that_is_cut_off_is_a_gap(tmp_path, bars):
    lines = archive(bars, header=HEADER, width=6).splitlines()
    lines[301] = lines[301][:20]
    lines[-1] = lines[-1][:15]
    result, ledger, rows = build_tables(tmp_path, "\n".join(lines))
    assert [(entry["row"], entry["line"], entry["reason"]) for entry in ledger[:2]] == [
        ("300", "302", "bad_bar"),
        ("899", "901", "bad_bar"),
    ]
    assert rows == build_tables(tmp_path, bars.drop(index=[300, 899]))[2]
    assert result.bad == 2


def test_equal_bars_of_one_time_are_one_each_listed(tmp_path, bars):
    result, ledger, rows = build_tables(tmp_path, bars, bars[100:120], bars[110:115])
    assert rows == build_tables(tmp_path, bars)[2]
    assert result.repeated == len(ledger) == 25
    assert {entry["reason"] for entry in ledger} == {"duplicate_bar"}
    assert ledger[0]["detail"] == "k1.csv: 2024-03-04T08:20:00+00:00: the same bar again"
    assert (ledger[0]["row"], ledger[0]["line"]) == ("0", "2")


def test_the_same_file_twice_is_one(tmp_path, bars):
    result, ledger, rows = build_tables(tmp_path, bars, bars)
    assert rows == build_tables(tmp_path, bars)[2]
    assert result.repeated == len(ledger) == 900


def test_different_bars_of_one_time_are_refused_by_files_and_rows(tmp_path, bars):
    with pytest.raises(
        DataError, match=r"open at 2024-03-05T09:20.*k0.csv row 400 and k1.csv row 0 .* --duplicates first"
    ):
        build_tables(tmp_path, bars, bars[400:401].assign(volume=1.0))
    assert not list(tmp_path.glob("rows*"))


@pytest.mark.parametrize("which", ["first", "last"])
def test_duplicates_keep_the_bar_read_first_or_last(tmp_path, bars, which):
    still_open = bars[400:401].assign(close=bars["low"][400], volume=1.0)
    result, ledger, rows = build_tables(tmp_path, bars[:400], still_open, bars[400:], duplicates=which)
    kept = pd.concat([bars[:400], still_open, bars[401:]]) if which == "first" else bars
    assert rows == build_tables(tmp_path, kept)[2]
    assert result.repeated == 1
    assert ledger[0]["detail"].endswith("another bar of this time was kept")
    assert ledger[0]["detail"].startswith("k2.csv" if which == "first" else "k1.csv")


def test_falling_and_mixed_order_is_sorted_and_said(tmp_path, bars):
    expected = build_tables(tmp_path, bars)[2]
    for table in (bars[::-1], bars.sample(frac=1, random_state=0)):
        said = []
        assert build_tables(tmp_path, table, sink=said.append)[2] == expected
        assert "the bars were not in time order and have been sorted" in said


def test_hidden_files_are_passed_over(tmp_path, bars):
    expected = build_tables(tmp_path, bars)[2]
    (tmp_path / "._k0.csv").write_bytes(b"\x00\x05\x16\x07")
    build([str(tmp_path / "k0.csv"), str(tmp_path / "._k0.csv")], out=tmp_path / "rows.csv", **LAYOUT)
    assert (tmp_path / "rows.csv").read_bytes() == expected


def test_bars_of_different_lengths_are_refused(tmp_path, bars):
    with pytest.raises(DataError, match=r"k1.csv has bars of 15m, others of 5m"):
        build_tables(tmp_path, bars, make_bars(50, 15).pipe(later))


def later(table):
    return table.assign(ms=table["ms"] + 10 * 86_400_000)


def test_a_bar_off_the_grid_is_refused(tmp_path, bars):
    bars.loc[899, "ms"] += 60_000
    with pytest.raises(DataError, match=r"a bar opens at 2024-03-07T02:56:00.*, off the grid of 5m"):
        build_tables(tmp_path, bars)


def test_bars_between_the_hours_of_their_length_are_refused(tmp_path):
    bars = make_bars(500, 60)
    bars["ms"] += 1_800_000
    with pytest.raises(DataError, match=r"bars of 1h open at 2024-03-04T00:30:00.*, not at multiples of their length"):
        build_tables(tmp_path, bars, timeframes=("1h",), step="1h")


def test_too_little_memory_is_refused_with_numbers_before_reading(tmp_path, bars):
    with pytest.raises(DoesNotFitError, match=r"about \d+ bars in 1 file need about .* MiB, .* are free; raise"):
        build_tables(tmp_path, bars, memory_limit="40MiB")
    assert not list(tmp_path.glob("rows*"))


@pytest.mark.parametrize(("name", "value"), [("session", "yes"), ("duplicates", "both")])
def test_other_choices_are_refused(tmp_path, bars, name, value):
    with pytest.raises(SettingsError, match=f"{name}='{value}' is not one of"):
        build_tables(tmp_path, bars, **{name: value})


def test_the_number_of_a_bad_row_is_that_of_the_file_also_among_symbols(tmp_path, bars):
    good = [f"AAA,{line}" for line in archive(bars[:30], header=None, width=6).splitlines()]
    bad = [f"BBB,{line}" for line in archive(bars[:30].assign(low=1e6), header=None, width=6).splitlines()]
    with pytest.raises(DataError, match=r"k0.csv \(BBB\): 30 of 30 rows are no bars, such as row 30, where"):
        build_tables(tmp_path, "\n".join([f"ticker,{HEADER}", *good, *bad]))


def test_prices_that_are_all_missing_are_one_line_without_warnings(tmp_path, bars):
    bars[["open", "high", "low", "close"]] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="900 of 900 rows are no bars, such as row 0, where open is missing"):
            build_tables(tmp_path, archive(bars, header=HEADER, width=6).replace(",,,,,", ",nan,nan,nan,nan,"))


def test_a_close_of_zero_among_columns_in_another_order_gives_no_warning(tmp_path, bars):
    bars.loc[400, "close"] = 0.0
    text = archive(bars.rename(columns={"high": "low", "low": "high"}), header=HEADER, width=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="probably hold open,low,high,close,volume"):
            build_tables(tmp_path, text)


def test_rows_without_a_cell_are_no_bars(tmp_path):
    with pytest.raises(DataError, match=r"k0\.csv holds no bar; give a file with bars"):
        build_tables(tmp_path, f"{HEADER},note\n" + ",,,,,,x\n" * 3)


OPEN_QUOTES = {
    "in the first row": {0: '"{line},'},
    "in row 700": {700: '"{line},'},
    "in the last row": {899: '"{line},'},
    "in a column of notes": {450: '{line},"half'},
    "in two rows far apart": {100: '"{line},', 500: '{line},"'},
    "behind a closed one": {300: '"1","{line},'},
}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("case", OPEN_QUOTES)
def test_a_quote_left_open_costs_its_own_line_alone(tmp_path, bars, case, ending):
    header, *lines = archive(bars, header=HEADER + ",note", width=6).splitlines()
    damaged = OPEN_QUOTES[case]
    lines = [damaged.get(row, '{line},5" wide').format(line=line) for row, line in enumerate(lines)]
    _, ledger, rows = build_tables(tmp_path, ending.join([header, *lines]))
    bad = [entry for entry in ledger if entry["reason"] == "bad_bar"]
    assert [(entry["row"], entry["line"]) for entry in bad] == [(str(row), str(row + 2)) for row in damaged]
    assert all("a quote opens and does not close on its line" in entry["detail"] for entry in bad)
    assert rows == build_tables(tmp_path, bars.drop(index=list(damaged)))[2]


def test_a_quote_behind_a_number_costs_its_own_line_alone(tmp_path, bars):
    header, *lines = archive(bars, header=HEADER, width=6).splitlines()
    lines[100], lines[500] = '"' + lines[100], lines[500] + '"'
    _, ledger, rows = build_tables(tmp_path, "\n".join([header, *lines]))
    assert [entry["line"] for entry in ledger if entry["reason"] == "bad_bar"] == ["102", "502"]
    assert rows == build_tables(tmp_path, bars.drop(index=[100, 500]))[2]


def test_a_quote_left_open_in_a_file_without_a_header_costs_its_own_line_alone(tmp_path, bars):
    lines = archive(bars, header=None, width=6).splitlines()
    _, ledger, rows = build_tables(tmp_path, "\n".join(['"' + lines[0], *lines[1:]]))
    assert [(entry["row"], entry["line"]) for entry in ledger] == [("0", "1")]
    assert rows == build_tables(tmp_path, bars[1:])[2]


def test_quotes_that_close_are_read_as_before(tmp_path, bars):
    header, *lines = archive(bars, header=HEADER + ",note", width=6).splitlines()
    notes = ('"a, b"', '"he said ""no"""', '""', "it's 5\"", '"x"y"', "")
    quoted = [line.replace(",", '","') + '",' + notes[row % len(notes)] for row, line in enumerate(lines)]
    _, ledger, rows = build_tables(tmp_path, "\r\n".join([header, *('"' + line for line in quoted), "", ""]))
    assert not ledger
    assert rows == build_tables(tmp_path, bars)[2]


def test_the_header_again_is_passed_over_with_an_entry(tmp_path, bars):
    one, other = (archive(part, header=HEADER, width=6) for part in (bars[:450], bars[450:]))
    _, ledger, rows = build_tables(tmp_path, one + other)
    assert [(entry["row"], entry["line"], entry["reason"]) for entry in ledger] == [("450", "452", "bad_bar")]
    assert "the header again" in ledger[0]["detail"]
    assert rows == build_tables(tmp_path, bars)[2]


FLAGS = [("confirm", "1", "0"), ("closed", "true", "false"), ("window_close", "True", "False"), ("x", "true", "false")]


@pytest.mark.parametrize(("name", "yes", "no"), FLAGS)
def test_a_bar_that_its_file_marks_as_open_is_left_out(tmp_path, bars, name, yes, no):
    header, *lines = archive(bars, header=f"{HEADER},{name}", width=6).splitlines()
    again = lines[400].rsplit(",", 1)[0] + f",1.5,{no}"  # the same bar while it was open: no conflict
    flagged = [f"{line},{no if row == 899 else yes}" for row, line in enumerate(lines)]
    _, ledger, rows = build_tables(tmp_path, "\n".join([header, *flagged[:400], again, *flagged[400:]]))
    assert [(entry["row"], entry["line"], entry["reason"]) for entry in ledger] == [
        ("400", "402", "bad_bar"),
        ("900", "902", "bad_bar"),
    ]
    assert all("the file marks it as open" in entry["detail"] for entry in ledger)
    assert rows == build_tables(tmp_path, bars[:899])[2]


def test_marks_of_open_bars_are_read_in_parquet_too(tmp_path, bars):
    table = bars[["time", "open", "high", "low", "close", "volume"]].assign(is_closed=bars.index < 899)
    table.to_parquet(tmp_path / "k.parquet")
    assert build([tmp_path / "k.parquet"], out=tmp_path / "rows.csv", **LAYOUT).bad == 1


def test_a_column_that_marks_every_bar_as_open_is_refused(tmp_path, bars):
    header, *lines = archive(bars, header=f"{HEADER},closed", width=6).splitlines()
    with pytest.raises(DataError, match="column 'closed' marks every bar as still open"):
        build_tables(tmp_path, "\n".join([header, *(line + ",0" for line in lines)]))


@pytest.mark.parametrize(("row", "shift", "side"), [(700, 1, "after"), (899, 1, "after"), (700, -1, "before")])
@pytest.mark.parametrize("session", ["none", "auto"])
def test_a_bar_years_away_from_all_others_is_named(tmp_path, bars, row, shift, side, session):
    bars.loc[row, "ms"] += shift * 200_000_000_000
    with pytest.raises(DataError, match=f"k0.csv row {row}: a bar opens at .*, 23.. days {side} all others"):
        build_tables(tmp_path, bars, session=session)


def test_bars_of_a_wrong_decade_are_told(tmp_path, bars):
    with pytest.raises(DataError, match="as an epoch number is a time in 2034, too late for a market"):
        build_tables(tmp_path, bars.assign(ms=bars["ms"] + 315_532_800_000))
    lines = [f"{time.isoformat()},1,2,0.5,1.5,3" for time in bars["time"] + pd.DateOffset(years=10)]
    said = []
    build_tables(tmp_path, "\n".join([HEADER, *lines]), sink=said.append)
    assert any(line.startswith("the bars begin in 2034: are the timestamps ISO 8601, or epoch") for line in said)
