import pytest

from deeptrade import open_dataset, widgets
from deeptrade.errors import SettingsError


@pytest.fixture
def data(market):
    market.cells[4][1] = "[[[1]]]"
    market.write()
    with open_dataset(market.path, max_bad_rows=1.0) as opened:
        yield opened


def choices(widget):
    return {choice.description: choice for choice in widget.children[0].children}


def test_the_row_browser_calls_the_function_that_batch_calls(data, monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "show_row", lambda data, **arguments: seen.append(arguments))
    chosen = choices(widgets.row_browser(data, row=2))
    chosen["row"].value = 9
    chosen["feature"].value = "arr_ctx"
    assert seen == [
        {"row": 2, "feature": "arr_5m"},
        {"row": 9, "feature": "arr_5m"},
        {"row": 9, "feature": "arr_ctx"},
    ]


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
    with pytest.raises(SettingsError, match="row=60 is not in the data; use 0 to 59"):
        widgets.row_targets(data, row=60)


def test_targets_are_percent_and_a_dash_where_missing(data):
    data.targets[3] = [0.0125, float("nan")]
    assert widgets.row_targets(data, row=3).to_numpy().tolist() == [["+1.2500", "-"]]


def test_live_memory_looks_again(monkeypatch):
    box = widgets.live_memory()
    monkeypatch.setattr(widgets, "memory_line", lambda: "new")
    box.children[1].click()
    assert box.children[0].value == "new"
