"""An agent from a log: what it leaves, what is said of it, and that a kill changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deeptrade.errors import DataError, RunConflictError
from deeptrade.run_folder import AgentFolder, TrainingFolder
from deeptrade.trading.log_stage import split, train_on_log
from deeptrade.trading.logged import read_log
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import train_agent
from tests.support.logs import log_rows, write_log

QUICK = {"rl_epochs": 2, "rl_batch_size": 32}
RESULT = {"status": "completed", "data_id": "data", "weights_sha256": "weights"}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log") / "log.csv", log_rows(1000))


@pytest.fixture(scope="module")
def trained(log, tmp_path_factory):
    """The folder, the content of agent.json and the lines of an agent that four epochs have taught."""
    folder, lines = AgentFolder(tmp_path_factory.mktemp("agent")), []
    settings = AgentSettings(rl_csv=str(log), rl_epochs=4, rl_batch_size=128, rl_fee=0.002)
    return folder, train_on_log(folder, settings, {"settings": {}}, sink=lines.append), lines


def run_of(folder):
    """Return a folder that looks like a run of `fit` that is completed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(RESULT))
    return TrainingFolder(folder)


def comparable(folder):
    return (folder / "agent" / "agent.json").read_bytes()


def test_it_leaves_a_model_and_an_account_and_no_positions(trained):
    folder, content, _ = trained
    assert sorted(path.name for path in folder.folder.iterdir()) == ["agent.json", "agent.keras"]
    assert json.loads(folder.account.read_text()) == content


def test_the_first_sentence_says_that_it_is_an_estimate_and_no_proof(trained):
    _, content, lines = trained
    first = content["verdict"]["sentence"].split(". ")[0]
    assert "cannot be replayed" in first
    assert "an estimate and no proof" in first
    assert lines[-1].startswith(first)


def test_the_faults_of_the_file_are_told_and_kept(trained):
    _, content, lines = trained
    assert {fault["kind"] for fault in content["log"]["faults"]} == {"no_times", "log"}
    for fault in content["log"]["faults"]:
        assert f"log.csv: {fault['text']}" in lines
    assert content["log"]["file"] == "log.csv"
    assert "rl_fee has no effect with --rl_csv: rewards are those of the log" in lines


def test_the_figures_are_those_of_the_latest_rows(trained, log):
    _, content, _ = trained
    rewards = read_log(log).rewards[-150:]
    assert content["estimate"]["behaviour_mean_reward"] == pytest.approx(rewards.mean())
    assert (content["log"]["train"], content["log"]["purged"], content["log"]["held_out"]) == (849, 1, 150)


def test_the_agent_takes_the_action_that_the_log_rewards(trained, log):
    """LONG earns the state's first number, SHORT loses it; the latest rows have taught nothing."""
    import keras

    folder, content, _ = trained
    agent = keras.models.load_model(folder.model)
    states = read_log(log).states[-150:]
    clear = np.abs(states[:, 0]) > 0.5
    best = np.where(states[:, 0] > 0, "LONG", "SHORT")
    assert (np.array(content["actions"])[agent.choose(states)] == best)[clear].mean() > 0.9
    logged = (np.array(content["actions"])[read_log(log).actions[-150:]] == best)[clear].mean()
    assert logged < 0.5  # the log itself acted at random


def test_the_estimate_is_near_what_the_agent_earns_where_that_is_known(trained, log):
    """What an action earns here is known, so the agent's true income is too."""
    import keras

    folder, content, _ = trained
    agent = keras.models.load_model(folder.model)
    states = read_log(log).states[-150:]
    earned = 0.001 * np.array([1, -1, 0])[agent.choose(states)] * states[:, 0]
    assert earned.mean() > 4 * abs(content["estimate"]["behaviour_mean_reward"])
    assert content["estimate"]["fitted_q_per_step"] == pytest.approx(earned.mean(), rel=0.35)


def test_too_few_rows_that_judge_give_no_estimate_of_what_it_earns(tmp_path):
    path = write_log(tmp_path / "log.csv", log_rows(300))
    settings = AgentSettings(rl_csv=str(path), **QUICK)
    content = train_on_log(AgentFolder(tmp_path / "agent"), settings, {"settings": {}})
    assert content["estimate"]["fitted_q_per_step"] is None
    assert content["estimate"]["behaviour_mean_reward"] is not None
    assert "too few" in content["verdict"]["sentence"]


