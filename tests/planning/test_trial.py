import sys

import pytest

from deeptrade.making.synthetic import synthesize
from deeptrade.planning.plan import Trial
from deeptrade.planning.trial import run_trial, trial_arguments
from deeptrade.settings import FitSettings


def fake_fit(tmp_path, body: str) -> list[str]:
    """A command in place of `python -m deeptrade` that parses --name=value and then runs `body`."""
    script = tmp_path / "fake_fit.py"
    script.write_text(
        "import json, os, signal, sys, pathlib\n"
        "given = dict(part[2:].partition('=')[::2] for part in sys.argv[3:])\n"
        "def result(peak, seconds):\n"
        "    content = {'memory': {'peak_anon_bytes': peak}, 'batch_size': int(given['batch_size'])}\n"
        "    out = pathlib.Path(given['out'])\n"
        "    times = [(1, 99), (2, seconds), (3, seconds)]\n"
        "    (out / 'result.json').write_text(json.dumps(content))\n"
        "    lines = [f'{n},{s},{s / 4}\\n' for n, s in times]\n"
        "    (out / 'timing.csv').write_text(''.join(['step,step_seconds,data_wait_seconds\\n', *lines]))\n"
        "    (out / 'memory.jsonl').write_text('')\n" + body
    )
    return [sys.executable, str(script)]


def run_fake(tmp_path, body: str, *, timeout_seconds: float = 60, **settings) -> Trial:
    return run_trial(
        FitSettings(**settings),
        open_rows=10,
        predicted_peak_bytes=7,
        folder=tmp_path,
        command=fake_fit(tmp_path, body),
        timeout_seconds=timeout_seconds,
    )


def test_a_trial_reports_what_the_child_measured(tmp_path):
    trial = run_fake(tmp_path, "result(123, 0.5)", batch_size=2, grad_accum=True, accum_steps=4)
    assert (trial.batch_size, trial.accum_steps, trial.predicted_peak_bytes) == (2, 4, 7)
    assert (trial.measured_peak_bytes, trial.rows_per_second, trial.exit_code) == (123, 16.0, 0)
    assert trial.wait_share == 0.25
    assert trial.seconds > 0


@pytest.mark.parametrize(
    ("body", "exit_code", "message"),
    [
        ("print('one'); sys.exit('needs 3 GiB, use a smaller batch')", 1, "needs 3 GiB, use a smaller batch"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "ended by signal 9"),
        ("pass", 0, ""),
        ("print('OOM when allocating tensor', file=sys.stderr); sys.exit(3)", 3, "OOM when allocating tensor"),
    ],
)
def test_a_trial_that_fails_is_recorded_and_leaves_nothing(tmp_path, body, exit_code, message):
    trial = run_fake(tmp_path, body)
    assert (trial.exit_code, trial.message, trial.measured_peak_bytes) == (exit_code, message, None)
    assert [path.name for path in tmp_path.iterdir()] == ["fake_fit.py"]


def test_a_trial_is_a_short_run_of_the_same_settings():
    settings = FitSettings(csv="a b.csv", batch_size=2, grad_accum=True, accum_steps=16, seed=3, no_mmap=True)
    arguments = trial_arguments(settings, out="tmp", open_rows=10)
    assert {"--csv=a b.csv", "--batch_size=2", "--grad_accum", "--accum_steps=4", "--seed=3"} <= set(arguments)
    assert {"--no_mmap", "--out=tmp", "--max_steps=6", "--skip_rl", "--no_adapt", "--max_rows=300"} <= set(arguments)
    assert not any(argument.startswith(("--features", "--fresh", "--memory_limit")) for argument in arguments)


def test_a_trial_of_a_large_effective_batch_reads_enough_rows():
    arguments = trial_arguments(FitSettings(batch_size=512), open_rows=10, out="tmp")
    rows = int(next(a for a in arguments if a.startswith("--max_rows")).partition("=")[2])
    assert 0.7 * rows - 20 >= 6 * 512


def test_a_trial_of_many_markets_reads_more_rows_than_their_split_leaves_out():
    settings = FitSettings(val_ratio=0.01, embargo="30D", markets="A,B")
    arguments = dict(a[2:].split("=") for a in trial_arguments(settings, open_rows=30 * 10, out="tmp") if "=" in a)
    left_out, rows = 30 * 10, int(arguments["max_rows"])
    assert float(arguments["val_ratio"]) * rows - left_out >= 32
    assert not {"embargo", "markets"} & set(arguments)


def test_a_trial_that_hangs_is_stopped(tmp_path):
    trial = run_fake(tmp_path, "import time; time.sleep(600)", timeout_seconds=0.5)
    assert (trial.exit_code, trial.lacked_memory) == (-9, True)
    assert "the limit of 0.5 s" in trial.message


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_over_its_room_fails_alone_and_is_distinguished_from_a_bug(tmp_path):
    synthesize(tmp_path / "market.csv", rows=300)
    settings = FitSettings(csv=str(tmp_path / "market.csv"), model_size="large", batch_size=16)
    within, over = (
        run_trial(settings, open_rows=10, predicted_peak_bytes=1, folder=tmp_path, room_bytes=room)
        for room in (4 << 30, 400 << 20)
    )
    assert within.exit_code == 0
    assert within.measured_peak_bytes > 600 << 20
    assert over.exit_code != 0
    assert over.lacked_memory
