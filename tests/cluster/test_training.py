"""Training by several real processes: equal bytes, and nothing hangs when one of them is lost."""

import json
import signal

import psutil
import pytest

from deeptrade.cluster.local_workers import free_ports
from tests.support.markets import make_market
from tests.support.training_runs import column, comparable
from tests.support.workers import end, end_soon, run, start, wait_for_steps, worker_of

HARD = {
    "model_size": "tiny",
    "features": "arr_5m,arr_ctx",
    "batch_size": 2,
    "grad_accum": True,
    "accum_steps": 3,
    "val_ratio": 0.2,
    "clip_norm": 0.05,
    "checkpoint_every": 5,
    "epochs": 2,
    "skip_rl": True,
}
"""Clipping is always active; the last window of an epoch has one pass of one row, which only the last worker has."""

HARMED = {3: "infinite", 10: "unreadable", 17: "infinite"}


def make_hard_market(folder):
    """A hundred rows, a third of them with a missing target and some without any."""
    market = make_market(folder / "market.csv", rows=100)
    for row in range(0, 80, 3):
        market.cells[row][4 + row % 2] = ""
    for row in range(0, 80, 11):
        market.cells[row][4:] = ["", ""]
    market.write()
    return market


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return make_hard_market(tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def alone(market, tmp_path_factory):
    """What one process ends with, by encoder."""
    found = {}

    def of(encoder):
        if encoder not in found:
            out = tmp_path_factory.mktemp("alone") / "run"
            found[encoder] = run(market, out, HARD | {"encoder": encoder}, harmed=HARMED)
        return found[encoder]

    return of


def check_hard(out):
    """Check that the runs are what they are meant to be."""
    assert all(float(norm) > 0.05 for norm in column(out, "gradient_norm") if float(norm))
    ledger = (out / "ledger.csv").read_text()
    assert (ledger.count("non_finite_step"), ledger.count("read_error")) == (2, 1)


def test_two_workers_end_with_the_bytes_of_one_process(market, alone, tmp_path):
    expected = alone("recurrent")
    assert run(market, tmp_path / "run", HARD, "--workers=2", harmed=HARMED) == expected
    check_hard(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "workers"), [("recurrent", 3), ("multiscale", 2), ("multiscale", 3)])
