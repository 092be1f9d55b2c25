import json
import shutil
import time

import numpy as np
import pytest
from scipy import stats

from deeptrade.cli import main
from deeptrade.errors import DataError, DoesNotFitError
from deeptrade.files import write_json
from deeptrade.judging.evaluate import evaluate
from deeptrade.judging.evaluation import Evaluation, judge, read_evaluation
from deeptrade.judging.periods import regimes
from deeptrade.report import tables
from deeptrade.training.judged import Judged


def test_a_finished_run_is_evaluated_and_another_file_refused(finished_run, tmp_path, market):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    data = finished_run.parent / "market.csv"
    judged = evaluate(run, data=data)
    content = json.loads((run / "evaluation.json").read_text())
    result = json.loads((run / "result.json").read_text())
    assert content["weights_sha256"] == result["weights_sha256"]
    assert read_evaluation(run / "evaluation.json", weights_sha256=result["weights_sha256"]) == judged
    assert read_evaluation(run / "evaluation.json", weights_sha256="another") == Evaluation()
    assert read_evaluation(run / "none.json", weights_sha256="") == Evaluation()
    kept = Judged.read(run / "forecasts.parquet")
    np.testing.assert_allclose(
        np.abs(kept.targets - kept.forecasts).mean(axis=0), result["validation"]["mae"], rtol=1e-5
    )
    for metric, told in (("mae", "mae"), ("zero_mae", "zero_mae"), ("direction", "directional_accuracy")):
        assert [one.value for one in judged.of(metric)] == pytest.approx(result["validation"][told], rel=1e-5)
    assert (content["trials"], content["joint_p"]) == (1, None)
    assert content["verdict"] == "Nothing can be said of skill: too few independent rows."
    assert len(tables.scores(judged)) == len(tables.gains(judged)) == 2
    assert tables.verdict(judged).endswith(
        "too few independent rows; by rank IC on 10 rows, 2023-11-16 to 2023-11-16, one trial."
    )
    with pytest.raises(DataError, match="is not the data of this run"):
        evaluate(run, data=market.path)


def test_a_run_that_is_not_completed_is_not_judged(finished_run, tmp_path):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    with pytest.raises(DataError, match="not completed; run it again"):
        evaluate(run)


def with_settings(finished_run, tmp_path, **changes):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    result = json.loads((run / "result.json").read_text())
    result["settings"] |= changes
    (run / "result.json").write_text(json.dumps(result))
    return run


def test_forecasts_that_an_earlier_version_did_not_leave_are_made_within_the_runs_memory_limit(finished_run, tmp_path):
    run = with_settings(finished_run, tmp_path, memory_limit="1KiB")
    (run / "inner_forecasts.parquet").unlink()
    with pytest.raises(DoesNotFitError, match=r"a batch of 32 rows needs .* may be used"):
        evaluate(run, data=finished_run.parent / "market.csv")


