import io
import json
import threading
from contextlib import redirect_stdout

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from deeptrade.memory import PhaseRow
from deeptrade.notebook.cell_memory import cell_line

ALLOCATE = "block = bytearray(b'x') * 60_000_000"


@pytest.fixture
def shell():
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "deeptrade")
    yield shell
    shell.run_line_magic("unload_ext", "deeptrade")


def run(shell, cell):
    """Run a cell as a user would; returns what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        shell.run_cell(cell)
    return printed.getvalue()


def test_a_cell_that_asks_for_it_says_what_it_did_to_memory(shell):
    line = run(shell, f"%%memory load\n{ALLOCATE}\nimport time; time.sleep(0.3)\ndel block").strip()
    assert line.startswith("load: ")
    peak = float(line.split("peak ")[1].split("(+")[1].split(" MiB")[0])
    assert peak >= 55
    assert " s; limit " in line
    assert run(shell, "x = 1") == ""


def test_the_cell_runs_as_it_would_without(shell):
    assert "load: " in run(shell, "%%memory load\nvalue = 20\nprint(value + 1)")
    assert shell.user_ns["value"] == 20
    failed = shell.run_cell("%%memory broken\n1 / 0")
    assert isinstance(failed.error_in_exec, ZeroDivisionError)
    assert "after: " in run(shell, "%%memory after\npass")


def test_a_cell_without_a_name_is_called_by_its_number(shell):
    assert run(shell, "%%memory\npass").startswith("cell ")


def test_every_cell_can_be_measured(shell):
    run(shell, "%memory on")
    assert run(shell, "x = 1").startswith("cell ")
    run(shell, "%memory off")
    assert run(shell, "x = 2") == ""


def test_what_is_not_accepted_is_said(shell):
    assert "'of' is not accepted; use" in run(shell, "%memory of")
    assert "no cell has been measured; put %%memory" in run(shell, "%memory")


def test_a_notebook_shows_the_table_the_growth_and_the_timeline_of_its_cells():
    kept = "held.append(bytearray(b'x') * 5_000_000)"
    cells = ["%load_ext deeptrade\nheld = []", *[f"%%memory load\n{kept}"] * 8, "%memory"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = json.dumps(notebook.cells[-1].outputs)
    assert "Memory grows" in outputs
    assert "each visit of 'load' leaves 4.8 MiB more" in outputs
    assert "<figcaption>Memory peaks" in outputs
    assert outputs.count("<th ") >= 7


def test_a_monitor_at_the_end_of_a_cell_shows_what_it_saw():
    cells = [
        "%load_ext deeptrade\nfrom deeptrade import MemoryMonitor",
        f"with MemoryMonitor() as monitor, monitor.phase('fill'):\n    {ALLOCATE}\nmonitor",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = json.dumps(notebook.cells[-1].outputs)
    assert "Peak memory" in outputs
    assert "<figcaption>Memory peaks" in outputs
    assert "fill" in outputs


def test_a_cell_within_a_cell_belongs_to_the_outer_one_and_leaves_no_thread(shell):
    before = threading.active_count()
    run(shell, "%memory on")
    assert run(shell, "%%capture caught\nx = 1").startswith("cell ")
    inner = run(shell, "get_ipython().run_cell('y = 2')\nz = 3")
    assert inner.count("before") == 1
    assert "before" not in shell.user_ns["caught"].stdout
    run(shell, "%memory off")
    assert threading.active_count() == before


def test_the_first_line_is_found_behind_blank_ones_and_above_other_magics(shell):
    assert run(shell, "\n\n%%memory late\nx = 5").startswith("late: ")
    assert "Wall time" in run(shell, "%%memory timed\n%%time\nx = 6")
    assert (shell.user_ns["x"], run(shell, "%%memory a/b\npass").split(": ")[0]) == (6, "a\N{DIVISION SLASH}b")


def test_a_cell_that_is_typed_can_be_finished(shell):
    assert shell.check_complete("%%memory\n")[0] in ("complete", "incomplete")
    assert shell.check_complete("%%memory\nx = 1\n\n")[0] in ("complete", "incomplete")


def test_a_cell_has_one_name_however_often_it_runs(shell):
    run(shell, "%memory on")
    for text in ("a = 1", "b = 2"):
        printed = io.StringIO()
        with redirect_stdout(printed):
            for _ in range(2):
                shell.run_cell(text, store_history=True, cell_id=f"id of {text}")
        assert len({line.split(":")[0] for line in printed.getvalue().splitlines() if "before" in line}) == 1
    run(shell, "%memory off")


def test_memory_that_falls_has_a_minus():
    row = PhaseRow("free", before=3 << 20, after=1 << 20, peak=4 << 20, seconds=1.25)
    assert cell_line(row, 8 << 20) == (
        "free: 3.0 MiB before, 1.0 MiB after (-2.0 MiB), peak 4.0 MiB (+1.0 MiB), 1.2 s; limit 8.0 MiB"
    )
