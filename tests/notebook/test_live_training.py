import os
import time

import pytest

from deeptrade.notebook.live_training import LiveTraining
from deeptrade.settings import FitSettings


def start(csv, **changes):
    return LiveTraining(FitSettings(csv=str(csv), model_size="tiny", **changes))


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(180)
def test_a_training_is_watched_and_stopped(market):
    training = start(market.path, max_steps=100_000)
    wait_until(lambda: len(training.progress().history) >= 3)
    assert training.progress().state == "running"
    training.stop()
    ended = training.wait()
    assert ended.state == "stopped"
    assert ended.history["step"].tolist() == list(range(1, len(ended.history) + 1))
    assert ended.anon_bytes > 100 << 20


def test_the_folder_of_a_training_is_gone_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    training = start("none.csv")
    training.wait()
    assert len(os.listdir(tmp_path)) == 1
    del training
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_training_ends_after_its_steps(market):
    ended = start(market.path, max_steps=30, batch_size=32).wait()
    assert (ended.state, len(ended.history)) == ("completed", 30)


def test_a_training_that_fails_says_why(tmp_path):
    ended = start(tmp_path / "none.csv").wait()
    assert ended.state == "failed"
    assert "none.csv does not exist" in ended.line
    assert ended.history.empty
