"""The chart of what the market did, and of which rows judge."""

import numpy as np
import pytest

from deeptrade.report import figures

TIMES = [f"2023-01-{day:02}T00:00:00+00:00" for day in range(1, 22)]
PAST = {"market": None, "times": TIMES, "price": [100.0, *[120.0] * 20], "volatility": [None, *[0.01] * 19, 0.02]}


def titled(profile):
    return figures.history(profile, val_ratio=0.1, inner_ratio=0.5).axes[0].get_title(loc="left")


def widths(lane):
    return [patch.get_extents().transformed(lane.transData.inverted()).width for patch in lane.patches]


def test_price_and_volatility_are_over_the_whole_span_with_the_split():
    figure = figures.history({"history": PAST}, val_ratio=0.1, inner_ratio=0.5)
    price, _, lane = figure.axes
    first, second = (
        "The price moves from 100 to 120 (+20%)",
        "the volatility is highest around 2023-01-21, 2.00% a step",
    )
    assert price.get_title(loc="left") == f"{first}; {second}"
    np.testing.assert_allclose(widths(lane), [9, 9, 2])
    without = figures.history({"history": PAST | {"price": []}}, val_ratio=0.1, inner_ratio=0.0)
    assert len(without.axes) == 2


def several(names, *, markets):
    """A profile of markets: each price ends at twice that of the market before."""
    pasts = [
        PAST | {"market": name, "price": [10.0, *[10.0 * 2**at] * 20], "volatility": [0.01 * (1 + at)] * 21}
        for at, name in enumerate(names)
    ]
    listed = [{"name": name, "rows": 210} for name in names] + [{"name": "more", "rows": 1}] * (markets - len(names))
    return {"history": pasts[0], "other_histories": pasts[1:], "markets": listed}


def test_several_markets_each_have_a_line_as_a_multiple_of_their_first_price():
    figure = figures.history(several(["A", "B", "C"], markets=3), val_ratio=0.1, inner_ratio=0.5)
    price, volatility, lane = figure.axes
    assert [line.get_label() for line in price.lines] == ["A", "B", "C"]
    assert [float(line.get_ydata()[-1]) for line in price.lines] == [1, 2, 4]
    assert [float(line.get_ydata()[0]) for line in volatility.lines] == [0.01, 0.02, 0.03]
    assert len({line.get_color() for line in price.lines}) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == ["A", "B", "C"]
    np.testing.assert_allclose(widths(lane), [9, 9, 2])


@pytest.mark.parametrize(("markets", "among"), [(2, "Of 2 markets"), (9, "Of the 2 markets shown")])
def test_the_title_names_the_market_that_moves_most_and_the_wildest(markets, among):
    title = titled(several(["A", "B"], markets=markets))
    assert (
        title
        == f"{among}, the price of B moves most (+100%); the volatility is highest in B around 2023-01-01, 2.00% a step"
    )


def test_the_price_of_one_market_with_a_name_is_its_own():
    assert titled({"history": PAST | {"market": "BTC"}}).startswith("The price of BTC moves from 100 to 120 (+20%); ")


def test_the_split_is_at_the_same_instant_for_markets_of_different_spans():
    found = several(["A", "B"], markets=2)
    found["history"] = {
        name: value[:11] if isinstance(value, list) else value for name, value in found["history"].items()
    }
    figure = figures.history(found, val_ratio=0.5, inner_ratio=0.0)
    days = widths(figure.axes[-1])
    assert sum(days) == pytest.approx(20)
    assert days[0] == pytest.approx(7, abs=1), "half of the rows of both are in the first third of the span"


def test_without_prices_and_targets_it_is_said_that_nothing_is_known():
    assert (
        titled({"history": PAST | {"price": [], "volatility": [None] * 21}}) == "Neither prices nor targets are known"
    )
