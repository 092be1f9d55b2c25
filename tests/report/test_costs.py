from dataclasses import replace

import numpy as np
import pytest

from deeptrade.judging.costs import FEES, AfterCosts, Curve, TradingScore, after_costs
from deeptrade.report import figures, tables
from tests.support.judged import HOUR, START, make_judged

SIGN = TradingScore("sign", 0.001, -0.31, -2.1, -3.4, -0.9, 0.4, 400.0, 7.9, 0.00018, 1.0)
LONG = TradingScore("long", 0.001, 0.12, 0.8, -0.9, 2.3, 0.2, 2.0, 0.01, 0.0612, 1.0)
TIMES = ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"]
TRADED = AfterCosts(
    [SIGN, LONG], 1200, 50.2, 20, 1, TIMES, [Curve("sign", 0.0, [0.0, 0.05]), Curve("sign", 0.001, [0.0, -0.31])]
)


def with_sign(**changes):
    return replace(TRADED, scores=[replace(SIGN, **changes), LONG])


def test_the_line_tells_what_was_lost_what_fee_is_bearable_and_what_holding_earned():
    assert tables.costs_line(TRADED) == (
        "At 10 bp a change of position, trading on the sign of the forecast would have lost 31% of the stake in 50 "
        "days (Sharpe -2.1, -3.4 to -0.9); it breaks even at 1.8 bp; always long earned 12% of the stake."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"income": 0.0312}, "would have earned 3.1% of the stake"),
        ({"income": -0.0001}, "would have earned 0.0% of the stake"),
        ({"income": -7.3}, "would have lost 7.3 times the stake"),
        ({"low": None, "high": None}, "cannot be told: too few independent steps."),
        ({"sharpe": None, "low": None, "high": None}, "cannot be told: too few independent steps."),
        ({"break_even_fee": -0.0001}, "; without a fee it earns nothing either; always long earned 12% of the stake."),
        (
            {"break_even_fee": None},
            "never has a sign, so nothing would have been traded; always long earned 12% of the stake.",
        ),
    ],
)
def test_the_line_says_what_is_not_known_or_not_there(changes, words):
    assert words in tables.costs_line(with_sign(**changes))


def test_without_a_row_to_trade_line_tables_and_figure_say_so():
    assert tables.costs_line(AfterCosts()) == "What trading would have earned is not known: no row can be traded."
    assert not len(tables.costs(AfterCosts()))
    assert not len(tables.costs_in_detail(AfterCosts()))
    assert figures.equity(AfterCosts()).axes[0].get_title(loc="left") == "No row can be traded"


def test_the_tables_have_a_row_per_rule_a_column_per_fee_and_the_figure_a_line_per_curve():
    parts = [(make_judged(seed=1), make_judged(seed=2, start=START + 400 * HOUR))]
    traded = after_costs(parts, target_step=HOUR, block_length=6)
    table, detail = tables.costs(traded), tables.costs_in_detail(traded)
    assert list(table) == ["position by", "0 bp", "2 bp", "5 bp", "10 bp", "20 bp"]
    assert len(FEES) + 1 == len(table.columns)
    ratios = tables.sharpes(traded)
    for other in (detail, ratios):
        assert table["position by"].tolist() == other["position by"].tolist()
    assert table["position by"].tolist()[0::3] == ["sign of the forecast", "always long"]
    sign, threshold = traded.of("sign", 0.002), traded.of("threshold", 0.002)
    assert table["20 bp"][0] == f"{100 * sign.income:+.1f}"
    bounds = f"{sign.sharpe:.1f} ({sign.low:.1f} to {sign.high:.1f})"
    assert ratios["20 bp"][0].replace("\N{NO-BREAK SPACE}", " ") == bounds
    assert (table["20 bp"][1] == "no trades") == (threshold.turnover == 0)
    assert len(figures.equity(traded).axes[0].lines) == len(traded.curves) + 1


def test_the_table_at_ten_basis_points_tells_turnover_position_drawdown_and_the_bearable_fee():
    detail = tables.costs_in_detail(TRADED)
    assert detail.iloc[0].tolist() == ["sign of the forecast", "7.9", "100%", "40.0", "1.8 bp"]
    assert tables.costs_in_detail(with_sign(break_even_fee=None))["breaks even at"].tolist() == ["-", "-"]
    assert tables.costs_in_detail(with_sign(break_even_fee=-0.001))["breaks even at"][0] == "at no fee"


def test_the_equity_curve_is_the_income_and_its_title_says_how_it_ended():
    figure = figures.equity(TRADED)
    axes = figure.axes[0]
    title = "At 10 bp a change of position, the sign of the forecast lost 31% of the stake;"
    title += "\nalways long earned 12% of the stake"
    assert axes.get_title(loc="left") == title
    before, after = axes.lines[:2]
    np.testing.assert_allclose(after.get_ydata(), [0, -31])
    np.testing.assert_allclose(before.get_ydata(), [0, 5])
    assert (after.get_linestyle(), before.get_linestyle()) == ("-", ":")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["sign of the forecast, no fee", "sign of the forecast, 10 bp"]
    assert "of the stake" in figures.as_html(figure, alt="equity curves")
