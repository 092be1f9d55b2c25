import csv
import json

import numpy as np
import pandas as pd
import pytest

from deeptrade.errors import DataError
from deeptrade.making.bars import NEVER, Bars, aggregate
from deeptrade.making.klines import build
from deeptrade.making.sessions import describe_breaks, known_breaks
from tests.support.kline_origins import archive, make_bars

LAYOUT = {"timeframes": ("15min", "1h"), "step": "15min", "horizons": 4, "window": 30}
WEEK = 7 * 24 * 4


def series(table):
    values = table[["open", "high", "low", "close", "volume"]].to_numpy()
    return Bars(table["ms"].to_numpy() * 1_000_000, values, 900_000_000_000)


def in_session(table, kind):
    """The bars in which a market is open: currencies (Sun 22:00 to Fri 22:00), futures (an hour a day more), stocks."""
    hour = table["time"].dt.hour + table["time"].dt.minute / 60
    day = table["time"].dt.day_of_week
    weekend = ((day == 4) & (hour >= 22)) | (day == 5) | ((day == 6) & (hour < 22))
    if kind == "currency":
        return table[~weekend]
    if kind == "future":
        return table[~weekend & ~((hour >= 21) & (hour < 22))]
    return table[(day < 5) & (hour >= 13.5) & (hour < 20)]


def market(kind, weeks=8):
    return in_session(make_bars(weeks * WEEK, 15), kind)


@pytest.mark.parametrize(("kind", "breaks"), [("currency", 7), ("future", 7 * 5), ("stock", 7 * 5 + 4)])
def test_every_regular_break_is_known_once_two_weeks_have_passed(kind, breaks):
    bars = series(market(kind))
    known = known_breaks(bars)
    assert (known < NEVER).all()
    assert len(known) in range(breaks - 1, breaks + 6)
    two_weeks = bars.open_times[0] + 2 * WEEK * bars.interval
    ends = bars.open_times[bars.gaps() + 1]
    np.testing.assert_array_equal(known, np.maximum(ends, two_weeks))


def test_the_change_of_clocks_makes_no_break_a_gap():
    early, late = market("future", 16)[: 6 * 460], market("future", 16)[6 * 460 :]
    shifted = pd.concat([early, late.assign(ms=late["ms"] - 3_600_000)])
    shifted = shifted[~shifted["ms"].duplicated()].sort_values("ms")
    assert (known_breaks(series(shifted)) < NEVER).mean() > 0.97


def test_an_outage_is_no_break():
    table = market("currency")
    outage = table.drop(index=table.index[1000:1006])
    known = known_breaks(series(outage))
    assert (known == NEVER).sum() == 1


def test_a_market_without_sessions_has_no_breaks():
    table = make_bars(8 * WEEK, 15)
    holes = table.drop(index=[500, 501, 1300, 2900, 2901, 2902])
    assert (known_breaks(series(holes)) == NEVER).all()
    assert describe_breaks(series(holes)) == ""


def test_a_holiday_of_stocks_is_a_break_and_one_of_currencies_is_none():
    stocks, currencies = market("stock", 10), market("currency", 10)
    for table, gaps in ((stocks, 0), (currencies, 1)):
        holiday = table[table["time"].dt.date != pd.Timestamp("2024-04-10").date()]
        assert (known_breaks(series(holiday)) == NEVER).sum() == gaps


def test_a_coarser_bar_that_misses_only_closed_hours_is_complete():
    bars = series(market("stock"))
    hours = aggregate(bars, 4 * bars.interval, known_breaks(bars))
    first = bars.open_times // (4 * bars.interval) * 4 * bars.interval
    plain = pd.DataFrame(bars.values, columns=["o", "h", "l", "c", "v"]).groupby(first)
    expected = plain.agg({"o": "first", "h": "max", "l": "min", "c": "last", "v": "sum"}).iloc[1:]
    np.testing.assert_array_equal(hours.open_times, expected.index)
    np.testing.assert_allclose(hours.values, expected.to_numpy(), rtol=1e-12)


def build_table(folder, table, **options):
    (folder / "k.csv").write_text(archive(table, header=None, width=6))
    said = []
    result = build([folder / "k.csv"], out=folder / "rows.csv", sink=said.append, **(LAYOUT | options))
    return result, (folder / "rows.csv").read_text().splitlines(), said


