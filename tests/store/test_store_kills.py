"""Compiling that is killed, or whose writes fail, at any time: run again, it makes the same store."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from deeptrade.sources.time_order import _AHEAD
from tests.support.markets import make_market
from tests.support.stores import contents, make

pytestmark = pytest.mark.usefixtures("small_blocks")

KILLED = """
import sys, time
from deeptrade.sources import csv
from deeptrade.store import compile_store
csv.BLOCK_BYTES = 4096
def slow(task, plain=csv.CsvTask.run):
    time.sleep(0.003)
    print(task.place.stop, flush=True)
    return plain(task)
csv.CsvTask.run = slow
compile_store(sys.argv[1], store=sys.argv[2], max_bad_rows=0.1, workers=2)
"""


@pytest.mark.parametrize("times", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_a_kill_at_any_time_costs_only_time(bad_market, tmp_path, times):
    """Killed at a random moment between the first and the last line of its journal, once and again."""
    expected = contents(make(bad_market.path, tmp_path / "a.dtstore"))
    rows = json.loads(expected["manifest.json"])["blocks"]["rows"]
    blocks = len(rows)
    store, journal = tmp_path / "b.dtstore", tmp_path / ".b.dtstore.partial" / "journal.jsonl"
    command = [sys.executable, "-c", KILLED, str(bad_market.path), str(store)]
    generator = np.random.default_rng(0)

    def journaled():
        return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0

    for _ in range(times):
        there = journaled()
        if there > blocks - 6:
            subprocess.run(["rm", "-rf", journal.parent], check=True)
            there = 0
        wanted = generator.integers(there, min(there + blocks // 3, blocks - 3))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            deadline = time.monotonic() + 30
            while journaled() < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.0005)
            time.sleep(generator.uniform(0, 0.005))
            process.kill()
            begun = len(set(process.stdout.read().split()))  # a block whose first record lies elsewhere begins twice
            assert process.wait() == -signal.SIGKILL
        if store.exists():  # on a busy machine it may be done before it is killed
            subprocess.run(["rm", "-rf", store], check=True)
            continue
        # What is lost: a block of each of the two workers, and the one that was being written; at the start of the data
        # also those that wait for _AHEAD rows to tell whether an earlier row was an outlier.
        assert journaled() >= there
        is_early = sum(rows[: journaled() + 1]) <= 2 * _AHEAD
        waiting = -(-_AHEAD // min(rows[:-1])) if is_early else 0
        assert begun - (journaled() - there) <= 3 + waiting
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(store) == expected
    assert {e.name for e in tmp_path.iterdir()} == {
        "market.csv",
        *("a.dtstore", ".a.dtstore.seen", "b.dtstore", ".b.dtstore.seen"),
    }


POOL = """
import sys
from concurrent.futures import ProcessPoolExecutor
from deeptrade.errors import DeepTradeError
from deeptrade.sources import csv
from deeptrade.store import compile_store
import multiprocessing, time
def slow(task, plain=csv.CsvTask.run):
    time.sleep(0.05)
    return plain(task)
csv.CsvTask.run, csv.BLOCK_BYTES = slow, 4096
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
    try:
        compile_store(sys.argv[1], store=sys.argv[2], max_bad_rows=0.1, executor=executor)
    except DeepTradeError as error:
        print(error)
        sys.exit(2)
"""


def is_over(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_killing_one_process_of_a_compile_ends_all_and_leaves_no_lock(bad_market, tmp_path, victim):
    expected = contents(make(bad_market.path, tmp_path / "a.dtstore"))
    command = [sys.executable, "-c", POOL, str(bad_market.path), str(tmp_path / "b.dtstore")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        parent, journal = psutil.Process(process.pid), tmp_path / ".b.dtstore.partial" / "journal.jsonl"
        deadline = time.monotonic() + 30
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        everyone = [parent, *parent.children(recursive=True)]
        assert len(everyone) == 3
        (parent if victim == "parent" else everyone[1]).kill()
        assert process.wait(timeout=30) == (-signal.SIGKILL if victim == "parent" else 2)
        deadline = time.monotonic() + 30
        while not all(is_over(process) for process in everyone[1:]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if victim == "worker":
            assert "was killed, perhaps because memory ran out; run again" in process.stdout.read()
    lines = []
    make(bad_market.path, tmp_path / "b.dtstore", sink=lines.append)
    assert "resuming after row" in lines[0]
    assert contents(tmp_path / "b.dtstore") == expected


FAILING = """
import errno, itertools, os, shutil, sys
from pathlib import Path
from deeptrade import files
from deeptrade.errors import DeepTradeError
from deeptrade.sources import csv
from deeptrade.store import compile_store, verify_store
data, store, code = sys.argv[1], Path(sys.argv[2]), getattr(errno, sys.argv[3])
csv.BLOCK_BYTES = 4096

def compiled():
    compile_store(data, store=store, max_bad_rows=0.1, workers=1)

def contents():
    return {path.name: path.read_bytes() for path in store.iterdir()}

def clean():
    shutil.rmtree(store)
    store.with_name(".b.dtstore.seen").unlink()

class FailingFile:
    def __init__(self, file, call):
        self.file, self.write = file, call(file.write)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def __getattr__(self, name):
        return getattr(self.file, name)

def compile_failing_at(number):
    calls = itertools.count(1)
    def failing(plain):
        def call(*arguments, **options):
            if next(calls) == number:
                raise OSError(code, os.strerror(code))
            return plain(*arguments, **options)
        return call
    for name in ("pwrite", "fsync", "rename", "replace", "ftruncate"):
        setattr(os, name, failing(getattr(os, name)))
    files.open = lambda *arguments, **options: FailingFile(open(*arguments, **options), failing)
    try:
        compiled()
    except DeepTradeError as error:
        print(error, flush=True)
        return 2
    return 3 if next(calls) <= number else 0

def in_child(number):
    child = os.fork()
    if not child:
        result = 1
        try:
            result = compile_failing_at(number)
        finally:
            os._exit(result)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

compiled()
expected = contents()
clean()
for number in itertools.count(1):
    if sys.argv[4] == "resumed":
        assert in_child(40) == 2
    result = in_child(number)
    if result == 3:
        print("done", number, flush=True)
        sys.exit()
    assert result in (0, 2), (number, result)
    compiled()
    assert contents() == expected and verify_store(store) == [], number
    clean()
"""


@pytest.mark.parametrize("begins", ["fresh", "resumed"])
@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
def test_any_write_may_fail_and_the_next_compile_makes_the_same_store(tmp_path, code, begins):
    market = make_market(tmp_path / "market.csv", rows=30)
    command = [sys.executable, "-c", FAILING, market.path, tmp_path / "b.dtstore", code, begins]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *errors, last = done.stdout.splitlines()
    number = int(last.removeprefix("done "))
    assert number > 50
    assert len(errors) > 0.9 * number * (1 + (begins == "resumed"))
    assert {line.split(":")[0] for line in errors} == {
        "writing the store .b.dtstore.partial",
        *("writing ledger.csv", "writing manifest.json", "publishing b.dtstore", "writing .b.dtstore.seen"),
    }
