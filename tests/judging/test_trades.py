"""Trades against a loop over pandas rows, one after the other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrade.judging.trades import schedule, trade
from tests.support.judged import HOUR, make_judged


def loop(positions, judged, *, step, fee):
    """Net return and turnover by time step, as a trader with an order book of one line per market would note them."""
    table = pd.DataFrame({"time": judged.times, "market": judged.markets, "position": positions})
    table["return"] = judged.targets[:, 0].astype(float)
    table["known"] = np.isfinite(judged.forecasts).all(axis=1) & np.isfinite(judged.targets[:, 0])
    turns = []
    for _, rows in table.groupby("market", sort=False):
        free, taken = None, []
        for row in rows.itertuples():
            if row.known and (free is None or row.time >= free):
                taken.append(row)
                free = row.time + step
        held = 0.0
        for number, row in enumerate(taken):
            changed = abs(row.position - held)
            held = row.position
            earned = held * rows.loc[row.Index, "return"]
            if number + 1 == len(taken) or taken[number + 1].time - row.time > 1.5 * step:
                changed += abs(held)
                held = 0.0
            turns.append((row.time, earned, changed))
    stake = 1 / table["market"].nunique()
    if not turns:
        return pd.DataFrame({"net": [], "turnover": []})
    turns = pd.DataFrame(turns, columns=["time", "earned", "changed"]).assign(net=lambda t: t.earned - fee * t.changed)
    by_step = turns.groupby((turns["time"] - turns["time"].min()) // step)
    return pd.DataFrame({"net": by_step["net"].sum() * stake, "turnover": by_step["changed"].sum() * stake})


def agrees_with_the_loop(judged, positions, *, fee, step=HOUR):
    found = trade(positions, schedule(judged, target_step=step), fee=fee)
    expected = loop(positions, judged, step=step, fee=fee)
    np.testing.assert_allclose(found.net, expected["net"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.turnover, expected["turnover"], rtol=0, atol=1e-9)
    curve = expected["net"].cumsum()
    assert found.income == pytest.approx(expected["net"].sum(), abs=1e-9)
    assert found.drawdown == pytest.approx((curve.cummax().clip(lower=0) - curve).max() if len(curve) else 0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    markets=st.integers(1, 3),
    every=st.sampled_from([HOUR // 4, HOUR, HOUR + HOUR // 5]),
    missing=st.sampled_from([0.0, 0.2, 1.0]),
    gaps=st.integers(0, 5),
    fee=st.sampled_from([0.0, 0.001]),
)
def test_net_returns_equal_those_of_a_plain_loop(seed, markets, every, missing, gaps, fee):
    generator = np.random.default_rng(seed)
    judged = make_judged(rows=80, markets=markets, every=every, missing=missing, gaps=gaps, seed=seed)
    agrees_with_the_loop(judged, generator.choice([-1, -0.3, 0, 0.7, 1], len(judged.times)), fee=fee)


def test_a_position_is_held_until_it_changes_and_closed_at_a_gap_and_at_the_end():
    judged = make_judged(rows=6, returns=[0.01, 0.02, -0.01, 0.03, 0.01, 0.0])
    judged.times[3:] += 5 * HOUR
    plan = schedule(judged, target_step=HOUR)
    found = trade(np.array([1.0, 1, -1, -1, 0, 0.5]), plan, fee=0.001)
    assert found.turnover.tolist() == [1, 0, 3, 1, 1, 1]
    np.testing.assert_allclose(found.gross, [0.01, 0.02, 0.01, -0.03, 0, 0], atol=1e-9)
    assert found.income == pytest.approx(0.01 - 0.007, abs=1e-9)
    assert found.exposure == pytest.approx(4.5 / 6)


def test_a_row_that_is_late_by_less_than_half_a_step_is_no_gap():
    judged = make_judged(rows=3)
    judged.times[2] += HOUR // 2
    assert schedule(judged, target_step=HOUR).ends.tolist() == [False, False, True]
    judged.times[2] += 1
    assert schedule(judged, target_step=HOUR).ends.tolist() == [False, True, True]


def test_positions_in_a_market_do_not_overlap_where_rows_are_denser_than_steps():
    judged = make_judged(rows=12, every=HOUR // 4)
    assert schedule(judged, target_step=HOUR).rows.tolist() == [0, 4, 8]
    judged.targets[4, 0] = np.nan
    judged.forecasts[6, 1] = np.nan
    assert schedule(judged, target_step=HOUR).rows.tolist() == [0, 5, 9]


def test_markets_share_the_stake_and_their_turns_within_one_step_are_one_step():
    judged = make_judged(rows=4, markets=2, returns=[0.01, 0.03] * 4)
    judged.times[1::2] += HOUR // 4
    found = trade(np.ones(8), schedule(judged, target_step=HOUR), fee=0.0)
    np.testing.assert_allclose(found.gross, [0.02] * 4, atol=1e-9)
    assert found.turnover.tolist() == [1, 0, 0, 1]
    assert (found.times == judged.times[::2]).all()


def test_at_the_break_even_fee_nothing_is_earned():
    judged = make_judged(rows=200, markets=2, gaps=3)
    positions = np.random.default_rng(1).choice([-1.0, 0, 1], len(judged.times))
    plan = schedule(judged, target_step=HOUR)
    fee = trade(positions, plan, fee=0.0).break_even_fee
    assert trade(positions, plan, fee=fee).income == pytest.approx(0, abs=1e-12)
    assert trade(positions, plan, fee=0.005).break_even_fee == fee
    assert trade(0 * positions, plan, fee=0.0).break_even_fee is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 160), every=st.sampled_from([HOUR // 4, HOUR]))
def test_altering_later_rows_changes_nothing_that_was_earned_before(seed, cut, every):
    """When the next row comes tells whether a position is closed, so fees may differ in the last steps before."""
    judged = make_judged(rows=80, markets=2, every=every, missing=0.1, gaps=2, seed=seed)
    generator = np.random.default_rng(seed)
    positions = generator.choice([-1.0, 0, 1], len(judged.times))
    before = trade(positions, schedule(judged, target_step=HOUR), fee=0.001)
    cut_time = judged.times[min(cut, len(judged.times) - 1)]
    later = judged.times >= cut_time
    judged.targets[later] = generator.normal(0, 9, judged.targets[later].shape)
    judged.forecasts[later] = np.where(generator.random(judged.forecasts[later].shape) < 0.3, np.nan, 9)
    judged.times[later] += generator.integers(1, 9) * HOUR
    after = trade(np.where(later, -positions, positions), schedule(judged, target_step=HOUR), fee=0.001)
    ended = (before.times + HOUR <= cut_time).sum()
    assert before.gross[:ended].tobytes() == after.gross[:ended].tobytes()
    settled = (before.times + 3 * HOUR <= cut_time).sum()
    assert before.net[:settled].tobytes() == after.net[:settled].tobytes()


def test_without_a_known_step_or_a_known_row_nothing_is_traded():
    for judged, step in ((make_judged(rows=5), 0), (make_judged(rows=5, missing=1.0), HOUR)):
        plan = schedule(judged, target_step=step)
        found = trade(np.ones(5), plan, fee=0.0)
        assert (len(plan.rows), len(plan.times), found.income, found.drawdown, found.exposure) == (0, 0, 0, 0, 0)
