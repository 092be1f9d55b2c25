import getpass
import json
import re
import shutil
import socket
from pathlib import Path

import nbformat
import pytest

from deeptrade.errors import DataError
from deeptrade.report.index import report_pages, write_index
from deeptrade.report.page import render_notebook
from deeptrade.run_folder import NOTEBOOKS
from tests.support.pages import Page


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
        assert page.style
        assert not re.search(r"https?:|@import|url\(", page.style)


def test_pages_hold_nothing_private(pages):
    words = {getpass.getuser(), socket.gethostname()} - {"root"}
    for page in pages.values():
        text = re.sub(r'src="data:[^"]*"', "", page.content)
        assert str(Path.home()) not in text
        assert "/tmp/" not in text
        for word in words:
            assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)


def test_pages_are_small_hold_no_bitmap_and_every_figure_has_a_text_of_its_own(pages):
    for name, page in pages.items():
        assert len(page.content) < 1_000_000
        assert not page.all("img")
        assert "data:image" not in page.content
        texts = [drawing.get("aria-label", "") for drawing in page.drawings]
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
    order = [
        text.index(word)
        for word in ("of skill", "Peak memory", "Data.", "Settings.", "Training.", "Memory.", "Those that differ")
    ]
    assert order == sorted(order)
    assert "market holds 120 rows (1 rejected)" in text
    assert "Nothing can be said of skill: too few independent rows; by rank IC on 10 rows" in text
    links = {anchor["href"] for anchor in pages["index.html"].all("a")}
    assert links == set(pages)


def test_names_from_the_data_are_text(pages):
    assert "<b>/é" not in pages["01_profile_dataset.html"].content
    assert "arr_<b>/é" in "".join(pages["01_profile_dataset.html"].text)


def make_notebook(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def markdown(text):
    return nbformat.v4.new_markdown_cell(text)


def render_both(notebook):
    pages = []
    for ending, code in ((".html", False), (".full.html", True)):
        render_notebook(notebook, notebook.with_suffix(ending), code=code)
        pages.append(Page(notebook.with_suffix(ending)))
    return pages


def code_cell(source="1 + 1", tags=(), **output):
    outputs = [nbformat.v4.new_output(**output)] if output else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def test_a_failed_notebook_says_so_at_the_top(tmp_path):
    error = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "by <zero>", "traceback": ["secret"]}
    make_notebook(tmp_path / "n.ipynb", markdown("# A title\n\nA text."), code_cell(**error))
    reader, full = render_both(tmp_path / "n.ipynb")
    for text in (reader.words, full.words):
        assert text.index("A title") < text.index("failed: ZeroDivisionError: by <zero>") < text.index("A text.")
    assert "secret" not in reader.words
    assert "secret" in full.words


def test_a_notebook_whose_process_was_killed_says_so_at_the_top(tmp_path):
    done, killed = code_cell("'done'"), code_cell("'killed'")
    done.execution_count = 1
    notebook = nbformat.v4.new_notebook(cells=[done, killed], metadata={"papermill": {"exception": None}})
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert "failed: the notebook's process ended" in render_both(tmp_path / "n.ipynb")[0].words
    killed.execution_count = 2
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert "failed" not in render_both(tmp_path / "n.ipynb")[0].words


def test_papermills_own_error_banner_is_left_out(tmp_path):
    mark = nbformat.v4.new_markdown_cell("<b>An Exception</b>", metadata={"tags": ["papermill-error-cell-tag"]})
    make_notebook(tmp_path / "n.ipynb", mark, markdown("A text."))
    for page in render_both(tmp_path / "n.ipynb"):
        assert "An Exception" not in page.words


def test_the_first_bold_sentence_is_the_verdict_and_comes_below_the_title(tmp_path):
    bold = {"output_type": "execute_result", "data": {"text/markdown": "**All <b>is</b> well.**"}}
    make_notebook(tmp_path / "n.ipynb", markdown("# A title\n\nA text."), code_cell(**bold), markdown("## More"))
    for page in render_both(tmp_path / "n.ipynb"):
        assert page.words.index("A title") < page.words.index("All <b>is</b> well.") < page.words.index("A text.")
        assert page.words.count("All <b>is</b> well.") == 1


def test_a_verdict_with_a_heading_of_its_own_is_shown_there_too(tmp_path):
    bold = {"output_type": "execute_result", "data": {"text/markdown": "**All is well.**"}}
    make_notebook(tmp_path / "n.ipynb", markdown("# A title"), markdown("## How?"), code_cell(**bold))
    for page in render_both(tmp_path / "n.ipynb"):
        assert page.words.count("All is well.") == 2


