from dataclasses import replace

import numpy as np
import pytest

from deeptrade.judging.costs import FEES
from deeptrade.trading.account import NAMES, RIVALS, Account
from deeptrade.trading.accounting import DRAWS, Played, account_for, all_fees
from deeptrade.trading.choice import Chosen
from tests.support.agents import HOUR, POSITIONS, gappy_market, plain_income

FEE, SLIPPAGE = 0.001, 0.0002
CHOSEN = Chosen(FEE + SLIPPAGE, 0.9, 3, 0.1, True, 0.01, 12, np.linspace(-0.1, 0.2, 12).tolist())


def positions_of(market, seed):
    return np.random.default_rng(seed).choice(POSITIONS, len(market.plan.rows))


def account_of(market, held, *, networks=(), fee=FEE):
    fees = all_fees(fee)
    played = Played(dict.fromkeys(fees, held), dict.fromkeys(fees, -held), networks)
    return account_for(
        market,
        gappy_market(seed=9),
        played,
        CHOSEN,
        fee=fee,
        slippage=SLIPPAGE,
        options=POSITIONS,
        target_step=HOUR,
        block_length=6,
    )


@pytest.fixture(scope="module")
def market():
    return gappy_market(rows=400)


@pytest.fixture(scope="module")
def held(market):
    return positions_of(market, seed=1)


@pytest.fixture(scope="module")
def account(market, held):
    return account_of(market, held, networks=[positions_of(market, seed) for seed in range(3)])


@pytest.mark.parametrize("fee", FEES)
def test_at_every_fee_incomes_are_those_of_a_plain_loop_with_slippage(account, market, held, fee):
    cost = fee + SLIPPAGE
    assert account.of("agent", fee).income == pytest.approx(plain_income(market, held, cost), abs=1e-12)
    assert account.of("candidate", fee).income == pytest.approx(plain_income(market, -held, cost), abs=1e-12)
    always = plain_income(market, np.ones(len(held)), cost)
    assert account.of("long", fee).income == pytest.approx(always, abs=1e-12)
    sign = np.sign(market.judged.forecasts[market.plan.rows, 0]).astype(np.float64)
    assert account.of("sign_first", fee).income == pytest.approx(plain_income(market, sign, cost), abs=1e-12)


def test_a_told_fee_that_is_not_in_the_list_is_added(market, held):
    found = account_of(market, held, fee=0.0007)
    assert found.fees == sorted({*FEES, 0.0007})
    assert found.of("agent").fee == 0.0007


def test_every_policy_is_told_at_every_fee_and_none_beats_hindsight(account):
    for fee in account.fees:
        assert [one.policy for one in account.scores if one.fee == fee] == list(NAMES)
        ceiling = account.of("hindsight", fee).income
        assert all(account.of(name, fee).income <= ceiling + 1e-12 for name in NAMES)


def test_at_the_break_even_fee_the_same_positions_earn_nothing(account, market, held):
    bearable = account.of("agent").break_even_fee
    assert plain_income(market, held, bearable) == pytest.approx(0, abs=1e-9)


def test_the_agent_is_compared_with_flat_and_with_the_best_rival(account):
    incomes = {name: account.of(name).income for name in RIVALS}
    best = max(incomes, key=incomes.get)
    assert account.best_against.policy == best
    agent = account.of("agent").income
    assert account.flat_against.difference == pytest.approx(agent, abs=1e-12)
    assert account.best_against.difference == pytest.approx(agent - incomes[best], abs=1e-12)
    assert account.flat_against.low < agent < account.flat_against.high


def test_turnover_is_split_by_what_was_done(account):
    agent = account.of("agent")
    assert sum(account.costs.values()) == pytest.approx(agent.turnover)
    assert set(account.costs) == {"opened", "closed", "turned", "closed_at_ends"}


def test_networks_alone_and_random_policies_are_paid_for_as_the_agent_is(account, market):
    alone = [plain_income(market, positions_of(market, seed), FEE + SLIPPAGE) for seed in range(3)]
    assert account.seeds == pytest.approx(alone, abs=1e-12)
    assert len(account.random) == DRAWS
    agent = account.of("agent")
    assert agent.percentile == pytest.approx(np.mean(np.array(account.random) < agent.income))


def test_curves_end_at_the_incomes(account):
    for curve in account.curves:
        assert len(curve.income) == len(account.times)
        assert curve.income[0] == 0
        assert curve.income[-1] == pytest.approx(account.of(curve.policy).income, abs=1e-12)


def test_positions_that_are_never_taken_cost_nothing_and_break_even_nowhere(market, held):
    found = account_of(market, 0 * held)
    assert not found.trades
    assert found.of("agent").income == 0
    assert found.of("agent").break_even_fee is None
    assert found.of("agent").hit_rate is None
    assert found.flat_against.difference == 0


def test_an_account_is_read_as_it_was_written(account):
    assert Account.from_json(account.to_json()) == account
    assert Account.from_json(account.to_json() | {"of_a_later_version": 1}) == account


def test_spans_below_two_days_are_a_day(account):
    assert replace(account, days=1.2).span == "a day"
    assert replace(account, days=1234.5).span == "1,234 days"
