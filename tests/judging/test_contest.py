import functools

import numpy as np
import pytest
from scipy.stats import spearmanr

from deeptrade.judging.contest import contest, evidence_of_skill
from deeptrade.judging.evaluation import judge
from deeptrade.training.judged import Judged


def judged(seed, *, skill=0.0, rows=2000, noise=0.3, outcomes=0, markets=("",)):
    generator, truth = np.random.default_rng(seed), np.random.default_rng(1000 + outcomes)
    targets = truth.standard_t(5, (rows, 2)).astype(np.float32)
    forecasts = (skill * targets + noise * generator.normal(size=(rows, 2))).astype(np.float32)
    times = 10**9 * np.repeat(np.arange(rows // len(markets)), len(markets))
    return Judged(np.arange(rows), times, np.array(markets * (rows // len(markets)), object), forecasts, targets)


def test_models_without_skill_cannot_be_told_apart():
    alone = [len(contest({f"run {n}": judged(20 * s + n, outcomes=s) for n in range(8)}).worse) for s in range(15)]
    assert np.mean(np.array(alone) == 0) >= 0.8


def test_a_better_model_is_told_from_the_others_and_two_good_ones_are_not_told_apart():
    poor = {"a": judged(1), "b": judged(2)}
    found = contest(poor | {"good": judged(3, skill=0.3)})
    assert (found.alike, set(found.worse)) == (["good"], {"a", "b"})
    assert found.verdict.startswith("good is better than the others on the same 2,000 rows, 1970-01-01 to 1970-01-01")
    found = contest(poor | {"good": judged(3, skill=0.3), "fine": judged(4, skill=0.3)})
    assert set(found.alike) == {"good", "fine"}
    assert "cannot be told apart, " in found.verdict


def test_runs_with_equal_forecasts_are_alike():
    found = contest({"one": judged(1), "two": judged(1)})
    assert (found.alike, found.worse) == (["one", "two"], [])
    assert found.verdict.startswith("They cannot be told apart on the same 2,000 rows")


@pytest.mark.parametrize(
    "others",
    [{}, {"b": judged(2, rows=1000)}, {"b": judged(2, outcomes=5)}, {"b": judged(2, markets=("A", "B"))}],
    ids=["alone", "fewer rows", "other targets", "other markets"],
)
def test_models_on_other_rows_have_no_contest(others):
    assert contest({"a": judged(1)} | others) is None


def test_too_few_rows_have_no_contest():
    assert contest({"a": judged(1, rows=30), "b": judged(2, rows=30)}) is None


def test_what_is_written_is_read_back(tmp_path):
    one = judged(1, markets=("A", "köln"))
    one.forecasts[3, 1] = one.targets[4, 0] = np.nan
    one.write(tmp_path / "forecasts.parquet")
    again = Judged.read(tmp_path / "forecasts.parquet")
    assert again.is_on_rows_of(one)
    np.testing.assert_array_equal(again.forecasts, one.forecasts)
    np.testing.assert_array_equal(again.rows, one.rows)


def naive_ratio(one):
    """MAE over zero's, averaged over horizons."""
    errors, sizes = np.abs(one.targets - one.forecasts), np.abs(one.targets)
    return float(np.mean([errors[:, h].mean() / sizes[:, h].mean() for h in range(errors.shape[1])]))


def test_every_model_stands_beside_the_best_with_an_interval_from_blocks():
    given = {"poor": judged(1, noise=0.6), "good": judged(3, skill=0.3), "fine": judged(4, skill=0.3)}
    found = contest(given)
    assert [one.name for one in found.pairs] == found.alike + found.worse
    best, second, last = found.pairs
    assert (best.difference, best.low, best.high) == (0, 0, 0)
    for one in found.pairs:
        assert one.error == pytest.approx(naive_ratio(given[one.name]), rel=1e-6)
        assert one.difference == pytest.approx(one.error - best.error, abs=1e-12)
    assert second.low < 0 < second.high
    assert last.low > 0
    # The rows here are independent: the interval is about that of the normal distribution.
    relative = [np.abs(given[name].targets - given[name].forecasts) for name in (last.name, best.name)]
    steps = ((relative[0] - relative[1]) / np.abs(given["poor"].targets).mean(axis=0)).mean(axis=1)
    width = 2 * 1.96 * steps.std() / np.sqrt(len(steps))
    assert last.high - last.low == pytest.approx(width, rel=0.15)


def test_the_interval_beside_the_best_covers_the_true_difference():
    held = 0
    for seed in range(60):
        found = contest({"a": judged(seed, outcomes=seed), "b": judged(seed + 900, noise=0.45, outcomes=seed)})
        truth = ratio_of_many(0.45) - ratio_of_many(0.3)
        held += found.pairs[1].low <= truth <= found.pairs[1].high
    assert held / 60 > 0.85


@functools.cache
def ratio_of_many(noise):
    return naive_ratio(judged(5, noise=noise, rows=400_000, outcomes=5))


def test_equal_forecasts_differ_by_nothing():
    one, two = contest({"one": judged(1), "two": judged(1)}).pairs
    assert (two.difference, two.low, two.high) == (0, 0, 0)
    assert one.error == two.error


def test_the_mean_of_forecasts_is_taken_cell_by_cell():
    some = [judged(seed) for seed in range(3)]
    some[1].forecasts[7, 0] = np.nan
    found = some[0].mean_with(some[1:])
    for row, horizon in ((0, 0), (7, 1), (1999, 1)):
        expected = sum(float(one.forecasts[row, horizon]) for one in some) / 3
        assert found.forecasts[row, horizon] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(found.forecasts).sum() == 1
    assert found.is_on_rows_of(some[0])
    assert found.forecasts.dtype == np.float32


@pytest.mark.parametrize(("skill", "markets"), [(0.0, ("",)), (0.1, ("",)), (0.1, ("A", "B"))])
def test_the_verdict_on_one_trial_is_that_of_its_evaluation(skill, markets):
    one = judged(1, skill=skill, markets=markets)
    evaluation = judge(one, {"zero": np.zeros_like(one.targets)}, target_step=10**9, overlap=2)
    assert evidence_of_skill(one, block_steps=evaluation.block_steps, trials=1) == evaluation.verdict


def rank_ic(one):
    return max(spearmanr(one.forecasts[:, h], one.targets[:, h]).statistic for h in range(2))


def test_the_best_of_many_without_skill_has_evidence_only_where_trials_are_not_counted():
    counted, alone = 0, 0
    for seed in range(30):
        tried = {f"run {n}": judged(50 * seed + n, outcomes=seed, rows=1000) for n in range(10)}
        best = max(tried.values(), key=rank_ic)  # the worst case: chosen by what is tested
        counted += evidence_of_skill(best, block_steps=4, trials=10).kind == "evidence"
        alone += evidence_of_skill(best, block_steps=4, trials=1).kind == "evidence"
    assert counted <= 3
    assert alone >= 5
