import numpy as np
import pytest

from deeptrade.judging.contest import contest
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
