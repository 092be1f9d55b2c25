"""The pages of docs/: what they must name, where their links lead, and the site that `make docs` makes of them."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import deeptrade

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"])
NO_SPHINX = "Sphinx is not installed: make docs installs it"


def anchors_of(page):
    """The anchors of a Markdown page's headings, as GitHub and Sphinx name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_public_name_is_on_the_page_of_the_api():
    text = (DOCS / "api.md").read_text()
    assert [name for name in deeptrade.__all__ if name != "__version__" and f":: deeptrade.{name}\n" not in text] == []


def test_every_page_is_in_the_contents():
    contents = (DOCS / "index.md").read_text().splitlines()
    assert [page.stem for page in DOCS.glob("*.md") if page.stem != "index" and page.stem not in contents] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_one(page):
    for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = page.parent / path if path else page
        assert anchor in anchors_of(target), f"{page.name}: {path}#{anchor}"


class Links(HTMLParser):
    """The addresses that a page refers to, its ids, and what it would load from elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.ids, self.loaded = [], set(), []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        address = found.get("href") or found.get("src") or ""
        self.addresses.append(address)
        if tag in ("script", "link", "img", "iframe") and re.match(r"(https?:)?//", address):
            self.loaded.append(address)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason=NO_SPHINX)
def test_the_site_is_made_without_a_warning_and_opens_from_disk(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = {page: Links(page) for page in tmp_path.glob("*.html")}
    assert {"index.html", "api.html", "glossary.html", "benchmarks.html"} <= {page.name for page in pages}
    for page, links in pages.items():
        assert links.loaded == [], page.name
        for address in links.addresses:
            if re.match(r"[a-z]+:|$", address):
                continue
            path, _, anchor = unquote(address).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            assert target.exists(), f"{page.name}: {address}"
            assert not anchor or target.suffix != ".html" or target not in pages or anchor in pages[target].ids, address
