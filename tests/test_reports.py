import getpass
import json
import re
import shutil
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from deeptrade.errors import DataError
from deeptrade.report.index import report_pages, write_index
from deeptrade.report.page import render_notebook, scrub
from deeptrade.runs import NOTEBOOKS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.content = [], [], path.read_text(encoding="utf-8")
        self.feed(self.content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="session")
def pages(finished_run):
    names = ["index.html", *(f"{name}{ending}" for name in NOTEBOOKS for ending in (".html", ".full.html"))]
    return {name: Page(finished_run / name) for name in names}


def test_pages_hold_no_address_script_or_frame(pages):
    for page in pages.values():
        for tag, attributes in page.tags:
            assert tag not in ("script", "iframe", "link", "object")
            for value in attributes.values():
                assert not re.search(r"https?:|^//", value or "")
        for style in re.findall(r"<style>(.*?)</style>", page.content, flags=re.DOTALL):
            assert not re.search(r"https?:|@import|url\(", style)


def test_pages_hold_nothing_private(pages):
    words = {getpass.getuser(), socket.gethostname()} - {"root"}
    for page in pages.values():
        text = re.sub(r'src="data:[^"]*"', "", page.content)
        assert str(Path.home()) not in text
        assert "/tmp/" not in text
        for word in words:
            assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)


def test_pages_are_small_and_every_image_has_a_text_of_its_own(pages):
    for name, page in pages.items():
        assert len(page.content) < 1_000_000
        texts = [image.get("alt", "") for image in page.all("img")]
        assert all(len(text) > 10 and "No description" not in text for text in texts)
        if name in ("03_train.html", "04_memory_report.html"):
            assert texts


def test_readers_see_no_code_and_others_do(pages):
    reader, full = pages["03_train.html"], pages["03_train.full.html"]
    assert "FitSettings(" not in reader.content
    assert "highlight" in full.content
    assert any("FitSettings" in text for text in full.text)
    assert "learning_rate" in "".join(reader.text)


def test_the_index_begins_with_the_verdict_and_leads_to_every_page(pages):
    text = "".join(pages["index.html"].text)
    order = [text.index(word) for word in ("Data.", "Settings.", "Training.", "Memory.", "Reports", "Versions")]
    assert order == sorted(order)
    assert "market holds 120 rows (1 rejected)" in text
    assert "zero forecast" in text
    links = {anchor["href"] for anchor in pages["index.html"].all("a")}
    assert links == set(pages) - {"index.html"}


def test_names_from_the_data_are_text(pages):
    assert "<b>/é" not in pages["01_profile_dataset.html"].content
    assert "arr_<b>/é" in "".join(pages["01_profile_dataset.html"].text)


def make_notebook(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def code_cell(source="1 + 1", tags=(), **output):
    outputs = [nbformat.v4.new_output(**output)] if output else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def test_a_failed_notebook_says_so_at_the_top(tmp_path):
    error = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "by <zero>", "traceback": ["secret"]}
    make_notebook(tmp_path / "n.ipynb", nbformat.v4.new_markdown_cell("# A title"), code_cell(**error))
    render_notebook(tmp_path / "n.ipynb", tmp_path / "n.html", code=False)
    page = Page(tmp_path / "n.html")
    text = " ".join("".join(page.text).split())
    assert text.index("failed: ZeroDivisionError: by <zero>") < text.index("A title", 20)
    assert "secret" not in text


def test_tags_take_out_cells_input_and_output(tmp_path):
    stream = {"output_type": "stream", "name": "stdout"}
    cells = [
        code_cell(f"source_{tag}", [tag], **stream, text=f"output_{tag}")
        for tag in ("remove_cell", "remove_input", "remove_output")
    ]
    make_notebook(tmp_path / "n.ipynb", *cells)
    render_notebook(tmp_path / "n.ipynb", tmp_path / "n.html", code=True)
    text = "".join(Page(tmp_path / "n.html").text)
    found = sorted(re.findall(r"(?:source|output)_remove_\w+", text))
    assert found == ["output_remove_input", "source_remove_output"]


def test_parameters_are_a_table_with_the_injected_values(tmp_path):
    make_notebook(
        tmp_path / "n.ipynb",
        code_cell("seed: int = 1  # help", ["parameters"]),
        code_cell("seed = 5", ["injected-parameters"]),
    )
    render_notebook(tmp_path / "n.ipynb", tmp_path / "n.html", code=False)
    text = "".join(Page(tmp_path / "n.html").text).split()
    assert text[text.index("seed") + 1] == "5"
    assert "help" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in /data/people/x/market.csv now", "in market.csv now"),
        (f"{Path.home()}/runs/a", "a"),
        ("MAE 3/4 and 1/2", "MAE 3/4 and 1/2"),
        ("<b>x</b> </p>", "<b>x</b> </p>"),
        ('<a href="03_train.html">', '<a href="03_train.html">'),
        ("text/plain arr_<b>/é", "text/plain arr_<b>/é"),
    ],
)
def test_folders_are_left_out_of_paths(text, expected):
    assert scrub(text) == expected


def test_names_of_user_and_host_are_left_out_as_whole_words(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "maria")
    monkeypatch.setattr(socket, "gethostname", lambda: "box-7")
    assert scrub("maria on box-7, mariachi") == "... on ..., mariachi"


@pytest.fixture
def killed(finished_run, tmp_path):
    """The run of a process that was killed in training: samples and steps, no result."""
    folder = tmp_path / "killed"
    shutil.copytree(finished_run / "train", folder)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"status": "interrupted", "steps": 0}))
    timeline = folder / "memory.jsonl"
    timeline.write_bytes(timeline.read_bytes()[:-20])
    return folder


def test_a_killed_run_has_a_page_that_says_what_is_known(killed):
    path = report_pages(killed)
    page = Page(path)
    text = "".join(page.text)
    assert "It was stopped after 3 steps" in text
    assert "was killed or is still going" in text
    assert len(page.all("img")) == 3


def test_a_failed_notebook_is_told_in_the_index(finished_run, tmp_path):
    folder = tmp_path / "failed"
    folder.mkdir()
    state = json.loads((finished_run / "run.json").read_text())
    state["notebooks"]["03_train"] = {"status": "failed", "seconds": 1.0, "error": "DeadKernelError: died"}
    state["notebooks"]["04_memory_report"] = {"status": "pending"}
    (folder / "run.json").write_text(json.dumps(state))
    text = "".join(Page(write_index(folder)).text)
    assert "failed: 03_train: DeadKernelError: died" in " ".join(text.split())
    assert "Not run yet." in text


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        report_pages(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        report_pages(tmp_path / "none")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_without_a_network_shows_pages_without_a_complaint(finished_run, tmp_path):
    for name in ("index.html", "03_train.html", "04_memory_report.full.html"):
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--screenshot={tmp_path / 'shot.png'}"]
        done = subprocess.run([*command, f"file://{finished_run / name}"], capture_output=True, text=True, timeout=120)
        assert (tmp_path / "shot.png").stat().st_size > 10_000
        assert "CONSOLE" not in done.stderr
        (tmp_path / "shot.png").unlink()