@pytest.mark.parametrize("rows", [200, 201, 999, 1000])
def test_rows_that_teach_and_rows_that_judge_have_one_between(rows):
    train, judging = split(rows)
    assert judging[0] == train[-1] + 2
    assert judging[-1] == rows - 1
    assert len(judging) == round(0.15 * rows)


def test_the_stage_trains_on_a_log_where_one_is_given_and_is_done_then(tmp_path, log):
    run, settings = run_of(tmp_path / "run"), AgentSettings(rl_csv=str(log), **QUICK)
    first = train_agent(run, settings)
    assert first["verdict"]["kind"] == "estimate"
    lines = []
    assert train_agent(run, settings, sink=lines.append) == first
    assert "nothing was changed" in lines[0]
    with pytest.raises(RunConflictError, match="rl_gamma"):
        train_agent(run, AgentSettings(rl_csv=str(log), rl_gamma=0.5, **QUICK))


def test_a_log_of_the_same_name_with_other_rows_teaches_anew(tmp_path):
    run, path = run_of(tmp_path / "run"), tmp_path / "log.csv"
    settings = AgentSettings(rl_csv=str(path), **QUICK)
    write_log(path, log_rows(200))
    first = train_agent(run, settings)
    write_log(path, log_rows(200, seed=1))
    assert train_agent(run, settings)["weights_sha256"] != first["weights_sha256"]


def test_a_log_that_cannot_teach_is_refused_before_the_forecaster_trains(tmp_path):
    path = write_log(tmp_path / "log.csv", log_rows(20))
    command = [sys.executable, "-m", "deeptrade", "fit", "--csv", tmp_path / "none.csv", "--rl_csv", path]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "20 transitions, at least 200 are needed" in found.stderr
    with pytest.raises(DataError):
        train_agent(run_of(tmp_path / "run"), AgentSettings(rl_csv=str(path)))


@pytest.mark.parametrize("part", ["agent", "evaluation"])
def test_stopped_in_an_epoch_it_goes_on_and_ends_with_the_same_bytes(tmp_path, trained, log, part):
    def stop(line):
        if line.startswith(f"step 2 of 4: epochs of the {part}"):
            raise KeyboardInterrupt

    folder, content, lines = AgentFolder(tmp_path / "agent"), trained[1], []
    settings = AgentSettings(rl_csv=str(log), rl_epochs=4, rl_batch_size=128, rl_fee=0.002)
    with pytest.raises(KeyboardInterrupt):
        train_on_log(folder, settings, {"settings": {}}, sink=stop)
    assert train_on_log(folder, settings, {"settings": {}}, sink=lines.append) == content
    assert f"continuing after 2 epochs of the {part}" in lines
    assert folder.account.read_bytes() == trained[0].account.read_bytes()


CHILD = """
import sys
from deeptrade.run_folder import TrainingFolder
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import train_agent
from pathlib import Path
train_agent(TrainingFolder(Path(sys.argv[1])), AgentSettings(rl_csv=sys.argv[2], rl_epochs=6, rl_batch_size=32))
"""


@pytest.mark.slow
def test_killed_between_and_amid_epochs_it_ends_with_the_same_bytes(tmp_path, log):
    """In the first epochs of the agent, and in those of the evaluation."""
    for name in ("whole", "killed"):
        run_of(tmp_path / name)
    to_the_end(tmp_path / "whole", log)
    for part in ("agent", "evaluation"):
        kill_at(tmp_path / "killed", log, tmp_path / "killed" / "agent" / "checkpoints" / part)
    to_the_end(tmp_path / "killed", log)
    assert comparable(tmp_path / "killed") == comparable(tmp_path / "whole")
    assert not (tmp_path / "killed" / "agent" / "checkpoints").exists()


def to_the_end(folder, log):
    subprocess.run([sys.executable, "-c", CHILD, folder, log], check=True)


def kill_at(folder, log, checkpoints):
    """Kill a child once it has written its second checkpoint there."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, folder, log])
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("step-0000000002*.npz")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