def test_a_run_that_reads_without_maps_is_evaluated_without_maps(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr("deeptrade.store.checked_file.map_file", lambda *arguments: pytest.fail("a file was mapped"))
    run = with_settings(finished_run, tmp_path, no_mmap=True)
    assert evaluate(run, data=finished_run.parent / "market.csv").scores


def test_forecasts_made_anew_are_judged_as_those_that_were_left(finished_run, tmp_path):
    run = with_settings(finished_run, tmp_path)
    left = evaluate(run, data=finished_run.parent / "market.csv")
    (run / "inner_forecasts.parquet").unlink()
    (run / "forecasts.parquet").unlink()
    anew = evaluate(run, data=finished_run.parent / "market.csv")
    for one, other in zip(left.scores, anew.scores, strict=True):
        assert (one.metric, one.horizon) == (other.metric, other.horizon)
        if one.value is not None:
            assert one.value == pytest.approx(other.value, rel=1e-4, abs=1e-6)


def series(seed=0, *, rows=2000, skill=0.1, markets=("",)):
    """Forecasts and targets of three horizons at hourly rows, of several markets side by side."""
    generator = np.random.default_rng(seed)
    steps = generator.standard_t(5, (rows + 3, len(markets))) * 0.01
    along = np.concatenate([np.zeros((1, len(markets))), steps.cumsum(axis=0)])
    targets = np.stack([along[h : h + rows] - along[:rows] for h in (1, 2, 3)], axis=2).reshape(-1, 3)
    forecasts = skill * targets + generator.normal(0, 0.01, targets.shape)
    times = np.repeat(1_700_000_000_000_000_000 + 3_600_000_000_000 * np.arange(rows), len(markets))
    return forecasts, targets, times, np.array(markets * rows, object)


def judged_of(forecasts, targets, times, markets, **options):
    given = {"target_step": 3_600_000_000_000, "overlap": 3} | options
    judged = Judged(np.arange(len(times)), times, markets, forecasts, targets)
    return judge(judged, {"zero": np.zeros_like(targets)}, **given)


def test_markets_are_judged_apart_and_together():
    data = series(markets=("A", "B"))
    judged = judged_of(*data)
    assert judged.markets == ["A", "B"]
    assert judged.verdict.kind == "evidence"
    forecasts, targets, times, markets = data
    alone = judged_of(
        forecasts[markets == "A"], targets[markets == "A"], times[markets == "A"], markets[markets == "A"]
    )
    for metric in ("mae", "rank_ic", "slope"):
        one, other = judged.of(metric, "A"), alone.of(metric)
        assert [score.value for score in one] == pytest.approx([score.value for score in other])


def test_twin_markets_are_no_more_evidence_than_one():
    forecasts, targets, times, markets = series(skill=0.04)
    once = judged_of(forecasts, targets, times, markets)
    twice = judged_of(
        *(np.repeat(values, 2, axis=0) for values in (forecasts, targets, times)), np.array(["A", "B"] * 2000)
    )
    for one, other in zip(once.of("rank_ic"), twice.of("rank_ic"), strict=True):
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=2e-3)


def test_periods_tell_months_and_volatility_known_by_the_row():
    forecasts, targets, times, markets = series()
    judged = judged_of(forecasts, targets, times, markets)
    names = {one.period for one in judged.periods}
    assert {"calm", "usual", "wild", "2023-12"} <= names
    month = next(one for one in judged.periods if (one.period, one.horizon) == ("2023-12", 2))
    rows = np.datetime_as_string(times.astype("datetime64[ns]"), unit="M") == "2023-12"
    assert month.rank_ic == pytest.approx(stats.spearmanr(forecasts[rows, 1], targets[rows, 1]).statistic)
    assert month.mae_gain == pytest.approx(
        1 - np.abs(targets[rows, 1] - forecasts[rows, 1]).mean() / np.abs(targets[rows, 1]).mean()
    )
    before = regimes(targets, markets)[:1000]
    sizes = [np.abs(targets[at - 50 : at, 0]).mean() for at in range(50, 1000)]
    calm, wild = (np.mean([sizes[at] for at in np.flatnonzero(before[50:] == name)]) for name in ("calm", "wild"))
    assert calm < wild
    (ratio,) = (one.value for one in judged.of("rank_icir") if one.horizon == 2)
    monthly = [one.rank_ic for one in judged.periods if one.horizon == 2 and one.period.startswith("20")]
    assert ratio == pytest.approx(np.mean(monthly) / np.std(monthly, ddof=1))


def test_what_is_written_is_read_back(tmp_path):
    judged = judged_of(*series())
    write_json(tmp_path / "evaluation.json", {"weights_sha256": "w", **judged.to_json()})
    assert read_evaluation(tmp_path / "evaluation.json", weights_sha256="w") == judged
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(content["scores"][0]) == {"horizon", "market", "metric", "value", "low", "high"}
    assert content["verdict"].startswith("Evidence of skill at 1h, 2h, 3h (joint p <= 0.001)")


def test_judging_many_rows_takes_seconds():
    forecasts, targets, times, markets = series(rows=60_000)
    wide = [np.tile(values, (1, 4))[:, :10] for values in (forecasts, targets)]
    started = time.perf_counter()
    judged_of(*wide, times, markets, overlap=10)
    assert time.perf_counter() - started < 60


def test_the_command_prints_the_verdict_and_scores_and_says_where_they_are(finished_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    data = finished_run.parent / "market.csv"
    assert main(["evaluate", str(run), "--csv", str(data)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Nothing can be said of skill: too few independent rows; by rank IC on 10 rows")
    assert "rank IC" in out
    assert out.rstrip().endswith("evaluation.json")
    assert main(["evaluate", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
