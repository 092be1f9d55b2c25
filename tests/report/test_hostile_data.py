"""Hostile data: the profile shows it, escaped and legible, and training says why it refuses it."""

import html
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import papermill
import pytest

from deeptrade import profile
from deeptrade.report.page import render_notebook
from deeptrade.report.text import legible
from tests.support.browser import CHROMIUM, NO_CHROMIUM, open_tab
from tests.support.markets import make_market
from tests.support.pages import CLIPPED, MOST_BYTES, Page

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_profile_dataset.ipynb"
LONG = "arr_" + "x" * 9_996
NAMES = [
    "arr_<script>alert(1)</script>",
    "arr_<img src=x onerror=alert(2)>",
    'arr_"quotes\', and, commas"',
    "arr_Größe 価格 \N{ROCKET} \N{RIGHT-TO-LEFT OVERRIDE}rtl",
    "arr_| a | b |\\`*_$x^2$",
    "arr_{{ loop }} {% if %}",
    "arr_constant",
    "arr_infinite",
    LONG,
]
FEATURES, ROWS = 500, 40
OUT_OF_ORDER = (5, 17, 30)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A file of 500 features with such names, one constant, one partly infinite, some rows out of order."""
    shapes = dict.fromkeys(NAMES, (1, 5, 2)) | {f"arr_{n:03}": (1, 3) for n in range(FEATURES - len(NAMES))}
    market = make_market(tmp_path_factory.mktemp("hostile") / "hostile.csv", rows=ROWS, shapes=shapes)
    for cells in market.cells:
        cells[1 + NAMES.index("arr_constant")] = json.dumps(np.full((1, 5, 2), 3.0).tolist())
        numbers = json.loads(cells[1 + NAMES.index("arr_infinite")])
        numbers[0][0][0], numbers[0][1][1], numbers[0][2][0] = np.inf, -np.inf, np.nan
        cells[1 + NAMES.index("arr_infinite")] = json.dumps(numbers)
    for row in OUT_OF_ORDER:
        market.cells[row - 1 : row + 1] = reversed(market.cells[row - 1 : row + 1])
    market.write()
    return market.path


@pytest.fixture(scope="module")
def page(hostile):
    """The rendered profile of the file."""
    notebook = hostile.parent / "profile.ipynb"
    parameters = {"csv": str(hostile), "out": str(hostile.parent / "profile")}
    papermill.execute_notebook(NOTEBOOK, notebook, parameters, kernel_name="python3", progress_bar=False)
    render_notebook(notebook, notebook.with_suffix(".html"), code=False)
    return notebook.with_suffix(".html")


def test_the_profile_keeps_every_name_and_counts_what_is_odd(hostile, tmp_path):
    profile(hostile, out=tmp_path)
    found = json.loads((tmp_path / "profile.json").read_text())
    features = {feature["name"]: feature for feature in found["features"]}
    assert list(features)[: len(NAMES)] == NAMES
    assert len(features) == FEATURES
    assert features["arr_infinite"]["nonfinite"] == 3 * (ROWS - len(OUT_OF_ORDER))
    assert features["arr_constant"]["std"] == [0.0, 0.0]
    assert found["backward"] == len(OUT_OF_ORDER)
    assert found["rows"] == {"read": ROWS, "usable": ROWS - len(OUT_OF_ORDER), "rejected": len(OUT_OF_ORDER)}


def test_the_page_shows_names_as_text_and_stays_small(page):
    parsed = Page(page)
    assert page.stat().st_size < MOST_BYTES
    assert not parsed.all("script")
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    for name in NAMES:
        assert legible(name) in html.unescape(parsed.content)
    assert LONG not in parsed.content  # its beginning and end are enough


def test_alerts_of_one_kind_are_counted_not_listed(page):
    words = Page(page).words
    assert "2 of 2 channels of arr_constant never change" in words
    assert "30.0% of arr_infinite is NaN or infinite" in words
    assert "moved by" not in words  # in 40 rows that is chance


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_a_browser_shows_the_page_without_an_error(page, tmp_path):
    with open_tab(tmp_path) as tab:
        tab.go_offline()
        for width in (1100, 400):
            tab.show(width=width)
            tab.open(f"file://{page}")
            assert json.loads(tab.evaluate(f"JSON.stringify({CLIPPED})")) == []
        assert tab.problems == []


def write_single_row(market):
    del market.cells[1:]


def lose_numbers(market):
    for cells in market.cells:
        cells[2] = json.dumps(np.full((1, 5, 2), np.nan).tolist())


def lose_arrays(market):
    for cells in market.cells:
        cells[1] = "null"


def lose_targets(market):
    for cells in market.cells:
        cells[-2:] = ["", ""]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (write_single_row, "1 row leaves no training row"),
        (lose_numbers, "60 of 60 rows are rejected"),
        (lose_arrays, "holds no JSON array in the first rows"),
        (lose_targets, "no training row has a target"),
    ],
)
def test_what_cannot_be_trained_on_says_why(market, tmp_path, change, reason):
    change(market)
    market.write()
    command = [sys.executable, "-m", "deeptrade", "fit", f"--csv={market.path}", f"--out={tmp_path / 'run'}"]
    done = subprocess.run([*command, "--model_size=tiny"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
