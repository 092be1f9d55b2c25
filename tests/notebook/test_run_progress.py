import nbformat
import pytest

from deeptrade.notebook import run_progress
from deeptrade.notebook.execute import execute_notebook
from deeptrade.notebook.run_progress import RunProgress
from deeptrade.notebook.watching import Moment
from deeptrade.progress import PROGRESS_TYPE

NAMES = ["01_profile_dataset", "02_auto_optimize", "03_train", "04_memory_report"]
TRAINING = {"what": "training", "unit": "step", "done": 120, "total": 2000, "text": "12 rows/s", "seconds_left": 200.0}
AT_WORK = Moment(3, 23, "Train", TRAINING)
BETWEEN = Moment(4, 23, "Is there evidence of skill?", {})


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(run_progress.time, "monotonic", lambda: now[0])
    return now


def shown(face, sink=print):
    progress = RunProgress(NAMES, face=face, sink=sink)
    progress.begin("03_train")
    return progress


def test_a_log_gets_notebook_phase_progress_and_time_left_in_one_line(clock):
    lines = []
    progress = shown("plain", lines.append)
    clock[0] = 30
    progress(AT_WORK)
    assert lines == ["03_train (3 of 4), training: step 120 of 2,000, 3 min left, 12 rows/s"]


def test_a_log_gets_a_line_each_thirty_seconds_at_most(clock):
    lines = []
    progress = shown("plain", lines.append)
    for _ in range(100):
        clock[0] += 1
        progress(AT_WORK)
    assert len(lines) == 3


def test_a_cell_without_a_bar_is_told_by_its_heading_and_number(clock):
    lines = []
    progress = shown("plain", lines.append)
    clock[0] = 30
    progress(BETWEEN)
    assert lines == ["03_train (3 of 4), Is there evidence of skill?: cell 4 of 23"]


def test_a_terminal_gets_a_bar_on_standard_error_and_lines_above_it(clock, capsys):
    progress = shown("terminal")
    progress(AT_WORK)
    progress.say("03_train: done in 9 s")
    progress.close()
    told = capsys.readouterr()
    assert "03_train (3 of 4), training |" in told.err
    assert "| step 120 of 2,000, 3 min left, 12 rows/s" in told.err
    assert told.out == "03_train: done in 9 s\n"


def test_braces_in_a_heading_are_shown_as_they_are(clock, capsys):
    shown("terminal")(Moment(1, 2, "What is {this}?", {}))
    assert "What is {this}? |" in capsys.readouterr().err


def test_a_notebook_gets_one_output_that_is_updated(clock, monkeypatch):
    contents = []

    class Output:
        update = staticmethod(lambda content, raw: contents.append(content["text/html"]))

    def display(content, raw, display_id):
        contents.append(content["text/html"])
        return Output()

    monkeypatch.setattr("IPython.display.display", display)
    progress = shown("notebook")
    progress(BETWEEN)
    progress(AT_WORK)
    assert len(contents) == 2
    assert 'value="120" max="2000"' in contents[-1]
    assert "03_train (3 of 4), training: step 120 of 2,000" in contents[-1]


def test_silence_says_nothing(clock, capsys):
    shown("silent")(AT_WORK)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_that_runs_tells_its_cells_and_its_bars_and_keeps_no_numbers(tmp_path):
    code = "from deeptrade.progress import Progress\nProgress(7, what='counting').close()"
    cells = [nbformat.v4.new_markdown_cell("# Title\n\ntext\n\n## How many?"), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1")]), tmp_path / "in.ipynb")
    told = []
    execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, watch=told.append)
    assert [(one.cell, one.cells, one.heading) for one in told if not one.work] == [
        (1, 2, "How many?"),
        (2, 2, "How many?"),
    ]
    (work,) = [one.work for one in told if one.work]
    assert (work["what"], work["done"], work["total"]) == ("counting", 0, 7)
    text = (tmp_path / "out.ipynb").read_text()
    assert "<progress" in text
    assert PROGRESS_TYPE not in text
