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
)
RUN_ALL = """
(async () => {
  const app = window.jupyterapp;
  await app.started;
  const widget = await app.commands.execute('docmanager:open', {path: NAME, kernel: {name: 'python3'}});
  await widget.context.ready;
  await widget.sessionContext.ready;
  app.shell.activateById(widget.id);
  while (app.shell.currentWidget !== widget) await new Promise(resolve => setTimeout(resolve, 100));
  await app.commands.execute('notebook:run-all-cells');
  return true;
})()
"""
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
    """A JupyterLab whose folder holds copies of the notebooks and a small market where they look for one."""
    root = tmp_path_factory.mktemp("lab")
    for name in NOTEBOOKS:
        shutil.copy(notebook_path(name), root)
    (root / "training_data").mkdir()
    synthesize(root / "training_data" / "training_data.csv", rows=300, seed=0)
    settings = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.token=", "--port=0"]
    log = root / "lab.log"
    with open(log, "w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *settings, f"--ServerApp.root_dir={root}"],
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


def use_the_widgets(tab):
    """Choose another row, another model and start a short training, as one does with keyboard and mouse."""
    cell_text = "document.querySelector('.jp-Notebook').innerText"
    images = "document.querySelectorAll('.jp-Notebook figure.chart').length"
    tab.evaluate("document.querySelector('.jp-Notebook .slider-container, .jp-Notebook .noUi-handle').focus()")
    before = tab.evaluate("document.querySelector('.jp-Notebook figure.chart').innerHTML")
    tab.evaluate(
        "document.querySelector('.noUi-handle').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowRight', keyCode: 39, bubbles: true}))"
    )
    tab.wait_for(f"document.querySelector('.jp-Notebook figure.chart').innerHTML !== {json.dumps(before)}")
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
    tab.wait_for(f"{cell_text}.includes('tiny with')")
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
    assert tab.evaluate(RUN_ALL.replace("NAME", json.dumps(f"{name}.ipynb")))
    cells = json.loads(tab.evaluate(OUTPUTS))
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == []
    assert all(cell["execution_count"] for cell in cells)
    if name == "00_explore":
        use_the_widgets(tab)
    tab.screenshot(root / f"{name}.png")
    if os.environ.get("DEEPTRADE_SCREENSHOTS"):
        shutil.copy(root / f"{name}.png", os.environ["DEEPTRADE_SCREENSHOTS"])
