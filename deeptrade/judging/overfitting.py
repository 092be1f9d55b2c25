"""How much of a backtest's result is choice? Of many trials without skill, the best one has a fine Sharpe ratio.

Two answers from net returns per step: the deflated Sharpe ratio asks whether the best is better than the best of as
many trials without skill; the probability of backtest overfitting, how often the best in one half of the time is poor
in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..errors import DataError, SettingsError
from ..units import count_of

LEAST_STEPS = 20
"""Fewer steps, or fewer than two in a part, say nothing."""

MOST_PARTS = 16
"""12,870 ways to choose half of them; the paper uses as many."""


@dataclass(frozen=True)
class DeflatedSharpe:
    """The Sharpe ratio per step of one strategy, chosen among `trials`, against `threshold`.

    threshold: per step, the expected maximum of so many trials without skill. probability: that the true Sharpe ratio
    is above zero with that choice allowed for; None where it is not known.
    """

    sharpe: float
    threshold: float
    probability: float | None
    trials: int
    steps: int


@dataclass(frozen=True)
class BacktestOverfitting:
    """How trials that were chosen in one half of the parts of time do in the other half, over all `splits` in halves.

    probability: the share of splits in which the chosen trial is no better than the median one; loss_share: the share
    in which its Sharpe ratio is below zero. None where there are too few trials or steps.
    """

    probability: float | None
    loss_share: float | None
    trials: int
    splits: int


def sharpe_ratios(returns: np.ndarray) -> np.ndarray:
    """Return the Sharpe ratio per step of each trial, float64 (trials,): mean over standard deviation, not annualized.

    returns: float (steps, trials), net. 0 where the returns of a trial never change, as those of one that never trades.
    """
    returns = np.asarray(returns, np.float64)
    if len(returns) < 2:
        return np.zeros(returns.shape[1])
    return _ratio(returns.mean(axis=0), returns.std(axis=0, ddof=1))


def deflated_sharpe(returns: np.ndarray, trial_sharpes: np.ndarray) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio (Bailey and Lopez de Prado 2014, "The deflated Sharpe ratio").

    returns: float (steps,), net returns per step of the chosen trial. Steps should be long enough to be nearly
    independent, such as days: the formula counts each. trial_sharpes: float (trials,), `sharpe_ratios` of all trials
    that it was chosen from, itself included; trials that are alike count as if they were independent, which is careful.
    With one trial the threshold is 0, and the probability that of the probabilistic Sharpe ratio.

    Raises DataError for returns or ratios that are not finite, SettingsError for no trials.
    """
    returns, trial_sharpes = _finite(returns, 1), _finite(trial_sharpes, 1)
    if not len(trial_sharpes):
        raise SettingsError("trial_sharpes is empty; give the Sharpe ratio of every trial, the chosen one included")
    sharpe = float(sharpe_ratios(returns[:, None])[0])
    threshold = expected_maximum(trial_sharpes)
    probability = _probability(returns, sharpe, threshold) if len(returns) >= LEAST_STEPS else None
    return DeflatedSharpe(sharpe, threshold, probability, len(trial_sharpes), len(returns))


def expected_maximum(trial_sharpes: np.ndarray) -> float:
    """Return the Sharpe ratio to expect of the best of so many trials without skill, whose ratios vary as these do.

    trial_sharpes: float (trials,), per step. The approximation of the paper to the expected maximum of normal numbers.
    """
    from scipy.stats import norm

    trials = len(trial_sharpes)
    if trials < 2:
        return 0.0
    first, second = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * np.e))
    expected = (1 - np.euler_gamma) * first + np.euler_gamma * second
    return float(np.std(trial_sharpes, ddof=1) * expected)


def _probability(returns: np.ndarray, sharpe: float, threshold: float) -> float | None:
    """Return the probability that the true ratio is above the threshold (Mertens 2002 for the standard error)."""
    from scipy.stats import kurtosis, norm, skew

    if np.ptp(returns) == 0:
        return None
    variance = 1 - skew(returns) * sharpe + (kurtosis(returns, fisher=False) - 1) / 4 * sharpe**2
    if not variance > 0:  # only returns of two values get there
        return None
    return float(norm.cdf((sharpe - threshold) * np.sqrt((len(returns) - 1) / variance)))


def backtest_overfitting(returns: np.ndarray, *, parts: int = 10) -> BacktestOverfitting:
    """Return the probability of backtest overfitting by combinatorially symmetric cross-validation.

    Of `parts` consecutive parts of time each half is taken once to choose the trial with the best Sharpe ratio, and the
    other half to rank it (Bailey, Borwein, Lopez de Prado and Zhu 2017, "The probability of backtest overfitting").
    Without skill it is about one half, near 0 where one trial is truly better.

    returns: float (steps, trials), net returns per step of all trials, in order of time.

    Raises DataError for returns that are not finite, SettingsError for `parts` that cannot be halved.
    """
    returns = _finite(returns, 2)
    if parts % 2 or not 2 <= parts <= MOST_PARTS:
        raise SettingsError(f"parts={parts!r} is not accepted; use an even number from 2 to {MOST_PARTS}")
    steps, trials = returns.shape
    if trials < 2 or steps < max(LEAST_STEPS, 2 * parts):
        return BacktestOverfitting(None, None, trials, 0)
    halves = np.array([np.isin(np.arange(parts), half) for half in combinations(range(parts), parts // 2)])
    chosen = _sharpes_of(returns, halves).argmax(axis=1)
    others = _sharpes_of(returns, ~halves)
    reached = others[np.arange(len(halves)), chosen]
    rank = 0.5 + (others < reached[:, None]).sum(axis=1) + (others == reached[:, None]).sum(axis=1) / 2
    logit = np.log(rank / (trials + 1 - rank))
    return BacktestOverfitting(float((logit <= 0).mean()), float((reached < 0).mean()), trials, len(halves))


def _sharpes_of(returns: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Return Sharpe ratios, float64 (splits, trials), over the parts that each row of bool (splits, parts) takes."""
    center = returns.mean(axis=0)  # the sums of squares are of differences from it, so that digits stay
    parts = np.array_split(returns - center, halves.shape[1])
    counts = halves @ np.array([float(len(part)) for part in parts])[:, None]
    mean = (halves @ np.stack([part.sum(axis=0) for part in parts])) / counts
    squares = halves @ np.stack([(part**2).sum(axis=0) for part in parts])
    variance = np.maximum(squares - counts * mean**2, 0) / (counts - 1)
    return _ratio(center + mean, np.sqrt(np.where(variance > 1e-14 * squares, variance, 0)))


def _ratio(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.where(deviation > 0, mean / np.where(deviation > 0, deviation, 1), 0.0)


def _finite(values: np.ndarray, dimensions: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != dimensions:
        names = ("(steps,) or (trials,)", "(steps, trials)")[dimensions - 1]
        raise SettingsError(f"numbers of shape {values.shape} are not accepted; give {names}")
    if not np.isfinite(values).all():
        raise DataError(
            f"{count_of(int((~np.isfinite(values)).sum()), 'number')} of {values.size:,} not finite; give the net "
            "return of every step, 0 where nothing is held"
        )
    return values
