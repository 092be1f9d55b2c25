import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from deeptrade.errors import DataError, SettingsError
from deeptrade.judging.overfitting import (
    backtest_overfitting,
    deflated_sharpe,
    expected_maximum,
    sharpe_ratios,
)


def noise(seed, *, steps=500, trials=20):
    return np.random.default_rng(seed).standard_t(5, (steps, trials)) / 100


def naive_sharpe(returns):
    return statistics.fmean(returns) / statistics.stdev(returns)


def naive_deflated(returns, sharpes):
    """Spelled as in the paper, number by number."""
    normal, count, size = statistics.NormalDist(), len(sharpes), len(returns)
    first, second = normal.inv_cdf(1 - 1 / count), normal.inv_cdf(1 - 1 / (count * math.e))
    euler = 0.57721566490153286
    threshold = statistics.stdev(sharpes) * ((1 - euler) * first + euler * second)
    mean, sharpe = statistics.fmean(returns), naive_sharpe(returns)
    moments = [math.fsum((one - mean) ** power for one in returns) / size for power in (2, 3, 4)]
    skewness, kurtosis = moments[1] / moments[0] ** 1.5, moments[2] / moments[0] ** 2
    error = math.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    return threshold, normal.cdf((sharpe - threshold) * math.sqrt(size - 1) / error)


def naive_overfitting(returns, parts):
    """Spelled with lists: every half of the parts chooses, the other half ranks."""
    steps, trials = returns.shape
    pieces = [[int(step) for step in piece] for piece in np.array_split(np.arange(steps), parts)]
    logits, losses = [], 0
    for half in itertools.combinations(range(parts), parts // 2):
        inside = [step for part in half for step in pieces[part]]
        outside = [step for part in range(parts) if part not in half for step in pieces[part]]
        found = [[naive_sharpe(returns[rows, trial].tolist()) for trial in range(trials)] for rows in (inside, outside)]
        best = found[0].index(max(found[0]))
        share = (1 + sum(one < found[1][best] for one in found[1])) / (trials + 1)
        logits.append(math.log(share / (1 - share)))
        losses += found[1][best] < 0
    return sum(one <= 0 for one in logits) / len(logits), losses / len(logits)


def test_the_deflated_sharpe_ratio_is_that_of_the_paper():
    returns = noise(1) + 0.0005
    returns[:, 3] += 0.3 * returns[:, 3] ** 2 * 100  # skewed
    sharpes = sharpe_ratios(returns)
    np.testing.assert_allclose(sharpes, [naive_sharpe(one.tolist()) for one in returns.T], rtol=1e-9)
    for trial in range(5):
        found = deflated_sharpe(returns[:, trial], sharpes)
        threshold, probability = naive_deflated(returns[:, trial].tolist(), sharpes.tolist())
        assert (found.trials, found.steps) == (20, 500)
        assert found.sharpe == pytest.approx(sharpes[trial], rel=1e-9)
        assert found.threshold == pytest.approx(threshold, rel=1e-9)
        assert found.probability == pytest.approx(probability, rel=1e-9)


def test_the_papers_example_is_reproduced():
    # Section "A numerical example": 100 trials, their annual ratios vary by 1/2, 1250 days, skewness -3, kurtosis 10.
    sharpes = np.random.default_rng(0).normal(size=100)
    sharpes *= np.sqrt(0.5 / 250) / np.std(sharpes, ddof=1)
    threshold = expected_maximum(sharpes)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    sharpe = 2.5 / np.sqrt(250)
    error = np.sqrt((1 + 3 * sharpe + 9 / 4 * sharpe**2) / 1249)
    assert stats.norm.cdf((sharpe - threshold) / error) == pytest.approx(0.9004, abs=5e-4)


def test_one_trial_without_skill_has_any_probability_alike():
    found = [deflated_sharpe(one, sharpe_ratios(one[:, None])).probability for one in noise(2, trials=400).T]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_best_of_many_without_skill_rarely_looks_skilled_and_a_skilled_one_does():
    best, alone, skilled = [], [], []
    for seed in range(200):
        returns = noise(seed, steps=250)
        sharpes = sharpe_ratios(returns)
        chosen = returns[:, sharpes.argmax()]
        best.append(deflated_sharpe(chosen, sharpes).probability)
        alone.append(deflated_sharpe(chosen, sharpes[:1]).probability)
        returns[:, 0] += 0.005
        skilled.append(deflated_sharpe(returns[:, 0], sharpe_ratios(returns)).probability)
    assert np.mean(best) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(best) > 0.95) <= 0.05
    assert np.mean(np.array(alone) > 0.95) > 0.5  # what counting the trials is for
    assert np.mean(np.array(skilled) > 0.95) > 0.8


