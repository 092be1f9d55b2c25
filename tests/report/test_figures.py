import numpy as np
import pandas as pd
from matplotlib import pyplot

from deeptrade.judging.evaluation import Evaluation
from deeptrade.judging.scores import Score
from deeptrade.judging.verdict import Verdict
from deeptrade.memory import Sample
from deeptrade.report import figures, tables
from tests.support.results import make_result

MIB = 1 << 20


def timeline(peaks=(100, 300, 200)):
    phases = ("check", "train", "train/save")
    return [Sample(float(at), phases[at], peak * MIB, 2 * peak * MIB, 0) for at, peak in enumerate(peaks)]


def test_the_title_of_the_timeline_is_its_peak_and_the_limit_is_dashed():
    axes = figures.memory_timeline(timeline(), 500 * MIB).axes[0]
    assert axes.get_title(loc="left") == "Memory peaks at 300 MiB in phase 'train'"
    limit = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert limit.get_ydata()[0] == 500
    assert "limit 500.0 MiB" in limit.get_label()


def test_a_far_limit_is_named_but_does_not_flatten_the_curve():
    axes = figures.memory_timeline(timeline(), 100_000 * MIB).axes[0]
    assert axes.get_ylim()[1] < 1000
    assert any("far above" in line.get_label() for line in axes.lines)


def test_two_starts_follow_each_other_in_one_timeline():
    samples = [Sample(5.0, "train", MIB, MIB, 0, run=0), Sample(1.0, "train", MIB, MIB, 0, run=1)]
    times = figures.memory_timeline(samples, 500 * MIB).axes[0].lines[0].get_xdata()
    assert list(times) == [5.0, 6.0]


def test_validation_bars_say_how_far_errors_are_below_those_of_zero():
    axes = figures.validation_errors(make_result()).axes[0]
    assert axes.get_title(loc="left") == "The error equals that of the forecast zero to 0.1%, averaged over horizons"
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [0.5, -0.5])


def test_the_loss_curve_says_whether_it_fell():
    history = pd.DataFrame({"step": range(1, 101), "loss": np.linspace(1, 0.5, 100)})
    title = figures.loss_curve(history).axes[0].get_title(loc="left")
    assert title == "Training loss fell from 0.919 in the first third to 0.581 in the last"
    risen = history.assign(loss=history["loss"][::-1].to_numpy())
    assert "rose from 0.581" in figures.loss_curve(risen).axes[0].get_title(loc="left")


def test_noise_is_not_called_a_trend():
    noise = np.random.default_rng(0).normal(0.5, 0.2, (200, 60))
    history = pd.DataFrame({"step": range(1, 61)})
    titles = [figures.loss_curve(history.assign(loss=loss)).axes[0].get_title(loc="left") for loss in noise]
    assert sum("with no clear trend" in title for title in titles) > 180
    few = figures.loss_curve(history.assign(loss=noise[0])[:14]).axes[0].get_title(loc="left")
    assert few.endswith("; 14 steps are too few to show a trend")


def test_the_loss_curve_shows_inner_losses_where_they_were_made_and_names_the_best():
    history = pd.DataFrame({"step": range(1, 101), "loss": np.linspace(1, 0.5, 100)})
    unknown = [{"step": 10, "loss": None}, {"step": 20, "loss": float("nan")}]
    validations = [*unknown, {"step": 50, "loss": 0.6}, {"step": 100, "loss": 0.7}]
    axes = figures.loss_curve(history, validations).axes[0]
    assert axes.get_title(loc="left").endswith("the inner loss is lowest at step 50")
    line = next(line for line in axes.lines if line.get_label() == "inner rows")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([50, 100], [0.6, 0.7])


def test_only_channels_that_can_be_klines_are_drawn_as_such():
    klines = np.array([[10, 12, 9, 11, 5, 0.1], [11, 13, 10, 12, 0, 0.1]])
    assert "the close changes by +9.09%" in figures.window_chart(klines, "arr_5m").axes[0].get_title(loc="left")
    for broken in ([[10, 9, 9, 11, 5, 1]], [[10, 12, 11, 11, 5, 1]], [[-1, 2, -3, 1, 5, 1]], [[np.nan] * 6]):
        title = figures.window_chart(np.array(broken, float), "arr_x").axes[0].get_title(loc="left")
        assert title == "arr_x: 6 channels over 1 step"
    book = figures.window_chart(np.zeros((5, 2, 3)), "arr_book").axes[0]
    assert (book.get_title(loc="left"), len(book.lines)) == ("arr_book: 6 channels over 5 steps", 6)


def test_the_alternative_text_ends_with_the_finding():
    history = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})
    html = figures.as_html(figures.loss_curve(history), alt="Training loss by optimizer step")
    assert 'aria-label="Training loss by optimizer step. Training loss is 0.750 on average; 2 steps are too' in html