def test_windows_cross_breaks_with_auto_and_only_then(tmp_path):
    table = market("stock")
    with pytest.raises(DataError, match=r"too few .* Mon 20:00 to Tue 13:30 .* UTC: --session auto lets windows cross"):
        build_table(tmp_path, table)
    result, _, _ = build_table(tmp_path, table, session="auto")
    assert result.rows > 6 * 5 * 20
    csv.field_size_limit(10**7)
    with open(tmp_path / "rows.csv") as file:
        rows = list(csv.DictReader(file))
    closes = table.set_index(table["time"] + pd.Timedelta("15min"))["close"]
    for row in rows[:: len(rows) // 20]:
        time = pd.Timestamp(row["timestamp"])
        window = np.array(json.loads(row["arr_15m"]))[0]
        np.testing.assert_array_equal(window[:, 3], closes[:time].iloc[-30:].to_numpy())
        for step in range(1, 5):
            ahead = closes.get(time + step * pd.Timedelta("15min"), np.nan)
            found = float(row[f"y_{step}"] or "nan")
            np.testing.assert_array_equal(found, ahead / closes[time] - 1)
        since = (time - time.normalize() - pd.Timedelta("13h30min")) / pd.Timedelta("15min")
        assert json.loads(row["arr_ctx_10"])[0][-1] == since


def test_none_says_what_the_gaps_look_like_and_auto_lists_breaks_in_the_ledger(tmp_path):
    table = market("currency")
    plain, _, said = build_table(tmp_path, table)
    assert "gaps look like regular closing hours, Fri 22:00 to Sun 22:00 (8 times)" in "\n".join(said)
    crossed, _, said = build_table(tmp_path, table, session="auto")
    assert crossed.rows > plain.rows
    assert "regular closing hours" not in "\n".join(said)
    assert (tmp_path / "rows.ledger.csv").read_text().count("192 bars missing, a regular break") == 8


@pytest.mark.parametrize("kind", ["currency", "stock", "future"])
@pytest.mark.parametrize("seed", range(3))
def test_features_up_to_t_are_the_same_bytes_across_breaks_whatever_comes_after(tmp_path, kind, seed):
    generator = np.random.default_rng(seed)
    table = market(kind)
    table = table.drop(index=generator.choice(table.index, 2))
    _, whole, _ = build_table(tmp_path, table, session="auto")
    weekend = table["time"].diff() > pd.Timedelta("20h")
    cut = table["time"][weekend].iloc[int(generator.integers(3, 6))] + pd.Timedelta("1h") * int(
        generator.integers(-2, 30)
    )
    early, late = table[table["time"] < cut], table[table["time"] >= cut].copy()
    late = late[generator.random(len(late)) < 0.7]
    late[["open", "high", "low", "close"]] *= 2
    expected = [line.rsplit(",", 4)[0] for line in whole[1:] if pd.Timestamp(line[:25]) <= cut]
    assert len(expected) > 100
    for other in (early, pd.concat([early, late])):
        _, found, _ = build_table(tmp_path, other, session="auto")
        assert [line.rsplit(",", 4)[0] for line in found[1 : len(expected) + 1]] == expected


def test_without_gaps_auto_adds_one_number_and_changes_nothing_else(tmp_path):
    table = make_bars(2000, 15)
    _, plain, _ = build_table(tmp_path, table)
    _, auto, _ = build_table(tmp_path, table, session="auto")
    assert "arr_ctx_10" in auto[0]
    assert [line.replace(', 72.0]]"', ']]"') for line in auto[1:]] == plain[1:]


def test_a_gap_seen_once_is_no_weekly_pattern():
    table = make_bars(1200, 5)
    early, late = table[:600].drop(index=300), table[600:].assign(ms=table["ms"][600:] + 40 * 7 * 86_400_000)
    bars = series(pd.concat([early, late]))
    assert (known_breaks(Bars(bars.open_times, bars.values, 300_000_000_000)) < NEVER).sum() == 2
    assert describe_breaks(Bars(bars.open_times, bars.values, 300_000_000_000)) == ""
