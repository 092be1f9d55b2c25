"""What a cell shows when something of ours ends it: one line, its internals on demand."""

import json
import time
from functools import partial

import pytest

from deeptrade import compile_store, open_dataset, optimize, predict, profile
from deeptrade.errors import Interrupted, interruptible
from deeptrade.judging.evaluate import evaluate
from tests.support.kernels import error_of, open_kernel
from tests.support.markets import make_market

SLOW = "for _ in range(600):\n        time.sleep(0.1)"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with open_kernel(tmp_path_factory.mktemp("cells")) as kernel:
        kernel.run_cell("from deeptrade import profile, open_dataset")
        yield kernel


def test_an_error_the_user_can_fix_is_one_line(kernel):
    (line,) = error_of(kernel.run_cell("profile('none.csv')"))
    assert line.startswith("DataError: none.csv does not exist; ")
    assert "\n" not in line


def test_its_internals_are_shown_when_they_are_asked_for(kernel):
    kernel.run_cell("profile('none.csv')")
    shown = "\n".join(error_of(kernel.run_cell("%tb")))
    assert "Traceback (most recent call last)" in shown
    assert "kinds.py" in shown
    assert "does not exist" in shown


def test_an_error_of_ours_that_a_bug_caused_keeps_its_traceback(kernel):
    shown = "\n".join(error_of(kernel.run_cell("profile(3.5)")))
    assert "Traceback (most recent call last)" in shown


def test_an_interrupt_of_our_work_is_one_calm_line(kernel):
    kernel.run_cell("import time\nfrom deeptrade.errors import interruptible")
    kernel.start_cell(f"@interruptible()\ndef work():\n    print('at work', flush=True)\n    {SLOW}\nwork()")
    kernel.wait_for_text("at work")
    kernel.interrupt()
    assert error_of(kernel.finish_cell()) == ["stopped; run the cell again to go on"]


@pytest.mark.slow
def test_a_training_that_is_stopped_is_saved_and_one_calm_line(kernel, tmp_path):
    market = make_market(tmp_path / "market.csv", rows=200)
    settings = f"FitSettings(csv={str(market.path)!r}, out={str(tmp_path / 'out')!r}, model_size='tiny', epochs=999)"
    kernel.run_cell("from deeptrade.settings import FitSettings\nfrom deeptrade.training.fit import fit")
    kernel.start_cell(f"fit({settings}, sink=print)")
    history, deadline = tmp_path / "out" / "history.csv", time.monotonic() + 200
    while not (history.exists() and history.read_text().count("\n") > 5):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kernel.interrupt()
    messages = kernel.finish_cell()
    assert error_of(messages) == ["stopped; run the cell again to go on"]
    said = "".join(content["text"] for kind, content in messages if kind == "stream")
    assert "progress is saved, run again to continue" in said
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "interrupted"


class StoppedOnUse:
    """In the place of a path: the stop button is pressed as soon as it is looked at."""

    def __fspath__(self):
        raise KeyboardInterrupt

    __str__ = __fspath__


WORK = [open_dataset, compile_store, profile, partial(optimize, out="plan"), evaluate, partial(predict, data="")]


@pytest.mark.parametrize("work", WORK)
def test_what_a_notebook_waits_for_can_be_stopped(work):
    with pytest.raises(Interrupted) as caught:
        work(StoppedOnUse())
    assert caught.value.exit_code == 130


def test_a_stop_that_is_told_already_stays_as_it_is():
    with pytest.raises(Interrupted) as caught, interruptible():
        raise Interrupted(15)
    assert caught.value.exit_code == 143
