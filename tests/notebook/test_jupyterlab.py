"""The notebooks as users meet them: JupyterLab in a browser, 'Run All'."""

import json
import os
import shutil
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from deeptrade.making.synthetic import synthesize
from deeptrade.notebook.execute import notebook_path
from tests.support.browser import CHROMIUM, NO_CHROMIUM, open_tab

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]
NOTEBOOKS = (
    "00_explore",
    "01_profile_dataset",
    "02_auto_optimize",
    "03_train",
    "04_memory_report",
    "05_compare_runs",
    "06_walk_forward",
    "07_trading_agent",
)
BRIEF = {
    "06_walk_forward": {"folds: int = 5": "folds: int = 2", "max_steps: int = 0": "max_steps: int = 3"},
    "07_trading_agent": {"rl_epochs: int = 10": "rl_epochs: int = 2"},
}
"""Edits of the first cell, so that a test takes no quarter of an hour."""

RUN_BY_RUN = ("01_profile_dataset", "02_auto_optimize")
QUICK = {"model_size": "tiny", "max_steps": "2", "quick": "true", "skip_rl": "true"}

OPEN = """
(async () => {
  const app = window.jupyterapp;
  await app.started;
  const widget = await app.commands.execute('docmanager:open', {path: NAME, kernel: {name: 'python3'}});
  await widget.context.ready;
  await widget.sessionContext.ready;
  app.shell.activateById(widget.id);
  while (app.shell.currentWidget !== widget) await new Promise(resolve => setTimeout(resolve, 100));
  return true;
})()
"""
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)"
EDIT = """
(() => {
  const cell = window.jupyterapp.shell.currentWidget.context.model.sharedModel.cells[INDEX];
  cell.setSource(cell.getSource().replace(OLD, NEW));
  return cell.getSource().includes(NEW);
})()
"""
SAVE = "window.jupyterapp.commands.execute('docmanager:save').then(() => true)"
OUTPUTS = """
(() => {
  const cells = window.jupyterapp.shell.currentWidget.context.model.sharedModel.toJSON().cells;
  return JSON.stringify(cells.filter(cell => cell.cell_type === 'code'));
})()
"""