def test_more_workers_end_with_the_bytes_of_one_process(market, alone, tmp_path, encoder, workers):
    settings = HARD | {"encoder": encoder}
    assert run(market, tmp_path / "run", settings, f"--workers={workers}", harmed=HARMED) == alone(encoder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("encoder", ["recurrent", "multiscale"])
def test_workers_that_were_killed_once_each_end_with_the_bytes_of_one_process(market, alone, tmp_path, encoder):
    out, expected = tmp_path / "run", alone(encoder)
    settings = HARD | {"encoder": encoder}
    process = start(market, out, settings, "--workers=2", "--restarts=2", harmed=HARMED)
    for number, steps in ((1, 3), (0, 14)):
        wait_for_steps(process, out, steps)
        worker_of(process, number).kill()
    lines = end(process)
    assert (
        "worker 1 was killed by signal 9; all workers start again from the last checkpoint (1 of 2 restarts)" in lines
    )
    assert "worker 0 was killed by signal 9" in lines
    assert comparable(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_workers_roll_back_like_one_process(market, tmp_path):
    """So many bad training rows that both return to an earlier checkpoint, and go on without them."""
    harmed = dict.fromkeys(range(1, 58, 4), "infinite")
    expected = run(market, tmp_path / "alone", HARD, harmed=harmed)
    assert run(market, tmp_path / "run", HARD, "--workers=2", harmed=harmed) == expected
    rollbacks = [json.loads((tmp_path / name / "result.json").read_text())["rollbacks"] for name in ("alone", "run")]
    assert rollbacks[0] == rollbacks[1]
    assert rollbacks[0]


LONG = HARD | {"epochs": 40}
"""Some seconds of steps, so that a signal meets one."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_others_end_soon_after_a_worker_was_killed_or_stopped_and_all_continue(
    market, tmp_path, number, signal_number
):
    """The watchdog is `end_soon`; the seconds are printed, for on a busy machine they are more than on an idle one."""
    out = tmp_path / "run"
    process = start(market, out, LONG, "--workers=2", harmed=HARMED)
    wait_for_steps(process, out, 6)
    lost = worker_of(process, number)
    others = [child for child in psutil.Process(process.pid).children() if child.pid != lost.pid]
    lost.send_signal(signal_number)
    lines, seconds = end_soon(process, code=138)
    print(f"{signal_number.name} of worker {number}: all had ended after {seconds:.1f} s")
    *_, last = lines.splitlines()
    why = "was killed by signal 9" if signal_number == signal.SIGKILL else "does not answer"
    assert f"worker {number} {why}; progress is saved" in last, lines
    assert "run again to continue" in last
    assert not [one for one in [lost, *others] if one.is_running()]
    assert json.loads((out / "result.json").read_text())["status"] == "interrupted"
    steps = len(column(out, "step"))
    lines = end(start(market, out, HARD | {"epochs": 40}, "--workers=2", f"--max_steps={steps + 3}", harmed=HARMED))
    assert "continuing after step" in lines


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["worker 1", "worker 0", "all"])
def test_a_request_to_stop_ends_all_workers_after_the_same_step(market, alone, tmp_path, signal_number, whom):
    out, expected = tmp_path / "run", alone("recurrent")
    process = start(market, out, HARD, "--workers=2", harmed=HARMED)
    wait_for_steps(process, out, 3)
    asked = process if whom == "all" else worker_of(process, int(whom[-1]))
    asked.send_signal(signal_number)
    lines, _ = end_soon(process, code=128 + signal_number)
    steps = len(column(out, "step"))
    assert f"stopped after step {steps}; progress is saved, run again to continue" in lines
    assert len(column(out / "workers" / "1", "step")) == steps
    lines = end(start(market, out, HARD, "--workers=2", harmed=HARMED))
    assert f"continuing after step {steps}," in lines  # no step is lost
    assert comparable(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_continues_with_another_number_of_workers(market, alone, tmp_path):
    out, expected = tmp_path / "run", alone("recurrent")
    for number, options in enumerate((["--workers=2"], ["--workers=3"], [])):
        end(start(market, out, HARD, f"--max_steps={6 * (number + 1)}", *options, harmed=HARMED))
    end(start(market, out, HARD, harmed=HARMED))
    assert comparable(out) == expected


@pytest.mark.slow
def test_workers_end_when_their_supervisor_is_killed(market, tmp_path):
    process = start(market, tmp_path / "run", LONG, "--workers=2")
    wait_for_steps(process, tmp_path / "run", 3)
    workers = [worker_of(process, number) for number in range(2)]
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=120)
    for one in alive:
        one.kill()
    assert not alive
    assert "interrupted" in (tmp_path / "run" / "result.json").read_text()


def start_by_hand(market, out, *options):
    """Start one worker for each list of options, as a cluster would, by TF_CONFIG."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(options))]
    tasks = [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        for number in range(len(options))
    ]
    return [
        start(market, out, LONG, *further, task=task, harmed=HARMED)
        for task, further in zip(tasks, options, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "difference"),
    [
        (["--learning_rate=0.01"], "worker 1 has learning_rate=0.01, worker 0 has 0.001"),
        (["--epochs=41"], "worker 1 has epochs=41, worker 0 has 40"),
        (["--batch_size=3", "--accum_steps=2"], "worker 1 has batch_size=3, worker 0 has 2"),
        (["--max_rows=90"], "worker 1 has max_rows=90, worker 0 has 0"),
        (["--csv={other}"], "worker 1 has data_id="),
    ],
)
def test_a_worker_with_other_data_or_settings_is_refused_before_the_first_step(market, tmp_path, given, difference):
    other = make_market(tmp_path / "other.csv", rows=100, seed=1)
    out = tmp_path / "run"
    given = [one.format(other=other.path) for one in given]
    for process in start_by_hand(market, out, [], given):
        lines = end(process, code=2)
        assert difference in lines
        assert lines.count(difference) == 1
        assert "Traceback" not in lines
    assert not (out / "history.csv").exists()


@pytest.mark.slow
def test_without_a_supervisor_a_lost_worker_gives_the_others_an_exit_code_of_its_own(market, tmp_path):
    first, second = start_by_hand(market, tmp_path / "run", [], [])
    wait_for_steps(first, tmp_path / "run", 3)
    second.kill()
    lines, seconds = end_soon(first, code=138)
    print(f"ended after {seconds:.1f} s")
    assert "worker 0 has lost one of the 2 workers" in lines.splitlines()[-1]
    assert "progress is saved" in lines
    second.communicate()


@pytest.mark.slow
def test_a_worker_that_is_refused_ends_all_with_its_own_line(market, tmp_path):
    """The folder holds a run of another seed: each worker refuses, and one line says so."""
    end(start(market, tmp_path / "run", HARD, "--max_steps=1"))
    process = start(market, tmp_path / "run", HARD, "--workers=2", "--seed=1")
    lines = end(process, code=2)
    assert lines.count("holds a run with seed=0, given 1") == 1
    assert "Traceback" not in lines