@pytest.mark.parametrize(("parts", "steps", "trials"), [(2, 40, 2), (4, 61, 5), (6, 100, 8)])
def test_the_probability_of_overfitting_is_that_of_a_plain_loop(parts, steps, trials):
    for seed in range(3):
        returns = noise(seed, steps=steps, trials=trials)
        found = backtest_overfitting(returns, parts=parts)
        assert (found.probability, found.loss_share) == pytest.approx(naive_overfitting(returns, parts), rel=1e-9)
        assert (found.trials, found.splits) == (trials, math.comb(parts, parts // 2))


def test_without_skill_the_chosen_is_as_often_poor_as_good_and_a_skilled_one_is_not_overfitted():
    found = [backtest_overfitting(noise(seed)) for seed in range(150)]
    assert np.mean([one.probability for one in found]) == pytest.approx(0.5, abs=0.06)
    assert {one.splits for one in found} == {252}
    returns = noise(0)
    returns[:, 7] += 0.005
    skilled = backtest_overfitting(returns)
    assert skilled.probability < 0.05
    assert skilled.loss_share < 0.05


def test_trials_that_never_trade_have_a_ratio_of_zero_and_are_not_known_to_be_good():
    still = np.zeros((100, 1))
    assert sharpe_ratios(still).tolist() == [0.0]
    assert deflated_sharpe(still[:, 0], np.zeros(3)).probability is None
    assert backtest_overfitting(np.concatenate([still, still], axis=1)).probability == 1.0
    losing = noise(3, steps=100, trials=1) - 0.01
    assert backtest_overfitting(np.concatenate([still, losing], axis=1)).probability == 0.0


def test_returns_on_a_high_level_lose_no_digits():
    returns = noise(4, steps=100, trials=4)
    found = backtest_overfitting(returns + 1e3, parts=4)
    assert found.probability == naive_overfitting(returns + 1e3, 4)[0]


def test_too_little_is_not_known():
    assert backtest_overfitting(noise(0, trials=1)).probability is None
    assert backtest_overfitting(noise(0, steps=19)).probability is None
    assert deflated_sharpe(noise(0, steps=19)[:, 0], np.zeros(2)).probability is None
    assert sharpe_ratios(np.empty((0, 2))).tolist() == [0.0, 0.0]


def test_what_cannot_be_used_is_refused_in_one_line():
    broken = noise(0)
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="1 number of 10,000 not finite; give the net return of every step"):
        backtest_overfitting(broken)
    with pytest.raises(DataError, match="not finite"):
        deflated_sharpe(broken[:, 1], np.zeros(2))
    for parts in (5, 0, 18):
        with pytest.raises(SettingsError, match=f"parts={parts} is not accepted; use an even number from 2 to 16"):
            backtest_overfitting(noise(0), parts=parts)
    with pytest.raises(SettingsError, match="trial_sharpes is empty"):
        deflated_sharpe(noise(0)[:, 0], [])
    with pytest.raises(SettingsError, match=r"shape \(500,\) are not accepted; give \(steps, trials\)"):
        backtest_overfitting(noise(0)[:, 0])
