import numpy as np
import pandas as pd
import pytest

from deeptrade.judging.backtests import backtests
from deeptrade.judging.overfitting import backtest_overfitting, deflated_sharpe
from deeptrade.training.judged import Judged

HOUR = 3_600_000_000_000


def judged(seed, *, skill=0.0, rows=2400):
    generator, truth = np.random.default_rng(seed), np.random.default_rng(0)
    targets = truth.normal(0, 0.01, (rows, 1)).astype(np.float32)
    forecasts = (skill * targets + generator.normal(0, 0.01, targets.shape)).astype(np.float32)
    times = 1_700_000_000_000_000_000 // HOUR * HOUR + HOUR * np.arange(rows)
    return Judged(np.arange(rows), times, np.full(rows, "", object), forecasts, targets)


def daily_returns(one):
    """The plain way: a loop over rows, then pandas by day."""
    net, before = [], 0.0
    for at, forecast in enumerate(one.forecasts[:, 0]):
        position = float(np.sign(forecast))
        cost = abs(position - before) + (abs(position) if at == len(one.forecasts) - 1 else 0.0)
        net.append(position * float(one.targets[at, 0]) - 0.001 * cost)
        before = position
    return pd.Series(net, index=pd.to_datetime(one.times)).groupby(lambda time: time.date()).sum()


def test_what_is_left_of_the_best_backtest_is_that_of_plain_daily_returns():
    some = {"a": judged(1), "b": judged(2, skill=1.0), "c": judged(3)}
    found = backtests(some, target_step=HOUR, block_length=5)
    returns = pd.DataFrame({name: daily_returns(one) for name, one in some.items()})
    ratios = returns.mean() / returns.std(ddof=1)
    assert [one.name for one in found.found] == ratios.sort_values(ascending=False).index.tolist()
    assert found.found[0].name == "b"
    assert found.found[0].income == pytest.approx(returns["b"].sum(), abs=1e-9)
    assert found.deflated.probability == pytest.approx(
        deflated_sharpe(returns["b"].to_numpy(), ratios.to_numpy()).probability, abs=1e-9
    )
    expected = backtest_overfitting(returns[[*some]].to_numpy())
    assert found.overfitting.probability == pytest.approx(expected.probability, abs=1e-9)


def test_the_best_of_many_without_skill_is_not_taken_for_skill():
    found = backtests({f"run {n}": judged(100 + n) for n in range(12)}, target_step=HOUR, block_length=5)
    assert found.deflated.trials == 12
    assert found.deflated.probability < 0.95
    assert found.overfitting.splits == 252


def test_one_candidate_or_no_tradable_row_has_none():
    assert backtests({"a": judged(1)}, target_step=HOUR, block_length=5) is None
    nothing = judged(1)
    nothing.targets[:] = np.nan
    assert backtests({"a": nothing, "b": nothing}, target_step=HOUR, block_length=5) is None
