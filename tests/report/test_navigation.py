import json
import re
import shutil
import zipfile

import pytest

from deeptrade.report.index import write_index
from deeptrade.report.navigation import link_pages, stops, with_contents
from deeptrade.run_folder import NOTEBOOKS
from tests.support.pages import Page

PAGES = ["index.html", *(f"{name}{ending}" for name in NOTEBOOKS for ending in (".html", ".full.html"))]


def links_of(path):
    return {link["href"] for link in Page(path).all("a") if not link["href"].startswith("#")}


def test_every_page_is_two_clicks_from_every_other_and_no_link_is_dead(finished_run):
    links = {name: links_of(finished_run / name) for name in PAGES}
    for name, first in links.items():
        assert all((finished_run / link).exists() for link in first), name
        reached = first.union(*(links[link] for link in first), {name})
        assert set(PAGES) <= reached, name


def test_links_work_where_a_zip_of_the_pages_is_unpacked(finished_run, tmp_path):
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as packed:
        for name in PAGES:
            packed.write(finished_run / name, name)
    zipfile.ZipFile(tmp_path / "run.zip").extractall(tmp_path / "elsewhere")
    for name in PAGES:
        assert all((tmp_path / "elsewhere" / link).exists() for link in links_of(tmp_path / "elsewhere" / name))


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
    assert links_of(write_index(tmp_path)) == {"index.html"}
