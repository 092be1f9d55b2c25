"""The joint verdict: rarely wrong where there is no skill, nearly always right where there is."""

import numpy as np
import pytest

from deeptrade.judging.resampling import Blocks, block_length
from deeptrade.judging.scores import score
from deeptrade.judging.verdict import LEVEL, Verdict, decide, joint_test

HORIZONS = 5


def judged(seed, *, skill=0.0, rows=1500, size=1e-3, trials=1):
    """The verdict on forecasts of overlapping returns whose volatility clusters."""
    generator = np.random.default_rng(seed)
    volatility = np.exp(np.convolve(generator.normal(size=rows + 300), np.exp(-np.arange(100) / 30), "valid") / 8)
    steps = volatility[: rows + HORIZONS] * generator.standard_t(5, rows + HORIZONS)
    along = np.concatenate([[0], steps.cumsum()])
    targets = np.stack([along[h : h + rows] - along[:rows] for h in range(1, HORIZONS + 1)], axis=1)
    smooth = np.convolve(generator.normal(size=rows + 30), np.ones(10), "valid")[:rows, None]
    noise = 0.7 * smooth + generator.normal(size=(rows, HORIZONS))
    forecasts = size * (noise * volatility[:rows, None] + skill * targets)
    times = np.arange(rows)
    length = block_length([forecasts[:, h] * targets[:, h] for h in (0, 4)], times, overlap=HORIZONS)
    blocks = Blocks(times, length=length, seed=seed)
    zero = {"zero": np.zeros_like(targets)}
    _, resampled = score(forecasts, targets, zero, training_mean=np.zeros(HORIZONS), blocks=blocks)
    return decide(resampled["rank_ic"], resampled["mae_gain_zero"], rows=rows, begin="", end="", trials=trials)


def test_without_skill_there_is_rarely_evidence_of_it():
    kinds = [judged(seed).kind for seed in range(100)]
    assert kinds.count("evidence") <= 8  # 2.5 are expected


def test_skill_is_found_at_all_horizons():
    found = [judged(seed, skill=0.5) for seed in range(10)]
    assert all(one.kind == "evidence" for one in found)
    assert sum(len(one.horizons) for one in found) >= 45


def test_forecasts_that_are_far_too_large_are_worse_than_zero():
    assert [judged(seed, size=1.0).kind for seed in range(10)].count("worse") >= 9


def test_the_best_of_many_tries_needs_more_evidence():
    once, often = judged(3, skill=0.06), judged(3, skill=0.06, trials=500)
    assert once.joint_p < often.joint_p <= 1
    assert often.kind == "none"


def test_the_joint_p_is_that_of_the_largest_statistic_in_a_plain_spelling():
    values = np.random.default_rng(0).multivariate_normal(np.zeros(3), [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]], 1001)
    values[0] = [1.0, 2.5, 0.1]
    error = values[1:].std(axis=0, ddof=1)
    largest = ((values[1:] - values[0]) / error).max(axis=1)
    found = joint_test(values)
    assert found.p == pytest.approx((1 + (largest >= (values[0] / error).max()).sum()) / 1001)


def test_stepping_down_finds_what_the_largest_alone_hides():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(1001, 3))
    values[0] = [9.0, 2.2, -1.0]
    values[1:] += values[0]
    assert joint_test(values).horizons == [1, 2]
    assert LEVEL == 0.025


@pytest.mark.parametrize("values", [np.zeros((1, 2)), np.full((1001, 2), np.nan), np.zeros((1001, 2))])
def test_without_resamples_or_spread_nothing_is_known(values):
    found = joint_test(values)
    assert (found.p, found.horizons) == (None, [])


@pytest.mark.parametrize(
    ("kind", "horizons", "p", "sentence"),
    [
        ("unknown", [], None, "Nothing can be said of skill: too few independent rows."),
        ("none", [], 0.2345, "No evidence of skill (joint p = 0.23)."),
        ("evidence", [1, 3], 0.001, "Evidence of skill at 1h, 3h (joint p = 0.001)."),
        ("worse", [10], 0.01, "Worse than zero at 10h (joint p = 0.01)."),
    ],
)
def test_the_verdict_is_one_of_few_sentences(kind, horizons, p, sentence):
    verdict = Verdict(kind, horizons, p, 1234, "2026-01-02T00:00:00+00:00", "2026-03-04T00:00:00+00:00", trials=3)
    assert verdict.sentence("1h") == sentence
    assert verdict.basis() == "by rank IC on 1,234 rows, 2026-01-02 to 2026-03-04, the best of 3 trials"
    assert Verdict("evidence", [2], 0.01, 5, "", "").sentence() == "Evidence of skill at 2 steps (joint p = 0.01)."
