from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deeptrade.report import figures, tables
from deeptrade.report.tables.common import unbroken
from tests.support.accounts import ACCOUNT, score_of

RATIO = unbroken("1.2 (0.3 to 2.1)")


def with_scores(**changes):
    """Return the account with the agent's scores altered, at all fees."""
    scores = [replace(one, **changes) if one.policy == "agent" else one for one in ACCOUNT.scores]
    return replace(ACCOUNT, scores=scores)


def title_of(figure):
    return figure.axes[0].get_title(loc="left")


def test_a_row_of_the_table_tells_income_risk_turnover_and_the_fee_it_bears():
    agent = tables.policies(ACCOUNT).iloc[0].to_dict()
    assert agent == {
        "policy": "agent",
        "income": "+31.0%",
        "Sharpe (95% interval)": RATIO,
        "drawdown": "15.0%",
        "turnover a day": "2",
        "long, flat, short": unbroken("25% / 50% / 25%"),
        "hits": "52%",
        "breaks even at": "41 bp",
    }


def test_what_never_trades_has_no_figures():
    flat = tables.policies(ACCOUNT).set_index("policy").loc["staying flat"]
    assert flat["income"] == unbroken("no trades")
    assert flat["breaks even at"] == "-"
    assert flat["Sharpe (95% interval)"] == "-"


def test_a_policy_that_loses_without_a_fee_breaks_even_at_none():
    assert tables.policies(with_scores(break_even_fee=-0.001)).iloc[0]["breaks even at"] == "no fee"


def test_incomes_and_sharpe_ratios_have_a_column_per_fee():
    incomes = tables.incomes_by_fee(ACCOUNT).set_index("policy")
    assert list(incomes.columns) == ["0 bp", "10 bp"]
    assert incomes.loc["agent"].tolist() == ["+41.0%", "+31.0%"]
    assert "staying flat" not in incomes.index
    assert tables.sharpes_by_fee(ACCOUNT).set_index("policy").loc["agent", "10 bp"] == RATIO


def test_the_line_on_rivals_gives_the_paired_interval_and_the_random_policies():
    assert tables.rivals_line(ACCOUNT) == (
        "Against always long, the best simple rule in hindsight, the agent earned +19.0% of the stake (95% interval "
        "-5.0% to +43.0%); it earned more than 97% of 4 policies with its positions at other times and its costs."
    )


def test_an_agent_that_trades_nothing_is_not_compared():
    assert tables.rivals_line(with_scores(turnover=0.0)) == (
        "The agent trades nothing; the best simple rule, in hindsight, is always long."
    )


def test_each_network_is_told():
    assert tables.networks_line(ACCOUNT) == (
        "Each of the 5 networks alone, had it traded: +30.0%, +28.0%, +35.0%, -2.0%, +31.0% of the stake."
    )


@pytest.mark.parametrize(
    ("probability", "line"),
    [
        (
            0.81,
            "The probability that the true Sharpe ratio is above zero, with the choice among 12 candidates allowed "
            "for, is 81% (deflated Sharpe ratio, 50 days).",
        ),
        (None, "The deflated Sharpe ratio is not known: 50 days judged are too few."),
    ],
)
def test_the_deflated_ratio_is_a_probability_in_words(probability, line):
    account = replace(ACCOUNT, deflated=replace(ACCOUNT.deflated, probability=probability))
    assert tables.deflated_line(account) == line


def test_costs_are_told_by_what_was_done():
    found = tables.costs_table(ACCOUNT)
    assert found["cost"].tolist() == ["-4.8%", "-4.6%", "-2.4%", "-0.2%"]
    assert found["stakes traded"].tolist() == ["40", "38", "20", "2"]


def test_the_curves_title_tells_the_agent_and_the_best_rule():
    figure = figures.policy_curves(ACCOUNT)
    assert title_of(figure) == (
        "After costs of 12 bp the agent earned +31.0% of the stake;\nthe best simple rule, always long, +12.0%"
    )
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["the agent"], [0, 15.5, 31])


@pytest.mark.parametrize(
    ("incomes", "title"),
    [
        ((0.4, 0.3), "The agent earned something at fees up to 10 bp"),
        ((0.4, -0.3), "The agent earned something at fees up to 0 bp"),
        ((-0.4, -0.5), "At no fee did the agent earn anything"),
    ],
)
def test_the_title_over_fees_tells_what_is_bearable(incomes, title):
    rest = [one for one in ACCOUNT.scores if one.policy != "agent"]
    own = [score_of("agent", fee, income=income) for fee, income in zip((0.0, 0.001), incomes, strict=True)]
    assert title_of(figures.incomes_over_fees(replace(ACCOUNT, scores=rest + own))) == title


def test_random_policies_stand_beside_the_agent():
    figure = figures.random_policies(ACCOUNT)
    assert title_of(figure) == "The agent earned more than 97% of 4 policies with its positions at other times"
    assert figure.axes[0].lines[0].get_xdata()[0] == pytest.approx(31)


def test_positions_are_drawn_where_they_were_held():
    held = [0, 1, 1, 0, -1, 0]
    rows = pd.DataFrame(
        {
            "market": "",
            "timestamp": pd.date_range("2026-01-01", periods=6, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "split": "validation",
            "position": held,
            "y_1": [0.01, 0.02, -0.01, 0.0, -0.02, 0.01],
        }
    )
    other = rows.assign(split="train", position=1)
    figure = figures.positions_over_price(pd.concat([other, rows]), ACCOUNT)
    assert title_of(figure) == "Long 33%, short 17%, flat 50% of the time, over the price"
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    long = lines["long"].get_ydata()
    np.testing.assert_allclose(long[:3], 100 * np.cumprod([1.01, 1.02, 0.99]), rtol=1e-6)
    assert np.isnan(long[3:]).all()
    assert np.isfinite(lines["short"].get_ydata()).sum() == 2
