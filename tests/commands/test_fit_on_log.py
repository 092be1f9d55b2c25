"""`fit --rl_csv` and `predict` after it."""

import json
import subprocess
import sys

import pytest

from tests.support.logs import log_rows, write_log
from tests.support.markets import make_market
from tests.support.training_runs import ONE_PASS


def deeptrade(*arguments):
    return subprocess.run([sys.executable, "-m", "deeptrade", *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_an_agent_from_a_log_follows_the_forecaster_and_adds_no_positions(tmp_path):
    market = make_market(tmp_path / "market.csv")
    log, out = write_log(tmp_path / "log.csv", log_rows(), header=None), tmp_path / "run"
    given = [f"--{name}={value}" for name, value in ONE_PASS.items() if name != "skip_rl"]
    found = deeptrade(
        "fit", "--csv", market.path, "--out", out, *given, "--rl_csv", log, "--rl_epochs=1", "--rl_batch_size=32"
    )
    assert found.returncode == 0, found.stderr
    assert "log.csv: there is no header" in found.stdout
    content = json.loads((out / "agent" / "agent.json").read_text())
    assert content["verdict"]["sentence"] in found.stdout
    found = deeptrade("predict", out, market.path, "--out", tmp_path / "forecasts.csv")
    assert found.returncode == 0, found.stderr
    assert "no positions (the agent was taught by a log" in found.stdout
    assert "position" not in (tmp_path / "forecasts.csv").read_text().partition("\n")[0]
