import numpy as np
import pytest

from deeptrade.judging.scores import judge
from deeptrade.report import figures, tables


def make_forecasts(rows=600, horizons=3, seed=0, skill=0.5):
    """Targets that share noise over neighbouring rows, and forecasts that know part of them."""
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


def test_what_is_not_known_is_reported_as_such():
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
    assert tables.evaluation_verdict(enough) == "With 95% confidence, the model is better than zero at 3 of 3 horizons."
    assert (
        figures.gains(enough).axes[0].get_title(loc="left") == "Better than zero with 95% confidence at 3 of 3 horizons"
    )


def test_calibration_groups_forecasts_by_size():
    forecasts, targets = make_forecasts(skill=0.25)
    pairs = np.array(judge(forecasts, targets, {})[0].calibration)
    assert len(pairs) == 5
    assert (np.diff(pairs[:, 0]) > 0).all()
    np.testing.assert_allclose(pairs[:, 1], 4 * pairs[:, 0])