def answers(address):
    """Whether a Jupyter server listens at the address."""
    try:
        with urlopen(f"{address}/api/status"):
            return True
    except (URLError, ValueError):
        return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `deeptrade lab` opens it, with a small market where the notebooks look for one."""
    root = tmp_path_factory.mktemp("lab")
    (root / "training_data").mkdir()
    synthesize(root / "training_data" / "training_data.csv", rows=300, seed=0)
    settings = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.token=", "--port=0"]
    log = root / "lab.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "deeptrade", "lab", "--out", str(root), "--", *settings],
            stderr=file,
            stdout=file,
            env=os.environ | {"JUPYTER_CONFIG_DIR": str(root / ".config"), "JUPYTER_DATA_DIR": str(root / ".data")},
        )
    try:
        address = ""
        deadline = time.monotonic() + 120
        while not answers(address):  # the log names the address before anybody listens there
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.3)
            lines = [line for line in log.read_text().splitlines() if "http://" in line and "/lab" in line]
            address = lines[0][lines[0].index("http://") :].split("/lab")[0] if lines else ""
        with open_tab(root) as tab:
            tab.show(width=1300, height=1000)
            tab.open(f"{address}/lab")
            tab.wait_for("!!window.jupyterapp")
            yield tab, root
    finally:
        server.terminate()
        server.wait()


def open_notebook(tab, name):
    """Open a notebook and bring it to the front."""
    assert tab.evaluate(OPEN.replace("NAME", json.dumps(f"{name}.ipynb")))


def edit(tab, index, old, new):
    """Replace text in a cell of the notebook in front, as one types it."""
    typed = EDIT.replace("INDEX", str(index)).replace("OLD", json.dumps(old)).replace("NEW", json.dumps(new))
    assert tab.evaluate(typed)


def use_the_widgets(tab):
    """Choose another row, another model and start a short training, as one does with keyboard and mouse."""
    cell_text = "document.querySelector('.jp-Notebook').textContent"  # innerText lacks cells that are out of sight
    images = "document.querySelectorAll('.jp-Notebook figure.chart').length"
    tab.evaluate("document.querySelector('.jp-Notebook .slider-container, .jp-Notebook .noUi-handle').focus()")
    before = tab.evaluate("document.querySelector('.jp-Notebook figure.chart')?.innerHTML")
    tab.evaluate(
        "document.querySelector('.noUi-handle').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowRight', keyCode: 39, bubbles: true}))"
    )
    tab.wait_for(f"document.querySelector('.jp-Notebook figure.chart')?.innerHTML !== {json.dumps(before)}")
    tab.wait_for(f"{cell_text}.includes('Targets of row 1, ') && !{cell_text}.includes('Targets of row 0, ')")
    choose = """
    (() => {
      const list = [...document.querySelectorAll('.jp-Notebook select')].filter(
        one => [...one.options].some(option => option.text === 'tiny'));
      for (const one of list) {
        one.value = 'tiny';
        one.dispatchEvent(new Event('change', {bubbles: true}));
      }
      return list.length;
    })()
    """
    assert tab.evaluate(choose) == 2
    tab.wait_for(f"{cell_text}.includes('tiny, recurrent, with')")
    shown = tab.evaluate(images)
    button = "[...document.querySelectorAll('.jp-Notebook button')].find(one => one.innerText === 'WORD')"

    def press(word):
        tab.wait_for(f"!{button.replace('WORD', word)}.disabled")
        tab.evaluate(f"{button.replace('WORD', word)}.click()")

    press("start")
    tab.wait_for(f"{cell_text}.includes('completed: 20 steps') && {images} > {shown}", seconds=240)
    more = """
    (() => {
      const steps = document.querySelector('.jp-Notebook input[type=number]');
      steps.value = 9999;
      for (const event of ['input', 'change']) steps.dispatchEvent(new Event(event, {bubbles: true}));
    })()
    """
    tab.evaluate(more)
    press("start")
    tab.wait_for(f"/running: ([3-9][0-9]|[0-9,]+[0-9][0-9]) steps/.test({cell_text})", seconds=240)
    press("stop")
    tab.wait_for(f"{cell_text}.includes('stopped: ')")
    tab.evaluate(
        "[...document.querySelectorAll('.jp-toast-button, button')].find(one => one.innerText === 'No')?.click()"
    )
    tab.evaluate("[...document.querySelectorAll('.jp-Notebook figure.chart')].pop().scrollIntoView({block: 'end'})")
    time.sleep(0.5)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_in_jupyterlab_finishes_without_an_error(lab, name):
    tab, root = lab
    open_notebook(tab, name)
    for old, new in BRIEF.get(name, {}).items():
        edit(tab, 1, old, new)
    assert tab.evaluate(RUN_ALL)
    cells = json.loads(tab.evaluate(OUTPUTS))
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == []
    assert all(cell["execution_count"] for cell in cells)
    if name == "00_explore":
        use_the_widgets(tab)
    tab.screenshot(root / f"{name}.png")
    if os.environ.get("DEEPTRADE_SCREENSHOTS"):
        shutil.copy(root / f"{name}.png", os.environ["DEEPTRADE_SCREENSHOTS"])


@pytest.mark.timeout(600)
def test_an_edit_that_is_saved_changes_nothing_of_what_run_does(lab):
    tab, root = lab
    before = {name: notebook_path(name).read_bytes() for name in NOTEBOOKS}
    for name in RUN_BY_RUN:
        open_notebook(tab, name)
        edit(tab, 2, "from IPython.display", "raise SystemExit('edited')\nfrom IPython.display")
        assert tab.evaluate(SAVE)
        assert "raise SystemExit('edited')" in (root / f"{name}.ipynb").read_text()
    given = [part for name, value in QUICK.items() for part in ("-r", name, value)]
    command = [sys.executable, "-m", "deeptrade", "run", "training_data/training_data.csv", "--out", "edited", *given]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [path.name for path in (root / "edited").glob("*.ipynb") if "edited')" in path.read_text()]
    assert {name: notebook_path(name).read_bytes() for name in NOTEBOOKS} == before


def test_a_mistake_in_jupyterlab_is_one_line_that_says_what_to_do(lab):
    tab, _ = lab
    open_notebook(tab, "05_compare_runs")
    edit(tab, 1, "runs: str", "run: str")
    assert tab.evaluate(RUN_ALL)
    line = "SettingsError: this notebook has no parameter 'run'; did you mean 'runs'?"
    tab.wait_for(f"window.jupyterapp.shell.currentWidget.node.innerText.includes({json.dumps(line)})")
    outputs = [output for cell in json.loads(tab.evaluate(OUTPUTS)) for output in cell["outputs"]]
    assert [output["traceback"] for output in outputs if output["output_type"] == "error"] == [[line]]
