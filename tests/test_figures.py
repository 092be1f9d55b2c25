import numpy as np
import pandas as pd
from matplotlib import pyplot

from deeptrade.memory import Sample
from deeptrade.report import figures
from tests.test_tables import make_result

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


def test_two_runs_in_one_timeline_stand_one_behind_the_other():
    samples = [Sample(5.0, "train", MIB, MIB, 0, run=0), Sample(1.0, "train", MIB, MIB, 0, run=1)]
    times = figures.memory_timeline(samples, 500 * MIB).axes[0].lines[0].get_xdata()
    assert list(times) == [5.0, 6.0]


def test_validation_bars_are_the_relative_errors():
    axes = figures.validation_errors(make_result()).axes[0]
    assert axes.get_title(loc="left") == "The model's error is below the zero forecast's at 1 of 2 horizons"
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], [-0.5, 0.5])


def test_the_loss_curve_says_whether_it_fell():
    history = pd.DataFrame({"step": range(1, 101), "loss": np.linspace(1, 0.5, 100)})
    assert "fell from 1.000 to 0.51" in figures.loss_curve(history).axes[0].get_title(loc="left")
    risen = history.assign(loss=history["loss"][::-1].to_numpy())
    assert "did not fall" in figures.loss_curve(risen).axes[0].get_title(loc="left")


def test_small_terms_of_a_prediction_are_one():
    plan = {
        "predicted_terms": {"baseline": 300 * MIB, "weights": 1 * MIB, "cache": 0},
        "predicted_peak_bytes": 301 * MIB,
        "measured_peak_bytes": 310 * MIB,
        "limit_bytes": 500 * MIB,
        "limit_source": "user",
    }
    axes = figures.predicted_terms(plan).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["limit 500.0 MiB", "baseline", "all others"]
    assert "60% of the limit; most of it is baseline" in axes.get_title(loc="left")


def test_a_window_of_klines_is_price_and_volume_and_others_are_lines():
    window = np.random.default_rng(0).random((20, 9)).astype(np.float32) + 1
    price, volume = figures.window_chart(window, "arr_5m").axes
    assert (price.get_ylabel(), volume.get_ylabel()) == ("price", "volume")
    assert len(figures.window_chart(window[:, :1], "trend").axes[0].lines) == 1
    assert len(figures.window_chart(window[:, 0], "vector").axes[0].patches) == 20


def test_every_figure_has_axes_with_names_and_none_stays_open():
    made = [
        figures.memory_timeline(timeline(), 500 * MIB),
        figures.validation_errors(make_result()),
        figures.directional_accuracy(make_result()),
        figures.loss_curve(pd.DataFrame({"step": [1], "loss": [1.0]})),
    ]
    for figure in made:
        assert figures.to_png(figure).startswith(b"\x89PNG")
        for axes in figure.axes:
            assert axes.get_xlabel()
            assert axes.get_ylabel()
    assert not pyplot.get_fignums()
