import json
import re
import shutil
import zipfile

import pytest

from deeptrade.report.compare_page import write_comparison
from deeptrade.report.index import report_pages, write_index
from deeptrade.report.navigation import link_pages, stops, with_contents
from deeptrade.report.walk_page import write_walk_pages
from deeptrade.run_folder import NOTEBOOKS, WalkFolder
from tests.support.pages import Page
from tests.support.walks import make_walk, write_walk

PAGES = ["index.html", *(f"{name}{ending}" for name in NOTEBOOKS for ending in (".html", ".full.html"))]


def links_of(path):
    return {link["href"] for link in Page(path).all("a") if not link["href"].startswith("#")}


def check_two_clicks(folder, names):
    """Assert that every page is two clicks from every other, and that no link is dead or leaves the folder."""
    pages = {(folder / name).resolve() for name in names}
    links = {page: {(page.parent / link).resolve() for link in links_of(page)} for page in pages}
    for page, first in links.items():
        assert first <= pages, page
        assert pages <= first.union(*(links[link] for link in first), {page}), page


def zipped(folder, names, place):
    """Unpack a zip of these pages elsewhere and return where."""
    with zipfile.ZipFile(place / "pages.zip", "w") as packed:
        for name in names:
            packed.write(folder / name, name)
    zipfile.ZipFile(place / "pages.zip").extractall(place / "elsewhere")
    return place / "elsewhere"


def test_every_page_of_a_run_is_two_clicks_from_every_other_from_disk_and_in_a_zip(finished_run, tmp_path):
    check_two_clicks(finished_run, PAGES)
    check_two_clicks(zipped(finished_run, PAGES, tmp_path), PAGES)


def test_pages_of_other_commands_and_the_explore_notebook_belong_to_the_run(finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "run")
    shutil.copy(folder / "03_train.html", folder / "00_explore.html")
    report_pages(folder)
    write_comparison([folder], out=folder)
    check_two_clicks(folder, [*PAGES, "00_explore.html", "report.html", "compare.html"])
    assert [stop.title for stop in stops(folder)][-2:] == ["All on one page", "Comparison of runs"]


def test_the_pages_of_a_walk_are_linked_each_fold_to_its_neighbours(finished_run, tmp_path):
    walk = make_walk(tmp_path / "market.csv")
    _, trainings = write_walk(tmp_path / "walk", walk, finished_run)
    write_walk_pages(tmp_path / "walk")
    pages = ["index.html", *(f"folds/{training.name}/report.html" for training in trainings)]
    check_two_clicks(tmp_path / "walk", pages)
    check_two_clicks(zipped(tmp_path / "walk", pages, tmp_path), pages)
    page = Page(tmp_path / "walk" / pages[2])
    turns = {link["rel"]: link["href"] for link in page.all("a") if "rel" in link}
    assert turns == {"prev": "../01-seed_0/report.html", "next": "../02-seed_0/report.html"}
    assert "Fold 1, seed 1 of the walk on market" in page.words
    assert "judged together with those of all folds" in page.words


def test_a_training_of_a_walk_that_has_not_begun_has_no_page(finished_run, tmp_path):
    _, trainings = write_walk(tmp_path / "walk", make_walk(tmp_path / "market.csv"), finished_run)
    for training in trainings[1:]:
        shutil.rmtree(training.folder.folder)
    write_walk_pages(tmp_path / "walk")
    assert links_of(tmp_path / "walk" / "index.html") == {"index.html", "folds/01-seed_0/report.html"}


def test_a_walk_that_is_removed_leaves_no_page(finished_run, tmp_path):
    _, trainings = write_walk(tmp_path / "walk", make_walk(tmp_path / "market.csv"), finished_run)
    write_walk_pages(tmp_path / "walk")
    WalkFolder(tmp_path / "walk").remove([training.name for training in trainings])
    assert not list((tmp_path / "walk").rglob("*.html"))


def test_runs_and_the_comparison_in_the_folder_above_them_link_each_other(finished_run, tmp_path):
    names = ["first #1", "second"]
    for name in names:
        shutil.copytree(finished_run, tmp_path / "grid" / name)
    write_comparison([tmp_path / "grid"], out=tmp_path / "grid")
    assert links_of(tmp_path / "grid" / "compare.html") == {"first%20%231/index.html", "second/index.html"}
    assert all("../compare.html" in links_of(tmp_path / "grid" / name / "03_train.html") for name in names)


def test_a_comparison_in_one_run_links_the_run_beside_it(finished_run, tmp_path):
    first, second = (shutil.copytree(finished_run, tmp_path / name) for name in ("first", "second"))
    write_comparison([first, second], out=first)
    assert "../second/index.html" in links_of(first / "compare.html")
    assert "compare.html" in links_of(first / "index.html")


def test_the_page_one_is_on_is_marked_and_its_neighbours_are_named(finished_run):
    page = Page(finished_run / "03_train.full.html")
    current = [link["href"] for link in page.all("a") if "aria-current" in link]
    turns = {link["rel"]: link["href"] for link in page.all("a") if "rel" in link}
    assert current == ["03_train.full.html"]
    assert turns == {"prev": "02_auto_optimize.html", "next": "04_memory_report.html"}
    assert "without code" in page.words


def test_a_page_that_is_not_there_is_not_linked(finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "run")
    for page in folder.glob("04_*.html"):
        page.unlink()
    write_index(folder)
    assert "04_memory_report.html" not in links_of(folder / "03_train.html") | links_of(folder / "index.html")
    assert [stop.reader for stop in stops(folder)][-1] == "03_train.html"


def test_linking_again_changes_nothing(finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "run")
    before = (folder / "03_train.html").read_bytes()
    link_pages(folder)
    assert (folder / "03_train.html").read_bytes() == before


def test_headings_have_anchors_of_their_own_and_a_list_of_them():
    body = with_contents("<p>first</p>" + "".join(f"<h2>{text}</h2>" for text in ("How?", "a &lt;b&gt;", "c", "c")))
    ids = re.findall(r'<h2 id="([^"]*)">', body)
    assert ids == ["how", "a-b", "c", "c-again"]
    assert re.findall(r'href="#([^"]*)">', body) == ids
    assert body.index("first") < body.index('#a-b">a &lt;b&gt;</a>') < body.index("<h2")
    assert with_contents("<h2>one</h2>") == '<h2 id="one">one</h2>'


@pytest.mark.parametrize("name", PAGES)
def test_every_anchor_leads_somewhere(finished_run, name):
    page = Page(finished_run / name)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= set(ids)


def test_a_killed_run_has_no_link_to_what_it_has_not_reached(finished_run, tmp_path):
    state = json.loads((finished_run / "run.json").read_text())
    state["notebooks"] = {name: {"status": "pending"} for name in NOTEBOOKS}
    (tmp_path / "run.json").write_text(json.dumps(state))
    assert links_of(write_index(tmp_path)) == set()