def test_steps_without_a_finite_loss_are_left_out_of_the_curve():
    history = pd.DataFrame({"step": [1, 2, 3], "loss": [np.nan, 1.0, 0.5]})
    axes = figures.loss_curve(history).axes[0]
    assert axes.get_title(loc="left").startswith("Training loss is 0.750 on average; 2 steps are too few")
    assert list(axes.lines[0].get_xdata()) == [2, 3]
    assert "No step" in figures.loss_curve(history[:1]).axes[0].get_title(loc="left")


def directions_of(*shares, gains=(), base_rate=0.52):
    """An evaluation with (value, low, high) by horizon of the share of right directions and of its gain."""
    found = []
    for horizon, share in enumerate(shares, start=1):
        found += [Score(horizon, None, "direction", *share), Score(horizon, None, "base_rate", base_rate)]
    found += [Score(horizon, None, "direction_gain", *gain) for horizon, gain in enumerate(gains, start=1)]
    return Evaluation(found)


def test_directions_count_as_better_where_the_interval_lies_above_the_more_frequent_sign():
    gains = ((0.03, -0.03, 0.09), (0.13, 0.01, 0.2))
    axes = figures.directions(directions_of((0.55, 0.49, 0.61), (0.65, 0.52, 0.7), (None,), gains=gains)).axes[0]
    title = "above the more frequent sign at 1 of 2 horizons, each alone with 95% confidence"
    assert axes.get_title(loc="left") == f"60.0% of directions are correct on average;\n{title}"
    few = figures.directions(directions_of((0.9,))).axes[0]
    assert few.get_title(loc="left").endswith("too few rows for an interval")
    assert figures.directions(Evaluation()).axes[0].get_title(loc="left") == "No direction is known"


def test_the_figure_of_skill_says_how_large_it_is_and_marks_the_horizons_of_the_verdict():
    scores = [Score(1, None, "rank_ic", 0.05, 0.02, 0.08), Score(2, None, "rank_ic", 0.01, -0.02, 0.04)]
    verdict = Verdict("evidence", [1], 0.004, 900, "2026-01-01", "2026-02-01")
    axes = figures.skill(Evaluation(scores, verdict, "1h")).axes[0]
    title = "The rank IC is 0.050 at 1h and 0.010 at 2h; 1 of 2 intervals lie above zero, each taken alone"
    assert axes.get_title(loc="left") == title
    marked, other = axes.containers
    assert (list(marked.lines[0].get_xdata()), list(other.lines[0].get_xdata())) == ([1], [2])
    assert figures.skill(Evaluation()).axes[0].get_title(loc="left") == "Not judged"


def test_without_a_known_target_titles_say_so():
    result = make_result(mae=(None, None), zero=(None, None))
    assert figures.validation_errors(result).axes[0].get_title(loc="left") == "No validation row has a known target"


def make_gap(after, seconds):
    return {"after": f"{after}T00:00:00+00:00", "seconds": seconds, "missing_rows": None, "market": None}


SPAN = {"start": "2023-01-01T00:00:00+00:00", "end": "2023-01-05T00:00:00+00:00"}


def test_gaps_are_drawn_where_and_as_long_as_they_are_and_the_longest_stands_out():
    gaps = [make_gap("2023-01-02", 43_200), make_gap("2023-01-04", 180)]
    lengths, lane = figures.time_coverage({"gap_count": 2, "gaps": gaps, "span": SPAN}).axes
    assert lengths.get_title(loc="left") == "2 gaps in time, the longest of 12 h from 2023-01-02 on"
    assert list(lengths.lines[0].get_ydata()) == [720, 3]
    rows, *breaks = (patch.get_extents().transformed(lane.transData.inverted()) for patch in lane.patches)
    np.testing.assert_allclose([one.width for one in (rows, *breaks)], [4, 0.5, 180 / 86_400], rtol=1e-6)
    np.testing.assert_allclose(breaks[0].x0 - rows.x0, 1)


def test_of_more_gaps_than_are_kept_it_is_said_how_many_are_shown():
    title = figures.time_coverage({"gap_count": 9, "gaps": [make_gap("2023-01-02", 60)], "span": SPAN}).axes[0]
    assert title.get_title(loc="left").endswith("(only the longest is shown)")
    two = [make_gap("2023-01-02", 60), make_gap("2023-01-03", 60)]
    title = figures.time_coverage({"gap_count": 9, "gaps": two, "span": SPAN}).axes[0]
    assert title.get_title(loc="left").endswith("(only the 2 longest are shown)")
    nothing = figures.time_coverage({"gap_count": 0, "gaps": [], "span": SPAN})
    assert nothing.axes[0].get_title(loc="left") == "The rows have no gaps in time"


def test_the_spread_of_returns_is_its_title_and_its_lines():
    quantiles = {"0.01": -0.02, "0.25": -0.01, "0.5": 0.0, "0.75": 0.01, "0.99": 0.02}
    known = {"name": "y_1", "std": 0.005, "quantiles": quantiles}
    unknown = {"name": "y_2", "std": None, "quantiles": {}}
    axes = figures.target_distribution({"targets": [known, unknown]}).axes[0]
    assert axes.get_title(loc="left") == "Standard deviation of returns: 0.50% at y_1, 0.50% at y_1"
    assert axes.collections[0].get_segments()[0][:, 1].tolist() == [-0.02, 0.02]
    nothing = figures.target_distribution({"targets": [unknown]})
    assert nothing.axes[0].get_title(loc="left") == "No targets are known"


