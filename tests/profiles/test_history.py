import json

from deeptrade import profile
from tests.support.markets import make_market


def test_the_history_holds_volatility_and_the_closes_of_klines(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=40, shapes={"arr_5m": (24, 5)})
    for row, cell in enumerate(market.cells):
        bars = [[10 + row, 12 + row, 9 + row, 11 + row, 5]] * 24
        cell[1] = json.dumps([bars])
    market.write()
    past = profile(market.path)["history"]
    assert (past["market"], past["feature"]) == (None, "arr_5m")
    assert past["price"] == [11.0 + row for row in range(40)]
    assert len(past["times"]) == len(past["volatility"]) == 40
    assert past["volatility"] == [None] * 40  # one row has no deviation


def test_without_klines_the_history_has_no_price(market):
    past = profile(market.path)["history"]
    assert (past["feature"], past["price"]) == (None, [])


def write_markets(path, names):
    """Write a file whose rows belong to these markets in turn, the last one having more rows."""
    market = make_market(path, rows=60)
    market.header.insert(1, "market")
    for row, cells in enumerate(market.cells):
        cells.insert(1, names[min(row % (len(names) + 1), len(names) - 1)])
    market.write()
    return market


def test_every_market_has_a_history_of_its_own(tmp_path):
    market = write_markets(tmp_path / "market.csv", ["A", "B", "C"])
    found = profile(market.path)
    assert found["history"]["market"] == "A"
    assert [past["market"] for past in found["other_histories"]] == ["B", "C"]
    assert [len(past["times"]) for past in found["other_histories"]] == [15, 30]


def test_of_many_markets_those_with_the_most_rows_have_one(tmp_path):
    names = [f"M{number}" for number in range(9)]
    found = profile(write_markets(tmp_path / "market.csv", names).path)
    others = [past["market"] for past in found["other_histories"]]
    assert (len(others), others[-1]) == (5, "M8")


def test_a_file_of_one_market_has_no_other_histories(market):
    assert profile(market.path)["other_histories"] == []
