import time

import numpy as np
import pandas as pd
import pytest

from deeptrade import open_dataset
from deeptrade.errors import SettingsError
from deeptrade.notebook import widgets
from deeptrade.notebook.live_training import TrainingProgress
from deeptrade.settings import FitSettings


@pytest.fixture
def data(market):
    market.cells[4][1] = "[[[1]]]"
    market.write()
    with open_dataset(market.path, max_bad_rows=1.0) as opened:
        yield opened


def choices(widget):
    return {choice.description: choice for choice in widget.children[0].children}


def test_the_files_to_choose_from_are_those_that_can_be_read(market, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for path in ("../prices.parquet", "here.csv.gz", "notes.txt", "../market.dtstore"):
        (tmp_path / "elsewhere" / path).write_text("")
    chooser = widgets.file_chooser(market.path)
    assert chooser.value == str(market.path)
    folder = tmp_path
    expected = [market.path, folder / "market.dtstore", folder / "prices.parquet", "here.csv.gz"]
    assert [path for _, path in chooser.options] == [str(path) for path in expected]
    assert "KiB)" in chooser.options[0][0]


def test_where_the_path_leads_nowhere_the_data_nearby_can_be_chosen(market, tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    chooser = widgets.file_chooser("training_data/training_data.csv")
    assert [path for _, path in chooser.options] == ["training_data/training_data.csv", f"../{market.path.name}"]


def test_the_row_browser_calls_the_function_that_batch_calls(data, monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "show_row", lambda data, **arguments: seen.append(arguments))
    chosen = choices(widgets.row_browser(data, row=2))
    chosen["row"].value = 9
    chosen["feature"].value = "arr_ctx"
    assert seen == [
        {"row": 2, "feature": "arr_5m", "latest": 7},
        {"row": 9, "feature": "arr_5m", "latest": 7},
        {"row": 9, "feature": "arr_ctx", "latest": 7},
    ]


def test_a_window_can_be_zoomed_to_its_latest_steps(data, monkeypatch):
    drawn = []
    monkeypatch.setattr(widgets.figures, "window_chart", lambda window, name: drawn.append(window))
    monkeypatch.setattr(widgets.figures, "show", lambda figure, alt: None)
    browser = widgets.row_browser(data, row=2)
    choices(browser)["latest steps"].value = 3
    np.testing.assert_array_equal(drawn[1], drawn[0][-3:])


def test_an_error_the_user_can_mend_is_a_line_not_a_traceback(data):
    browser = widgets.row_browser(data, row=4)
    assert "row=4 is rejected (shape" in browser.children[1].outputs[0]["text"]


def test_the_plan_chooser_plans_for_what_is_chosen(market, monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "show_plan", lambda csv, **arguments: seen.append(arguments))
    chosen = choices(widgets.plan_chooser(market.path))
    chosen["model size"].value = "tiny"
    chosen["limit"].value = "2GiB"
    assert seen[-1] == {"model_size": "tiny", "memory_limit": "2GiB"}


def test_a_row_that_is_not_there_is_refused(data):
    with pytest.raises(SettingsError, match="row=60 is not in the data; choose from 0 to 59"):
        widgets.row_targets(data, row=60)


def test_targets_are_percent_and_a_dash_where_missing(data):
    data.targets[3] = [0.0125, float("nan")]
    assert widgets.row_targets(data, row=3).to_numpy().tolist() == [["+1.2500", "-"]]


def test_targets_are_named_by_the_time_they_look_ahead(data):
    assert list(widgets.row_targets(data, row=3)) == ["y_1, 20min ahead", "y_2, 40min ahead"]


def test_the_targets_shown_are_those_of_the_row_that_the_slider_is_at(data, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *items, **_: shown.extend(items))
    monkeypatch.setattr(widgets.figures, "show", lambda figure, alt: None)
    browser = widgets.row_browser(data, row=2)
    shown.clear()
    choices(browser)["row"].value = 9
    line, table = shown
    assert line.data == "Targets of row 9, 2023-11-15 01:13 UTC: the returns after it, in percent."
    assert f"{100 * data.read_targets(np.array([9]))[0, 0]:+.4f}" in table.data


def test_live_memory_looks_again(monkeypatch):
    box = widgets.live_memory()
    monkeypatch.setattr(widgets, "memory_line", lambda: "new")
    box.children[1].click()
    assert box.children[0].value == "new"


class FakeTraining:
    """Three looks at a training that goes on, then one at its end."""

    asked, stopped = [], 0

    def __init__(self, settings):
        self.asked.append((settings.model_size, settings.max_steps, settings.max_rows))
        self.looks = 0

    def progress(self):
        self.looks += 1
        history = pd.DataFrame({"step": range(1, self.looks), "loss": [0.5] * (self.looks - 1)})
        return TrainingProgress("running" if self.looks < 4 else "completed", "<b>", history, 300 << 20)

    def stop(self):
        FakeTraining.stopped += 1


def test_the_start_button_trains_what_is_chosen_and_draws_its_loss(market, monkeypatch):
    monkeypatch.setattr(widgets, "LiveTraining", FakeTraining)
    monkeypatch.setattr(widgets, "REFRESH_SECONDS", 0.01)
    starter = widgets.training_starter(FitSettings(csv=str(market.path), max_rows=9, max_steps=20))
    sizes, steps, start, stop = starter.children[0].children
    sizes.value, steps.value = "tiny", 7
    start.click()
    stop.click()
    deadline = time.monotonic() + 30
    while start.disabled and time.monotonic() < deadline:
        time.sleep(0.01)
    assert FakeTraining.asked == [("tiny", 7, 9)]
    assert FakeTraining.stopped == 1
    assert starter.children[1].value.startswith("completed: 3 steps, loss 0.500 in the last, 300.0 MiB")
    assert "Training loss by optimizer step" in starter.children[2].value
    assert stop.disabled


def test_before_the_first_step_the_line_is_what_the_training_said():
    assert (
        widgets.training_line(TrainingProgress("failed", "no file", pd.DataFrame(), 0))
        == "failed, no step yet: no file"
    )
