import json
import shutil

import numpy as np
import pytest

from deeptrade import open_dataset
from deeptrade.errors import DataError
from deeptrade.judging.evaluation import READ_BYTES, evaluate, judge, last_values, read_scores, ridge_forecasts
from deeptrade.report import figures, tables
from tests.support.markets import make_market


def make_forecasts(rows=600, horizons=3, seed=0, skill=0.5):
    """Targets that share noise over neighbouring rows, and forecasts that know a part of them."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(size=rows + horizons)
    targets = np.stack([np.convolve(steps, np.ones(h), "valid")[:rows] for h in range(1, horizons + 1)], axis=1)
    return skill * targets, targets


def test_errors_and_gains_are_those_of_plain_numpy():
    forecasts, targets = make_forecasts()
    targets[::9, 1] = np.nan
    other = np.full_like(targets, 0.1)
    for horizon, score in enumerate(judge(forecasts, targets, {"constant": other})):
        known = np.isfinite(targets[:, horizon])
        mine = np.abs(targets - forecasts)[known, horizon].mean()
        theirs = np.abs(targets - other)[known, horizon].mean()
        assert score.rows == known.sum()
        assert score.mae == pytest.approx({"model": mine, "constant": theirs})
        assert score.gain["constant"].value == pytest.approx(1 - mine / theirs)
        assert score.direction.value == 1.0


def test_intervals_are_wider_for_rows_that_share_their_targets():
    generator = np.random.default_rng(3)
    alone = generator.normal(size=(4000, 1))
    shared = np.repeat(generator.normal(size=(200, 1)), 20, axis=0)
    widths = []
    for targets in (alone, shared):
        gain = judge(0.3 * targets + 0.3, targets, {"zero": np.zeros_like(targets)})[0].gain["zero"]
        assert gain.low < gain.value < gain.high
        widths.append(gain.high - gain.low)
    assert widths[1] > 2.5 * widths[0]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        targets = np.repeat(generator.normal(size=(150, 1)), 4, axis=0)
        gain = judge(np.zeros_like(targets) + 0.2, targets, {"zero": np.zeros_like(targets)}, seed=seed)[0].gain["zero"]
        truth = 1 - 0.8138 / 0.7979  # E|N(0,1) - 0.2| and E|N(0,1)|
        inside += gain.low <= truth <= gain.high
    assert 86 <= inside <= 100


def test_nothing_known_is_said_and_not_invented():
    nothing = np.full((30, 2), np.nan)
    scores = judge(np.zeros((30, 2)), nothing, {"zero": np.zeros((30, 2))})
    assert [(score.rows, score.mae["model"], score.gain["zero"], score.direction) for score in scores] == [
        (0, None, None, None)
    ] * 2
    assert "-" in tables.evaluation(scores).iloc[0].tolist()
    assert figures.to_png(figures.calibration(scores))
    assert figures.to_png(figures.gains(scores))


def test_few_rows_have_no_interval():
    forecasts, targets = make_forecasts(rows=99)
    few = judge(forecasts, targets, {"zero": np.zeros_like(targets)})
    assert few[0].gain["zero"].value > 0
    assert (few[0].gain["zero"].low, few[0].gain["zero"].is_above) == (None, False)
    assert "Only 99 validation rows" in tables.evaluation_verdict(few)
    many, more = make_forecasts(rows=100)
    enough = judge(many, more, {"zero": np.zeros_like(more)})
    assert enough[0].gain["zero"].is_above
    assert (
        tables.evaluation_verdict(enough) == "The model is surely better (95% interval) than zero at 3 of 3 horizons."
    )
    assert figures.gains(enough).axes[0].get_title(loc="left") == "Surely better than zero at 3 of 3 horizons"


def test_calibration_groups_forecasts_by_size():
    forecasts, targets = make_forecasts(skill=0.25)
    pairs = np.array(judge(forecasts, targets, {})[0].calibration)
    assert len(pairs) == 5
    assert (np.diff(pairs[:, 0]) > 0).all()
    np.testing.assert_allclose(pairs[:, 1], 4 * pairs[:, 0])


def test_the_last_value_is_the_target_that_was_known_by_then(market):
    market.cells[30][1] = ""  # rejected
    market.cells[40][0] = str(int(market.cells[40][0]) + 60)  # comes late
    market.write()
    with open_dataset(market.path, max_bad_rows=0.1) as data:
        found = last_values(data, np.array([0, 1, 20, 31, 32, 40, 41]))
    targets = market.targets.astype(np.float32)
    expected = np.full((7, 2), np.nan, np.float32)
    for at, row in enumerate([0, 1, 20, 31, 32, 40, 41]):
        for horizon in (1, 2):
            earlier = row - horizon
            if earlier >= 0 and earlier != 30 and row != 40 and earlier != 40:
                expected[at, horizon - 1] = targets[earlier, horizon - 1]
    np.testing.assert_array_equal(found, expected)


def test_ridge_finds_what_is_linear_and_stays_near_the_mean_where_nothing_is(tmp_path):
    market = make_market(tmp_path / "market.csv", rows=400)
    linear = market.features["arr_ctx"][:, 0] @ np.array([0.001, 0, -0.002, 0])
    for row in range(400):
        market.cells[row][-2] = repr(float(linear[row]))
    market.write()
    with open_dataset(market.path) as data:
        split = data.split(0.25)
        forecasts = ridge_forecasts(data, split.train, split.validation)
        rows = split.validation.numbers()
    assert np.corrcoef(forecasts[:, 0], linear[rows])[0, 1] > 0.98
    assert forecasts[:, 1].std() < 0.5 * market.targets[:, 1].std()


def test_a_finished_run_is_evaluated_and_another_file_refused(finished_run, tmp_path, market):
    run = tmp_path / "train"
    shutil.copytree(finished_run / "train", run)
    data = finished_run.parent / "market.csv"
    scores = evaluate(run, data=data)
    content = json.loads((run / "evaluation.json").read_text())
    result = json.loads((run / "result.json").read_text())
    assert content["weights_sha256"] == result["weights_sha256"]
    assert read_scores(run / "evaluation.json", weights_sha256=result["weights_sha256"]) == scores
    assert read_scores(run / "evaluation.json", weights_sha256="another") == []
    assert read_scores(run / "none.json", weights_sha256="") == []
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


def test_wide_rows_are_read_few_at_once_and_give_the_same_forecasts(market, monkeypatch):
    with open_dataset(market.path) as dataset:
        split, read, most = dataset.split(0.2), dataset.read, []
        expected = ridge_forecasts(dataset, split.train, split.validation)

        def measured(rows, features=None):
            values = read(rows, features)
            most.append(sum(array.nbytes for array in values.values()))
            return values

        monkeypatch.setattr(dataset, "read", measured)
        monkeypatch.setattr("deeptrade.evaluation.READ_BYTES", 3 * dataset.schema.row_bytes + 1)
        np.testing.assert_array_equal(ridge_forecasts(dataset, split.train, split.validation), expected)
        assert max(most) <= 3 * dataset.schema.row_bytes
        assert len(most) == -(-len(split.train) // 3) - (-len(split.validation) // 3)
    assert READ_BYTES <= 16 << 20
