import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from deeptrade.data.opening import open_dataset
from deeptrade.errors import RunConflictError
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import agent_of_run, forecaster_settings, markets_of_run, train_agent
from tests.support.agent_runs import pretend_to_fit, pretended_training, settings_of, write_market

QUICK = {"rl_epochs": 2, "rl_batch_size": 128, "rl_fee": 0.0005}
FILES = ("agent.json", "positions.csv", "agent.keras")


def train(folder, **options):
    said = []
    settings = AgentSettings(**QUICK | options)
    found = train_agent(folder, settings, sink=said.append, progress="silent", start=pretended_training)
    return found, said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A market with a strong signal, a pretended run on it, and its agent."""
    folder = tmp_path_factory.mktemp("agent")
    write_market(folder / "market.csv")
    run = pretend_to_fit(settings_of(folder / "market.csv", folder / "run"))
    found, said = train(run)
    return run, found, said


def test_an_agent_of_a_strong_signal_trades_and_its_first_sentence_says_what_that_is_worth(trained):
    _, found, said = trained
    assert found["verdict"]["kind"] in ("above_flat", "above_all")
    assert said[-1].startswith("Better than staying flat after costs of 5 bp: +")
    assert said[0].startswith("the agent: 4 trainings to forecast rows that they have not seen, then learning; about ")


def test_the_account_agrees_with_a_separate_backtest_of_positions_csv(trained):
    run, found, _ = trained
    table = pd.read_csv(run.agent.positions, keep_default_na=False, parse_dates=["timestamp"])
    judged = table[table["split"] == "validation"].sort_values("timestamp")
    step = pd.Timedelta(seconds=1200)
    gap = judged["timestamp"].diff() > 1.5 * step
    before = judged["position"].shift(fill_value=0).where(~gap, 0)
    closing = judged["position"].where(gap.shift(-1, fill_value=True), 0)
    scores = found["account"]["scores"]
    score = next(one for one in scores if (one["policy"], one["fee"]) == ("agent", QUICK["rl_fee"]))
    turnover = (judged["position"] - before).abs() + closing.abs()
    net = judged["position"] * judged["y_1"] - QUICK["rl_fee"] * turnover
    assert score["income"] == pytest.approx(net.sum(), abs=1e-9)
    assert score["turnover"] == pytest.approx(turnover.sum(), abs=1e-9)
    equity = np.concatenate([[0], net.cumsum()])
    assert score["drawdown"] == pytest.approx((np.maximum.accumulate(equity) - equity).max(), abs=1e-9)
    assert score["long"] == pytest.approx((judged["position"] > 0).mean(), abs=1e-9)


def test_forecasts_of_training_rows_are_of_trainings_that_had_not_seen_them(trained):
    run, found, _ = trained
    used = pd.read_csv(run.agent.positions)
    used = set(used[used["split"] != "validation"]["row"])
    forecast = set()
    for fold in found["folds"]:
        training = run.agent.training(fold["name"])
        settings = forecaster_settings(training.read_result())
        with open_dataset(settings.csv) as data:
            split = data.split(**settings.split_options)
            seen = np.concatenate([split.train.numbers(), split.inner.numbers()])
            judged = pd.read_parquet(training.forecasts)["row"].to_numpy()
            assert seen.max() + data.schema.horizons < judged.min()
        forecast |= set(judged)
    assert used <= forecast


def test_no_row_of_the_first_part_and_none_near_a_boundary_is_learned_from(trained):
    run, found, _ = trained
    positions = pd.read_csv(run.agent.positions)
    rows = {name: positions[positions["split"] == name]["row"] for name in ("train", "inner", "validation")}
    assert rows["train"].min() >= 230
    assert rows["inner"].min() - rows["train"].max() > 2  # the two horizons are purged
    assert rows["validation"].min() - rows["inner"].max() > 2
    assert found["rows"]["train"]["turns"] == len(rows["train"])


def test_run_again_it_changes_nothing(trained):
    run, found, _ = trained
    before = {name: (run.agent.folder / name).read_bytes() for name in FILES}
    again, said = train(run)
    assert said == [f"{run.agent.folder} is done, nothing was changed; --fresh starts over"]
    assert again["verdict"] == found["verdict"]
    assert {name: (run.agent.folder / name).read_bytes() for name in FILES} == before
    assert not run.agent.checkpoints.exists()


def test_the_markets_of_a_run_are_those_of_its_account(trained):
    run, found, _ = trained
    parts = markets_of_run(run.folder)
    table = pd.read_csv(run.agent.positions)
    for name, market in parts.named.items():
        assert market.judged.rows[market.plan.rows].tolist() == table[table["split"] == name]["row"].tolist()
        assert len(market.plan.rows) == found["rows"][name]["turns"]


def test_a_run_without_an_agent_has_no_markets_to_give(tmp_path):
    with pytest.raises(RunConflictError, match="holds no agent; run fit without --skip_rl first"):
        markets_of_run(tmp_path)


def test_other_options_are_refused_and_the_difference_is_named(trained):
    with pytest.raises(
        RunConflictError, match=r"holds an agent with rl_fee=0.0005, given 0.002; give another --rl_out"
    ):
        train(trained[0], rl_fee=0.002)


def test_without_a_completed_training_there_is_nothing_to_follow(tmp_path):
    with pytest.raises(RunConflictError, match="holds no completed training; run fit first"):
        agent_of_run(tmp_path, AgentSettings())


def test_altering_later_rows_leaves_every_earlier_action_as_it_was(trained, tmp_path):
    later = 1450
    run = trained[0]
    write_market(tmp_path / "market.csv", later=later)
    other = pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / "run"))
    train(other)
    kept = [pd.read_csv(one.agent.positions, dtype=str, keep_default_na=False) for one in (run, other)]
    earlier = [one[one["row"].astype(int) < later] for one in kept]
    assert earlier[0]["position"].tolist() == earlier[1]["position"].tolist()
    assert (earlier[0]["split"] == "validation").sum() > 50
    assert kept[0]["position"].tolist() != kept[1]["position"].tolist()


def test_an_agent_without_evidence_holds_nothing_and_says_why(tmp_path):
    write_market(tmp_path / "market.csv", skill=0.0)
    run = pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / "run"))
    found, said = train(run)
    assert found["verdict"]["kind"] == "stays_flat"
    assert said[-1].startswith("The agent stays flat: ")
    assert (pd.read_csv(run.agent.positions)["position"] == 0).all()


def test_long_only_never_goes_short(tmp_path):
    write_market(tmp_path / "market.csv")
    run = pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / "run"))
    train(run, rl_long_only=True)
    assert set(pd.read_csv(run.agent.positions)["position"]) == {0, 1}


def test_too_few_rows_are_said_and_leave_no_agent(tmp_path):
    write_market(tmp_path / "market.csv", rows=200)
    run = pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / "run"))
    found, said = train(run)
    assert found is None
    assert said[-1].startswith("no agent was trained: ")
    assert said[-1].endswith("use more rows; --skip_rl leaves this stage out")
    assert not run.agent.account.exists()


def test_a_forecaster_that_was_trained_on_gets_a_new_agent(tmp_path):
    write_market(tmp_path / "market.csv")
    run = pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / "run"))
    train(run)
    result = json.loads(run.result.read_text())
    run.result.write_text(json.dumps(result | {"weights_sha256": "0" * 64}))
    found, said = train(run)
    assert found["identity"]["weights_sha256"] == "0" * 64
    assert "is done" not in said[0]


KILLED = """
import sys
sys.path.insert(0, {root!r})
from deeptrade.run_folder import TrainingFolder
from deeptrade.trading.settings import AgentSettings
from deeptrade.trading.stage import train_agent
from tests.support.agent_runs import pretended_training
from pathlib import Path
settings = AgentSettings(rl_epochs=6, rl_batch_size=128, rl_fee=0.0005)
train_agent(TrainingFolder(Path(sys.argv[1])), settings, progress="silent", start=pretended_training)
"""


def agent_process(folder):
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    return subprocess.Popen([sys.executable, "-c", KILLED.format(root=root), str(folder)], stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_twenty_moments_it_ends_with_the_same_bytes(tmp_path):
    write_market(tmp_path / "market.csv")
    runs = [pretend_to_fit(settings_of(tmp_path / "market.csv", tmp_path / name)) for name in ("whole", "killed")]
    started = time.monotonic()
    assert agent_process(runs[0].folder).wait() == 0
    whole_seconds = time.monotonic() - started
    draws, kills = np.random.default_rng(0), 0
    while kills < 20:
        child = agent_process(runs[1].folder)
        try:
            child.wait(timeout=draws.uniform(0.1, 1.0) * whole_seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
            continue
        for name in FILES[:2]:  # it was done: once more from the start
            (runs[1].agent.folder / name).unlink()
    assert agent_process(runs[1].folder).wait() == 0
    for name in FILES[:2]:
        files = [(run.agent.folder / name).read_bytes() for run in runs]
        assert files[0] == files[1], name
