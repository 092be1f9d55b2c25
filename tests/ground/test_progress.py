import sys

import pytest

from deeptrade import progress as module
from deeptrade.errors import SettingsError
from deeptrade.progress import PROGRESS_TYPE, Progress, format_left


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_each_tenth_and_at_the_end(clock):
    lines = []
    progress = Progress(200, face="plain", sink=lines.append)
    for step in range(1, 201):
        progress.update(step, "loss 0.5")
    assert [line.split()[1] for line in lines] == [str(step) for step in range(20, 201, 20)]
    assert lines[0] == "step 20 of 200: loss 0.5"


def test_plain_lines_come_each_thirty_seconds_where_steps_are_slow(clock):
    lines = []
    progress = Progress(10_000, face="plain", sink=lines.append)
    for step in range(1, 13):
        clock[0] += 10
        progress.update(step, "")
    assert [line.split()[1] for line in lines] == ["3", "6", "9", "12"]


def test_a_continued_run_counts_from_where_it_stands(clock):
    lines = []
    progress = Progress(100, start=95, face="plain", sink=lines.append)
    for step in range(96, 101):
        progress.update(step, "")
    assert [line.split()[1] for line in lines] == ["100"]


def test_a_notebook_prints_so_many_lines_and_then_keeps_the_latest_in_one_output(clock, monkeypatch):
    shown, printed = [], []

    class Output:
        update = staticmethod(lambda content, **options: shown.append(content["text/plain"]))

    def display(content, **options):
        shown.append(content["text/plain"])
        return Output()

    monkeypatch.setattr("IPython.display.display", display)
    with module.BoundedLines(printed.append, most=3) as say:
        for number in range(30):
            clock[0] += 0.1
            say(f"line {number}")
    assert printed == ["line 0", "line 1", "line 2"]
    assert len(shown) <= 5
    assert shown[-1].splitlines() == ["... 27 more lines; the latest:", *(f"line {n}" for n in range(20, 30))]


def test_silent_says_nothing(capsys):
    lines = []
    progress = Progress(3, face="silent", sink=lines.append)
    for step in (1, 2, 3):
        progress.update(step, "")
    progress.close()
    assert (lines, *capsys.readouterr()) == ([], "", "")


def test_the_terminal_gets_a_bar_on_standard_error(capsys):
    progress = Progress(3, face="terminal")
    for step in (1, 2, 3):
        progress.update(step, "loss 0.5")
    progress.close()
    text = capsys.readouterr()
    assert "3/3" in text.err
    assert text.out == ""


def test_a_notebook_gets_one_output_updated_at_most_once_a_second(clock, monkeypatch):
    from IPython import display

    shown = []

    class Handle:
        def update(self, content, raw):
            shown.append(content)

    monkeypatch.setattr(display, "display", lambda content, raw, display_id: Handle())
    progress = Progress(100, face="notebook")
    for step in range(1, 101):
        clock[0] += 0.1
        progress.update(step, "loss <b>")
    assert len(shown) == 10
    assert 'value="100" max="100"' in shown[-1]["text/html"]
    assert "loss &lt;b&gt;" in shown[-1]["text/html"]
    numbers = shown[4][PROGRESS_TYPE]
    assert (numbers["what"], numbers["unit"], numbers["done"], numbers["total"]) == ("training", "step", 52, 100)
    assert numbers["seconds_left"] == pytest.approx(4.8)


def test_the_time_left_follows_the_steps_so_far(clock):
    lines = []
    progress = Progress(100, face="plain", sink=lines.append)
    for step in range(1, 21):
        clock[0] += 6
        progress.update(step, "loss 0.5")
    assert lines[-1] == "step 20 of 100: loss 0.5, 8 min left"


def test_a_time_left_is_as_exact_as_such_an_estimate_is():
    assert [format_left(seconds) for seconds in (8.2, 89, 200, 9000)] == [
        "8 s left",
        "89 s left",
        "3 min left",
        "2.5 h left",
    ]


def test_auto_is_plain_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", open(__file__))  # noqa: SIM115 (a file is no terminal)
    assert module.choose_face("auto") == "plain"
    sys.stderr.close()


def test_an_unknown_face_is_refused():
    with pytest.raises(SettingsError, match=r"'bar' is not accepted; choose from auto, terminal"):
        Progress(3, face="bar")
