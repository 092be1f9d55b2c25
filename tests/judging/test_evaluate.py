import json
import shutil

import pytest

from deeptrade.errors import DataError, DoesNotFitError
from deeptrade.judging.evaluate import evaluate
from deeptrade.judging.scores import Evaluation, read_evaluation
from deeptrade.report import tables


def test_a_finished_run_is_evaluated_and_another_file_refused(finished_run, tmp_path, market):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    data = finished_run.parent / "market.csv"
    judged = evaluate(run, data=data)
    scores = judged.scores
    content = json.loads((run / "evaluation.json").read_text())
    result = json.loads((run / "result.json").read_text())
    assert content["weights_sha256"] == result["weights_sha256"]
    assert read_evaluation(run / "evaluation.json", weights_sha256=result["weights_sha256"]) == judged
    assert read_evaluation(run / "evaluation.json", weights_sha256="another") == Evaluation([])
    assert read_evaluation(run / "none.json", weights_sha256="") == Evaluation([])
    assert [one.mae["model"] for one in scores] == pytest.approx(result["validation"]["mae"], rel=1e-5)
    assert [one.mae["zero"] for one in scores] == pytest.approx(result["validation"]["zero_mae"], rel=1e-5)
    assert len(tables.evaluation(scores)) == 2
    assert tables.evaluation_verdict(scores).startswith("Only 10 validation rows: too few")
    with pytest.raises(DataError, match="is not the data of this run"):
        evaluate(run, data=market.path)


def test_a_run_that_is_not_completed_is_not_judged(finished_run, tmp_path):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"status": "interrupted"}))
    with pytest.raises(DataError, match="not completed; run fit again"):
        evaluate(run)


def with_settings(finished_run, tmp_path, **changes):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    result = json.loads((run / "result.json").read_text())
    result["settings"] |= changes
    (run / "result.json").write_text(json.dumps(result))
    return run


def test_the_memory_limit_of_the_run_bounds_its_evaluation(finished_run, tmp_path):
    run = with_settings(finished_run, tmp_path, memory_limit="1KiB")
    with pytest.raises(DoesNotFitError, match=r"a batch of 32 rows needs .* may be used"):
        evaluate(run, data=finished_run.parent / "market.csv")


def test_a_run_that_reads_without_maps_is_evaluated_without_maps(finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr("deeptrade.store.reader.map_file", lambda *arguments: pytest.fail("a file was mapped"))
    run = with_settings(finished_run, tmp_path, no_mmap=True)
    assert evaluate(run, data=finished_run.parent / "market.csv").scores
