import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from deeptrade.cli import main
from deeptrade.commands import fit
from tests.support.cgroups import memory_group, run_in
from tests.support.markets import make_market

ROOT = Path(__file__).parents[2]
ORIGINAL = "--model_size medium --batch_size 2 --grad_accum --accum_steps 4 --chunk_size 5000 --cache_batches 8"
DEEPTRADE = [sys.executable, "-m", "deeptrade"]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_without_skip_rl_the_forecaster_is_trained_in_a_child_with_the_options_that_were_given(monkeypatch, tmp_path):
    commands, agents = [], []
    monkeypatch.setattr(fit, "run_attached", lambda command: commands.append(command) or 0)
    monkeypatch.setattr("deeptrade.trading.stage.train_agent", lambda *one, **other: agents.append((one, other)))
    assert main(["fit", "--csv", "a.csv", "--out", str(tmp_path), "--epochs=1", "--rl_fee", "0.0002", "--fresh"]) == 0
    given = {
        "fit",
        "--csv=a.csv",
        f"--out={tmp_path}",
        "--epochs=1",
        "--fresh",
        "--skip_rl",
        "--workers=1",
        "--restarts=0",
    }
    assert set(commands[0][commands[0].index("fit") :]) == given
    (folder, settings), options = agents[0]
    assert (folder.folder, settings.rl_fee, options["fresh"]) == (tmp_path, 0.0002, True)


def test_where_the_forecaster_fails_no_agent_follows_and_the_exit_code_is_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(fit, "run_attached", lambda command: 2)
    monkeypatch.setattr("deeptrade.trading.stage.train_agent", lambda *one, **other: pytest.fail("started"))
    assert main(["fit", "--csv", "a.csv", "--out", str(tmp_path)]) == 2


def test_options_of_the_agent_have_no_effect_with_skip_rl_and_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr("deeptrade.training.fit.fit", lambda *one, **other: {})
    assert main(["fit", "--csv", "a.csv", "--skip_rl", "--rl_fee", "0.1"]) == 0
    assert capsys.readouterr().out == "rl_fee has no effect with --skip_rl\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--rl_fee=1.5", "rl_fee=1.5 is not accepted"),
        ("--rl_epochs=0", "rl_epochs=0 is not accepted"),
        ("--rl_gamma=1", "rl_gamma=1.0 is not accepted"),
        ("--rl_slippage=0.9995", "rl_fee=0.001 and rl_slippage=0.9995 cost all that is traded; use less"),
    ],
)
def test_an_option_that_is_not_accepted_is_refused_before_anything_is_trained(capsys, given, said):
    assert main(["fit", "--csv", "a.csv", given]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stopped_by_a_signal_it_saves_once_and_the_same_command_goes_on(tmp_path):
    make_market(tmp_path / "market.csv", rows=300)
    options = ["--csv=market.csv", "--out=run", "--model_size=tiny", "--epochs=300", "--checkpoint_every=5"]
    command = [*DEEPTRADE, "fit", *options]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while not (tmp_path / "run" / "history.csv").exists() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[0]
    assert process.returncode == 143, said
    assert said.count("progress is saved, run again to continue") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_original_command_line_works_with_an_agent_and_without(tmp_path):
    data = tmp_path / "training_data" / "training_data.csv"
    subprocess.run([*DEEPTRADE, "synth", str(data), "--rows", "2000"], check=True, env=environment())
    command = [sys.executable, str(ROOT / "fitter.py"), *ORIGINAL.split()]
    plain = subprocess.run([*command, "--skip_rl", "--out", "plain"], cwd=tmp_path, capture_output=True, text=True)
    whole = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (plain.returncode, whole.returncode) == (0, 0), plain.stderr + whole.stderr
    assert "the agent" not in plain.stdout
    assert not (tmp_path / "plain" / "agent").exists()
    agent = tmp_path / "runs" / "training_data" / "agent"
    found = json.loads((agent / "agent.json").read_text())
    assert whole.stdout.strip().splitlines()[-1].startswith(found["verdict"]["sentence"])
    results = [
        json.loads(path.read_text()) for path in (tmp_path / "plain" / "result.json", agent.parent / "result.json")
    ]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    forecasts = tmp_path / "forecasts.csv"
    subprocess.run(
        [*DEEPTRADE, "predict", str(agent.parent), str(data), "--out", str(forecasts)], check=True, env=environment()
    )
    assert set(pd.read_csv(forecasts)["position"]) <= {-1, 0, 1}


FIT = "import sys; from deeptrade.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forecaster_and_agent_fit_in_768_mib(tmp_path):
    data = tmp_path / "market.csv"
    subprocess.run([*DEEPTRADE, "synth", str(data), "--rows", "2000"], check=True, env=environment())
    options = ["--csv", data, "--out", tmp_path / "run", "--max_steps=60", "--encoder=multiscale", "--no_mmap"]
    with memory_group(768 << 20) as group:
        done = run_in(group, FIT, "fit", *options)
        killed = (group / "memory.events").read_text() if (group / "memory.events").exists() else "oom_kill 0"
    assert done.returncode == 0, done.stdout + done.stderr
    assert "oom_kill 0" in killed
    assert (tmp_path / "run" / "agent" / "agent.json").exists()
