"""Reports as colleagues meet them: a browser without a network, light, dark and on paper."""

import json
import shutil
from pathlib import Path

import pytest

from deeptrade.report.compare_page import write_comparison
from deeptrade.report.index import report_pages
from deeptrade.report.walk_page import write_walk_pages
from deeptrade.run_folder import AGENT_NOTEBOOK, NOTEBOOKS
from tests.support.agent_runs import write_agent_pages
from tests.support.browser import CHROMIUM, NO_CHROMIUM, open_tab
from tests.support.comparisons import add_judged, make_judged
from tests.support.pages import CLIPPED, FOLDED, MOST_BYTES, PALE, SMALL_LETTERS
from tests.support.walks import make_walk, write_walk

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
ALL = [*NOTEBOOKS, AGENT_NOTEBOOK]
PAGES = ["index.html", *(f"{name}{ending}" for name in ALL for ending in (".html", ".full.html"))]
PAGES += ["report.html", "compare.html", "00_explore.html"]
PAGES = [f"run/{name}" for name in PAGES] + ["walk/index.html", "walk/folds/01-seed_0/report.html"]
PAGES += ["grid/compare.html", "grid/first/report.html"]
PAPER_WIDTH = 718
"""CSS pixels of A4 within Chromium's margins."""
GROUND = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with open_tab(tmp_path_factory.mktemp("browser")) as opened:
        opened.go_offline()
        yield opened


@pytest.fixture(scope="module")
def pages(finished_run, tmp_path_factory):
    """Every kind of page: a run with an agent, a walk, and runs compared in the folder above them."""
    folder = tmp_path_factory.mktemp("pages")
    run = shutil.copytree(finished_run, folder / "run")
    shutil.copy(ROOT / "reports" / "sample" / "00_explore.html", run)
    write_agent_pages(run, folder / "agent")
    report_pages(run)
    write_comparison([run], out=run)
    write_walk(folder / "walk", make_walk(folder / "market.csv"), finished_run)
    write_walk_pages(folder / "walk")
    for at, name in enumerate(("first", "second")):
        judged = make_judged(at, skill=0.1 * at)
        add_judged(folder / "grid", name, finished_run, judged, settings__learning_rate=0.001 * (1 + at))
        report_pages(folder / "grid" / name)
    write_comparison([folder / "grid"], out=folder / "grid")
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_without_a_network_in_light_and_dark_and_on_paper(tab, pages, tmp_path, name):
    path = pages / name
    assert path.stat().st_size < MOST_BYTES
    tab.problems.clear()
    for dark in (False, True):
        tab.show(dark=dark)
        tab.open(f"file://{path}")
        assert json.loads(tab.evaluate(f"JSON.stringify({CLIPPED})")) == []
        assert (sum(tab.evaluate(GROUND)) < 3 * 128) == dark
        assert json.loads(tab.evaluate(f"JSON.stringify({PALE})")) == []
        assert "\ufffd" not in tab.evaluate("document.body.innerText")
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    tab.show(width=PAPER_WIDTH, paper=True)
    assert json.loads(tab.evaluate(f"JSON.stringify({CLIPPED})")) == []
    assert json.loads(tab.evaluate(f"JSON.stringify({FOLDED})")) == []
    tab.show(width=400)
    assert json.loads(tab.evaluate(f"JSON.stringify({CLIPPED})")) == []
    assert not tab.evaluate("document.scripts.length"), "without scripts it is the same page"
    tab.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert tab.problems == []


@pytest.mark.parametrize("name", PAGES)
def test_letters_in_figures_are_legible_on_a_phone_and_on_a_desk(tab, pages, name):
    for width, least in ((400, 9), (718, 9), (1100, 11)):
        tab.show(width=width)
        tab.open(f"file://{pages / name}")
        assert json.loads(tab.evaluate(f"JSON.stringify({SMALL_LETTERS % least})")) == []


@pytest.mark.skipif(not AXE.exists(), reason="axe is not there; npm install --no-save axe-core")
@pytest.mark.parametrize("name", PAGES)
def test_an_accessibility_audit_finds_nothing_in_light_and_dark(tab, pages, name):
    for dark in (False, True):
        tab.show(dark=dark)
        tab.open(f"file://{pages / name}")
        tab.evaluate(AXE.read_text() + "; true")
        audit = "axe.run({resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"
        found = json.loads(tab.evaluate(audit))
        assert [(one["id"], one["help"], one["nodes"][0]["html"][:120]) for one in found] == []
