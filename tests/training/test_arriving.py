"""A training that begins while its data is still being read: how fast it comes changes nothing but the time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeptrade.errors import DataError, RunConflictError, SettingsError
from deeptrade.run_folder import TrainingFolder
from deeptrade.settings import FitSettings
from deeptrade.store import compile_store
from deeptrade.store.growing import GrowingStore
from deeptrade.store.locate import partial_path
from deeptrade.store.summary import TooManyBadRowsError
from deeptrade.training import arriving
from deeptrade.training.fit import fit
from tests.support.dask import wait_until
from tests.support.markets import make_market
from tests.support.training_runs import QUICK, comparable
from tests.support.workers import options_of

WINDOW = 16
EARLY = QUICK | {"while_compiling": True, "epochs": 2}
NOTE = GrowingStore._note


@pytest.fixture(autouse=True)
def _small(monkeypatch, small_blocks):
    monkeypatch.setattr(arriving, "WINDOW_ROWS", WINDOW)


@pytest.fixture
def market(tmp_path):
    """Three hundred rows in fifty blocks, two of them rejected, one without targets."""
    market = make_market(tmp_path / "market.csv", rows=300)
    for row in (5, 100):
        market.cells[row][1] = "[[1]]"
    market.cells[40][-2:] = ["", ""]
    market.write()
    return market


def train(market, out, **options):
    return fit(FitSettings(**EARLY | {"csv": str(market.path), "out": str(out)} | options), progress="silent")


@pytest.fixture
def expected(market, tmp_path):
    """What a run leaves for which everything was there at once."""
    store = compile_store(market.path, store=tmp_path / "there.dtstore")
    train(market, tmp_path / "expected", store=str(store))
    return comparable(tmp_path / "expected")


def steps_of(out):
    return TrainingFolder(out).count_steps()


def held_until(monkeypatch, happens, *, rows=180):
    """Let a compile wait after so many rows until something has happened."""

    def note(self, folder, records):
        NOTE(self, folder, records)
        if self.rows >= rows > self.rows - records[-1].usable:
            wait_until(lambda: happens() or self._cancelled.is_set(), what="the training")

    monkeypatch.setattr(GrowingStore, "_note", note)


def test_the_first_steps_are_taken_before_all_rows_are_there(market, tmp_path, expected, monkeypatch):
    out, store = tmp_path / "out", tmp_path / "market.dtstore"
    seen = []

    def has_stepped():
        if steps_of(out) >= 8:
            seen.append(store.exists())
        return bool(seen)

    held_until(monkeypatch, has_stepped)
    train(market, out, checkpoint_every=1)
    assert seen == [False]
    train(market, tmp_path / "other", checkpoint_every=1)
    assert comparable(out) == comparable(tmp_path / "other") == expected


def test_the_split_is_that_of_a_run_that_waits_and_so_are_later_epochs(market, tmp_path, expected):
    train(market, tmp_path / "waits", while_compiling=False)
    found, waits = expected[0], comparable(tmp_path / "waits")[0]
    assert (found["rows"], found["data_id"], found["steps"]) == (waits["rows"], waits["data_id"], waits["steps"])
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("expected", "waits")]
    assert results[0]["judged_rows"] == results[1]["judged_rows"]
    assert results[0]["arriving_rows"] == WINDOW
    assert "arriving_rows" not in results[1]
    assert found["weights_sha256"] != waits["weights_sha256"]


def test_a_run_whose_steps_end_early_is_judged_on_all_validation_rows(market, tmp_path, expected):
    result = train(market, tmp_path / "out", max_steps=3)
    rows = expected[0]["rows"]
    assert result["rows"]["validation"] == rows["validation"]
    assert result["rows"]["read"] == rows["read"]
    assert (result["steps"], result["rows"]["trained"]) == (3, 12)


def test_data_smaller_than_a_window_is_all_there_at_once(market, tmp_path, monkeypatch):
    monkeypatch.setattr(arriving, "WINDOW_ROWS", 2048)
    assert train(market, tmp_path / "out")["status"] == "completed"


FAULTY = "rows are rejected, max_bad_rows=0.01 allows 3; first: line"


def test_a_fault_that_is_found_later_ends_the_run_with_the_line_of_the_check(market, tmp_path, monkeypatch):
    for row in range(280, 290):
        market.cells[row][2] = "[[1]]"
    market.write()
    with pytest.raises(TooManyBadRowsError) as checked:
        train(market, tmp_path / "waits", while_compiling=False, store=str(tmp_path / "other.dtstore"))
    out = tmp_path / "out"
    held_until(monkeypatch, lambda: steps_of(out) >= 4)
    with pytest.raises(TooManyBadRowsError, match=FAULTY) as found:
        train(market, out, checkpoint_every=1)
    ledger = out / "ledger.refused.csv"
    assert str(found.value) == str(checked.value).replace(str(tmp_path / "waits" / "ledger.csv"), str(ledger))
    assert ledger.read_bytes() == (tmp_path / "waits" / "ledger.csv").read_bytes()
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "failed"
    assert result["steps"] >= 4


def test_a_file_that_changes_meanwhile_ends_the_run_in_one_line(market, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def change():
        if steps_of(out) >= 4:
            os.utime(market.path, ns=(1, 1))
            return True
        return False

    held_until(monkeypatch, change)
    with pytest.raises(DataError, match=r"market has changed while it was read; run again when it is whole"):
        train(market, out, checkpoint_every=1)
    assert steps_of(out) >= 4


def test_training_and_reading_stop_together_and_both_go_on(market, tmp_path, expected, monkeypatch):
    out, sent = tmp_path / "out", []

    def stop():
        if steps_of(out) >= 6 and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    held_until(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        train(market, out, checkpoint_every=1)
    assert partial_path(tmp_path / "market.dtstore").exists()
    monkeypatch.setattr(GrowingStore, "_note", NOTE)
    train(market, out, checkpoint_every=1)
    assert comparable(out) == expected


def test_rows_that_come_far_further_apart_than_the_first_are_no_silent_error(tmp_path, monkeypatch):
    """The usual step is 1 s in the first 200 rows and 1000 s in all: labels then reach over rows that were taken."""
    market = make_market(tmp_path / "market.csv", rows=300, horizons=100)
    times = 1_700_000_000 + np.cumsum(np.repeat([1, 1000, 1, 10_000], [100, 140, 30, 30]))
    for cells, time in zip(market.cells, times.tolist(), strict=True):
        cells[0] = str(time)
    market.write()
    out = tmp_path / "out"
    held_until(monkeypatch, lambda: steps_of(out) >= 40, rows=196)
    options = {"val_ratio": 0.1, "inner_ratio": 0.0, "checkpoint_every": 1}
    with pytest.raises(SettingsError, match=r"further apart in time .* run with --fresh and without --while_compiling"):
        train(market, out, **options)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"max_rows": 9}, "while_compiling does not go with max_rows=9; leave one of them out"),
        ({"sort": True}, "while_compiling does not go with sort=True"),
        ({"no_lazy_loading": True}, "while_compiling does not go with no_lazy_loading=True"),
        ({"validation_period": "2024-01-01/"}, "while_compiling does not go with validation_period="),
    ],
)
def test_what_needs_all_rows_first_is_refused(market, tmp_path, change, line):
    with pytest.raises(SettingsError, match=line):
        train(market, tmp_path / "out", **change)


@pytest.mark.parametrize("kind", ["price", "market"])
def test_data_whose_rows_depend_on_later_ones_is_refused(tmp_path, kind):
    market = make_market(tmp_path / "market.csv")
    if kind == "price":
        market.header[-2:] = ["price", "other"]
    else:
        market.header.insert(1, "market")
        for cells in market.cells:
            cells.insert(1, "ABC")
    market.write()
    with pytest.raises(SettingsError, match="targets in columns" if kind == "price" else "data of one market"):
        train(market, tmp_path / "out")


def test_a_run_is_continued_only_as_it_was_begun(market, tmp_path, expected):
    with pytest.raises(RunConflictError, match="holds a run with while_compiling=True, given False"):
        train(market, tmp_path / "expected", while_compiling=False, epochs=3)


def start(market, out, *, seconds):
    program = [sys.executable, "-m", "tests.support.slow_source", "fit", f"--csv={market.path}", f"--out={out}"]
    return subprocess.Popen(
        [*program, *options_of(EARLY | {"checkpoint_every": 3})],
        env=os.environ | {"SECONDS": str(seconds), "WINDOW": str(WINDOW)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_run_that_is_killed_while_rows_come_ends_with_the_same_bytes(market, tmp_path, expected):
    out = tmp_path / "out"
    for steps in (3, 15, 30):
        process = start(market, out, seconds=0.3)
        wait_until(lambda steps=steps: steps_of(out) > steps, what=f"{steps} steps")
        assert not (tmp_path / "market.dtstore").exists(), "rows are still coming"
        process.kill()
        process.communicate()
    process = start(market, out, seconds=0)
    lines = process.communicate(timeout=200)[0]
    assert process.returncode == 0, lines
    assert "resuming after row" in lines
    assert "continuing after step" in lines
    assert comparable(out) == expected


@pytest.mark.slow
def test_a_signal_while_it_waits_for_rows_ends_at_once_with_its_code(market, tmp_path):
    out = tmp_path / "out"
    process = start(market, out, seconds=5)
    wait_until((out / "result.json").exists, what="a result")
    process.send_signal(signal.SIGTERM)
    lines = process.communicate(timeout=30)[0]
    assert process.returncode == 143, lines
    assert lines.count("progress is saved") == 1
    assert "Traceback" not in lines