def test_what_stands_beside_a_verdict_stays_where_it_is(tmp_path):
    both = {"output_type": "execute_result", "data": {"text/markdown": "**All is well.** Judged on 9 rows."}}
    make_notebook(tmp_path / "n.ipynb", markdown("# A title"), markdown("A text."), code_cell(**both))
    for page in render_both(tmp_path / "n.ipynb"):
        assert page.words.index("All is well.") < page.words.index("A text.") < page.words.index("Judged on 9 rows.")


def test_markdown_made_from_data_holds_no_html(tmp_path):
    text = {"output_type": "execute_result", "data": {"text/markdown": "- column <img src=x onerror=f()> & `a`"}}
    make_notebook(tmp_path / "n.ipynb", code_cell(**text))
    for page in render_both(tmp_path / "n.ipynb"):
        assert not page.all("img")
        assert "column <img src=x onerror=f()> & a" in page.words


def test_warnings_of_libraries_are_for_the_full_page_alone(tmp_path):
    stream = {"output_type": "stream", "name": "stderr", "text": "W0000 a library warns"}
    make_notebook(tmp_path / "n.ipynb", code_cell(**stream))
    reader, full = render_both(tmp_path / "n.ipynb")
    assert "a library warns" not in reader.words
    assert "a library warns" in full.words


def test_what_a_cell_prints_around_a_progress_bar_is_one_text(tmp_path):
    cell = code_cell()
    bar = nbformat.v4.new_output("display_data", {"text/html": "<progress></progress>"})
    line = lambda text: nbformat.v4.new_output("stream", name="stdout", text=text)  # noqa: E731
    cell.outputs = [line("a\n"), bar, line("b\n"), line("c\n")]
    make_notebook(tmp_path / "n.ipynb", cell)
    reader, _ = render_both(tmp_path / "n.ipynb")
    assert len(reader.all("pre")) == 2
    assert "b\nc" in "".join(reader.text)


def test_tags_remove_cells_input_and_output(tmp_path):
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


def test_a_parameter_that_is_not_a_constant_is_shown_as_written(tmp_path):
    make_notebook(tmp_path / "n.ipynb", code_cell("rate = float('nan')\nsizes = [1, 2]", ["parameters"]))
    assert "rate float('nan') sizes [1, 2]" in render_both(tmp_path / "n.ipynb")[0].words


@pytest.fixture
def killed(finished_run, tmp_path):
    """A run killed during training: samples and steps, but no result."""
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
    assert "Nothing later is known." in text
    assert len(page.all("figure")) == 3


def test_the_index_names_a_failed_notebook(finished_run, tmp_path):
    folder = tmp_path / "failed"
    folder.mkdir()
    state = json.loads((finished_run / "run.json").read_text())
    state["notebooks"]["03_train"] = {"status": "failed", "seconds": 1.0, "error": "DeadKernelError: died"}
    state["notebooks"]["04_memory_report"] = {"status": "pending"}
    (folder / "run.json").write_text(json.dumps(state))
    text = Page(write_index(folder)).words
    assert "failed: 03_train: DeadKernelError: died" in text
    assert "How training went Training. Not run yet. failed: DeadKernelError: died" in text
    assert "Where the memory went Memory. Not measured yet. not run yet" in text


def write_timeline(folder, *, ending=""):
    start = {"kind": "start", "time": "2026-01-02T03:04:05+00:00", "limit_bytes": 400 << 20, "limit_source": "user"}
    samples = [{"phase": "train", "rss_bytes": 300 << 20, "available_bytes": 0}] * 2
    lines = [start | {"interval_seconds": 0.2, "pid": 1}]
    lines += [sample | {"seconds": at, "anon_bytes": (100 * at) << 20} for at, sample in enumerate(samples, start=1)]
    (folder / "memory.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + ending)


def test_a_timeline_alone_makes_a_page(tmp_path):
    write_timeline(tmp_path, ending='{"seconds": 3, "pha')
    page = Page(report_pages(tmp_path, sink=None))
    assert "Training. Not run yet." in page.words
    assert (
        "Memory. Peak memory 200.0 MiB, within the limit of 400.0 MiB (user): 50% left, in phase 'train'." in page.words
    )
    assert "last training start 2026-01-02 03:04 UTC" in page.words
    assert len(page.all("figure")) == 1


def test_a_step_torn_by_a_kill_is_left_out(tmp_path):
    write_timeline(tmp_path)
    (tmp_path / "history.csv").write_text("step,loss\n1,0.5\n2,0.25\n3,0.1")
    words = Page(report_pages(tmp_path)).words
    assert "Training. It was killed after 2 steps; run it again to continue." in words


def test_the_report_says_where_it_is(tmp_path):
    write_timeline(tmp_path)
    lines = []
    path = report_pages(tmp_path, sink=lines.append)
    assert path == tmp_path / "report.html"
    assert lines == [f"report: {path}"]


def test_a_folder_without_a_run_is_an_error_of_one_line(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        report_pages(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        report_pages(tmp_path / "none")
