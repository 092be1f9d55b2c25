"""Trading on forecasts: what rules hold, what they may look at, and whether the intervals cover."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrade.judging.costs import (
    CURVE_POINTS,
    FEES,
    NEVER,
    AfterCosts,
    Rule,
    after_costs,
    by_size,
    choose,
    positions,
    sharpe,
    thresholds,
)
from deeptrade.judging.resampling import Blocks
from deeptrade.judging.trades import schedule, trade
from deeptrade.training.judged import Judged
from tests.support.judged import HOUR, START, make_judged

INNER = make_judged(rows=400, skill=0.3, seed=1)
VALIDATION = make_judged(rows=400, skill=0.3, seed=2, start=START + 500 * HOUR)
RULES = [Rule("sign"), Rule("threshold", 3, 0.002), Rule("size", 1, 0.002), Rule("long"), Rule("flat")]


def found_for(*parts, block_length=6, **options):
    return after_costs(parts, target_step=HOUR, block_length=block_length, **options)


def part_of(judged, rows):
    return Judged(*(getattr(judged, one.name)[rows] for one in fields(Judged)))


def test_positions_are_those_of_the_rule():
    forecasts = np.array([[0.004, 0.001], [-0.001, 0.003], [0.0, -0.004], [np.nan, np.inf]], np.float32)
    held = {
        Rule("sign"): [1, -1, 0, 0],
        Rule("threshold", 2, 0.002): [0, 1, -1, 0],
        Rule("size", 1, 0.002): [1, -0.25, 0, 0],
        Rule("size", 1, 0.0): [0, 0, 0, 0],
        Rule("long"): [1, 1, 1, 1],
        Rule("flat"): [0, 0, 0, 0],
        NEVER: [0, 0, 0, 0],
    }
    for rule, expected in held.items():
        np.testing.assert_allclose(positions(rule, forecasts), expected, rtol=1e-6, err_msg=str(rule))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@given(cut=st.integers(0, 400))
def test_altering_later_rows_leaves_earlier_positions_byte_identical(rule, cut):
    altered = VALIDATION.forecasts.copy()
    altered[cut:] = np.random.default_rng(cut).normal(size=altered[cut:].shape)
    before = positions(rule, VALIDATION.forecasts)[:cut].tobytes()
    assert before == positions(rule, altered)[:cut].tobytes() == positions(rule, altered[:cut]).tobytes()


def test_the_threshold_is_the_best_of_a_grid_on_inner_rows_and_none_where_all_lose():
    plan = schedule(INNER, target_step=HOUR)
    for fee in FEES:
        incomes = {NEVER: 0.0}
        for horizon in (1, 2, 3):
            sizes = np.abs(INNER.forecasts[:, horizon - 1].astype(float))
            for level in np.quantile(sizes, (0, 0.5, 0.75, 0.9, 0.95, 0.98)):
                rule = Rule("threshold", horizon, float(level))
                incomes[rule] = trade(positions(rule, INNER.forecasts), plan, fee=fee).income
        assert choose(thresholds(INNER, target_step=HOUR), fee=fee) == max(incomes, key=incomes.get)
    assert choose(thresholds(INNER, target_step=HOUR), fee=0.1) == NEVER
    assert choose(thresholds(part_of(INNER, slice(0)), target_step=HOUR), fee=0.0) == NEVER


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_the_horizon_that_earns_most_is_chosen(horizon):
    inner = make_judged(horizons=5)
    inner.forecasts[:, horizon - 1] = inner.targets[:, 0]
    assert choose(thresholds(inner, target_step=HOUR), fee=0.001).horizon == horizon


def test_the_choice_uses_inner_rows_only():
    """Other outcomes of the judged rows change what is earned, but nothing of what is held."""
    other = replace(VALIDATION, targets=-VALIDATION.targets)
    one, two = found_for((INNER, VALIDATION)), found_for((INNER, other))
    assert [(s.rule, s.fee, s.turnover, s.exposure) for s in one.scores] == [
        (s.rule, s.fee, s.turnover, s.exposure) for s in two.scores
    ]
    assert one.of("threshold", 0.0).income == pytest.approx(-two.of("threshold", 0.0).income)
    assert one.of("threshold", 0.0).turnover > 0


def test_scores_are_those_of_the_chosen_rules():
    found = found_for((INNER, VALIDATION))
    plan = schedule(VALIDATION, target_step=HOUR)
    assert [(one.rule, one.fee) for one in found.scores] == [
        (kind, fee) for fee in FEES for kind in ("sign", "threshold", "size", "long", "flat")
    ]
    for one in found.scores:
        threshold = choose(thresholds(INNER, target_step=HOUR), fee=one.fee)
        rule = {"threshold": threshold, "size": by_size(INNER)}.get(one.rule, Rule(one.rule))
        trades = trade(positions(rule, VALIDATION.forecasts), plan, fee=one.fee)
        assert (one.income, one.drawdown) == (trades.income, trades.drawdown)
        assert (one.exposure, one.break_even_fee) == (trades.exposure, trades.break_even_fee)
        assert one.turnover_per_day == pytest.approx(trades.turnover.sum() / (400 / 24))
        if trades.net.std() > 0:
            expected = trades.net.mean() / trades.net.std(ddof=1) * np.sqrt(365.25 * 24)
            assert one.sharpe == pytest.approx(expected, rel=1e-9)
            assert one.low <= one.sharpe <= one.high


def test_an_oracle_earns_and_a_useless_forecast_pays():
    oracle = replace(VALIDATION, forecasts=VALIDATION.targets)
    found = found_for((replace(INNER, forecasts=INNER.targets), oracle))
    assert found.of("sign", 0.0).income == pytest.approx(np.abs(VALIDATION.targets[:, 0].astype(float)).sum())
    assert found.of("sign").low > 0
    useless = make_judged(rows=3000, seed=5)
    lost = found_for((part_of(useless, slice(0, 1000)), part_of(useless, slice(1000, None))))
    assert lost.of("sign", 0.002).income < -1
    assert lost.of("sign", 0.002).high < 0
    assert abs(lost.of("sign", 0.0).sharpe) < 8
    assert lost.of("flat").income == lost.of("flat").turnover == 0
    assert lost.of("flat").sharpe is lost.of("flat").break_even_fee is None


def test_folds_choose_anew_and_carry_positions_over():
    whole = make_judged(rows=500, seed=3)
    inner, first, second = (part_of(whole, rows) for rows in (slice(0, 200), slice(200, 350), slice(350, 500)))
    split, joined = found_for((inner, first), (inner, second)), found_for((inner, part_of(whole, slice(200, 500))))
    assert split == joined
    assert split.of("long").turnover == 2
    other = replace(inner, targets=-inner.targets)
    anew = found_for((inner, first), (other, second))
    held = [
        positions(choose(thresholds(one, target_step=HOUR), fee=0.0), p.forecasts)
        for one, p in ((inner, first), (other, second))
    ]
    trades = trade(np.concatenate(held), schedule(part_of(whole, slice(200, 500)), target_step=HOUR), fee=0.0)
    assert anew.of("threshold", 0.0).income == trades.income
    assert anew.of("sign", 0.0) == split.of("sign", 0.0)


def test_without_inner_rows_the_threshold_never_trades_and_size_is_left_out():
    found = found_for((part_of(INNER, slice(0)), VALIDATION))
    assert found.rules == ["sign", "threshold", "long", "flat"]
    assert [one.turnover for one in found.scores if one.rule == "threshold"] == [0] * len(FEES)
    folds = (part_of(INNER, slice(0)), part_of(VALIDATION, slice(200))), (INNER, part_of(VALIDATION, slice(200, None)))
    assert "size" not in found_for(*folds).rules


def test_nothing_to_trade_gives_no_score():
    unknown = make_judged(rows=50, missing=1.0)
    assert found_for((INNER, unknown)) == found_for() == AfterCosts()
    assert after_costs([(INNER, VALIDATION)], target_step=0, block_length=6) == AfterCosts()


def test_one_row_has_an_income_but_no_sharpe_ratio():
    found = found_for((INNER, part_of(VALIDATION, slice(1))))
    assert found.of("long").sharpe is None
    assert found.of("long", 0.0).income == pytest.approx(float(VALIDATION.targets[0, 0]))


def test_blocks_of_traded_steps_span_the_time_of_blocks_of_rows():
    dense = make_judged(rows=800, every=HOUR // 4)
    assert found_for((INNER, dense), block_length=24).block_steps == 6
    assert found_for((INNER, VALIDATION), block_length=24).block_steps == 24


def test_curves_end_at_the_income_and_are_thinned():
    found = found_for((INNER, make_judged(rows=2000, seed=4)))
    assert [(one.rule, one.fee) for one in found.curves] == [
        ("sign", 0.0), ("sign", 0.001), ("threshold", 0.001), ("long", 0.001)
    ]  # fmt: skip
    for one in found.curves:
        assert len(one.income) == len(found.times) == CURVE_POINTS
        assert (one.income[0], one.income[-1]) == (0, pytest.approx(found.of(one.rule, one.fee).income))
    assert (found.times[0], found.times[-1]) == ("2023-11-14T22:13:20+00:00", "2024-02-06T06:13:20+00:00")


def test_scores_and_curves_come_back_from_json():
    found = found_for((INNER, VALIDATION))
    assert AfterCosts.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_equal_seeds_give_equal_intervals():
    one, two, other = (found_for((INNER, VALIDATION), seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.of("sign").low != other.of("sign").low


def test_the_interval_of_the_sharpe_ratio_covers_the_truth_of_returns_that_hang_together():
    """Autoregressive returns with a mean of a tenth of their standard deviation, one an hour."""
    generator, times, found = np.random.default_rng(0), START + HOUR * np.arange(600), []
    truth = 0.1 * np.sqrt(365.25 * 24)
    for seed in range(200):
        noise = generator.normal(size=650)
        for at in range(1, 650):
            noise[at] += 0.3 * noise[at - 1]
        net = noise[50:] * np.sqrt(1 - 0.3**2) + 0.1
        _, low, high = sharpe(net, times, Blocks(times, length=15, seed=seed))
        found.append(low <= truth <= high)
    assert 0.89 <= np.mean(found) <= 0.99


def test_too_few_blocks_give_a_sharpe_ratio_without_an_interval():
    times, net = START + HOUR * np.arange(50), np.random.default_rng(0).normal(size=50)
    value, low, high = sharpe(net, times, Blocks(times, length=20))
    assert value == pytest.approx(net.mean() / net.std(ddof=1) * np.sqrt(365.25 * 24))
    assert low is high is None