def test_a_figure_shown_in_a_notebook_carries_its_alternative_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda content, **options: shown.append((content, options)))
    figures.show(figures.memory_timeline(timeline(), 500 * MIB), alt="a <peak>")
    content, options = shown[0]
    assert content["text/plain"] == "a <peak>. Memory peaks at 300 MiB in phase 'train'"
    assert 'aria-label="a &lt;peak&gt;. Memory peaks at 300 MiB in phase' in content["text/html"]
    assert "<style>" in content["text/html"]
    assert options == {"raw": True}


def test_small_terms_of_a_prediction_are_added_up():
    plan = {
        "predicted_terms": {"baseline": 300 * MIB, "weights": 1 * MIB, "cache": 0},
        "predicted_peak_bytes": 301 * MIB,
        "measured_peak_bytes": 310 * MIB,
        "limit_bytes": 500 * MIB,
        "limit_source": "user",
    }
    figure = figures.predicted_terms(plan)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["limit 500.0 MiB", "predicted", "measured"]
    assert "60% of the limit; most of it is baseline" in figure.axes[0].get_title(loc="left")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["baseline", "all others", "peak"]
    assert [bar.get_width() for bar in axes.patches] == [300, 1, 301, 310]


def plan_with_trials():
    trials = [
        {"batch_size": size, "predicted_peak_bytes": (300 + size) * MIB, "measured_peak_bytes": peak and peak * MIB,
         "rows_per_second": rate, "exit_code": code, "message": message, "prefetch": 2, "wait_share": rate and 0.003}
        for size, peak, rate, code, message in (
            (32, None, None, -9, "ended by signal 9"), (16, 350, 100.0, 0, ""), (8, 320, 98.0, 0, "")
        )
    ]  # fmt: skip
    terms = {"baseline": 280 * MIB, "weights": 10 * MIB, "activations": 20 * MIB}
    measured = {"process": 290 * MIB, "model": 10 * MIB, "rows of a pass": 20 * MIB}
    return {
        "trials": trials, "batch_size": 8, "prefetch": 2, "limit_bytes": 400 * MIB, "limit_source": "user",
        "predicted_terms": terms, "measured_terms": measured,
    }  # fmt: skip


def test_the_frontier_shows_every_trial_that_ended_and_marks_the_chosen_one():
    axes = figures.frontier(plan_with_trials()).axes[0]
    assert axes.get_title(loc="left") == "8 rows per pass: 98 rows/s, 98% of the fastest tried"
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert axes.get_xlim()[1] - axes.get_xlim()[0] >= 0.2 * 350
    assert points == [(350, 100), (320, 98)]
    assert [text.get_text() for text in axes.texts] == ["16", "8"]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["limit 400.0 MiB"]


def test_trials_and_parts_are_shown_as_tables():
    plan = plan_with_trials()
    table = tables.trials(plan)
    assert table["rows per pass"].tolist() == [8, 16, 32]
    assert table["outcome"].tolist() == ["chosen", "fits", "ended by signal 9"]
    assert table["measured / predicted"].tolist() == ["1.04", "1.11", "-"]
    assert table["waiting for data"].tolist() == ["0.3%", "0.3%", "-"]
    parts = tables.measured_parts(plan)
    assert parts["part"].tolist() == ["process", "model", "rows of a pass"]
    assert parts["measured / predicted"].tolist() == ["1.04", "1.00", "1.00"]


def test_a_window_of_klines_is_price_and_volume_and_others_are_lines():
    window = np.random.default_rng(0).random((20, 9)).astype(np.float32) + 1
    window[:, 1], window[:, 2] = window[:, :4].max(axis=1), window[:, :4].min(axis=1)
    price, volume = figures.window_chart(window, "arr_5m").axes
    assert (price.get_ylabel(), volume.get_ylabel()) == ("price", "volume")
    assert len(figures.window_chart(window[:, :1], "trend").axes[0].lines) == 1
    assert len(figures.window_chart(window[:, 0], "vector").axes[0].patches) == 20


def test_every_figure_has_axes_with_names_and_none_stays_open():
    made = [
        figures.memory_timeline(timeline(), 500 * MIB),
        figures.validation_errors(make_result()),
        figures.directions(directions_of((0.55, 0.49, 0.61))),
        figures.skill(Evaluation([Score(1, None, "rank_ic", 0.05, 0.02, 0.08)])),
        figures.calibration(Evaluation(groups=[[(-0.01, 0.0), (0.01, 0.02)]], step="1h")),
        figures.loss_curve(pd.DataFrame({"step": [1], "loss": [1.0]})),
    ]
    for figure in made:
        assert "<svg" in figures.as_html(figure, alt="a figure")
        assert figure.axes[0].get_ylabel()
        assert figure.axes[-1].get_xlabel()
    assert not pyplot.get_fignums()
