"""Real limits on real processes: a memory cgroup, kills, and what many opened and dropped readers leave behind."""

import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deeptrade import compile_store, open_store
from deeptrade.making.synthetic import synthesize
from deeptrade.memory import read_memory
from tests.support.cgroups import memory_group, run_in
from tests.support.markets import make_market

COMPILE = """
import sys
from deeptrade import compile_store, open_store
from deeptrade.memory import MemoryMonitor
with MemoryMonitor(interval_seconds=0.02) as monitor:
    store = compile_store(sys.argv[1], store=sys.argv[2])
    with open_store(store) as data:
        for batch in data.batches(batch_size=32, split="all").stream(0):
            pass
print(monitor.peak_anon_bytes)
"""


@pytest.mark.parametrize("rows", [1500, pytest.param(60_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_compile_and_an_epoch_finish_in_a_small_cgroup(tmp_path, rows):
    path = tmp_path / "market.csv"
    synthesize(path, rows=rows)
    with memory_group(400 << 20) as group:
        done = run_in(group, COMPILE, path, tmp_path / "s.dtstore")
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 300 << 20


@pytest.mark.slow
def test_pandas_is_killed_in_the_same_cgroup(tmp_path):
    path = tmp_path / "market.csv"
    synthesize(path, rows=8000)
    with memory_group(400 << 20) as group:
        done = run_in(group, "import sys, pandas; pandas.read_csv(sys.argv[1])", path)
        assert done.returncode == -9


def test_readers_that_are_dropped_leave_no_thread_file_map_or_memory(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=300)
    store = compile_store(market.path)

    def cycle(number):
        data = open_store(store)
        reader = data.batches(batch_size=8, window_rows=64 * (number % 2), cache_batches=3)
        stream = reader.stream(number)
        for _ in range(number % 5):
            next(stream)
        if number % 3:  # closed in order, or just dropped
            stream.close()
            reader.close()
            data.close()

    def held():
        gc.collect()
        maps = sum("dtstore" in line for line in Path("/proc/self/maps").read_text().splitlines())
        return threading.active_count(), len(os.listdir("/proc/self/fd")), maps

    for number in range(30):
        cycle(number)
    before, memory = held(), read_memory().anon_bytes
    for number in range(300):
        cycle(number)
    assert held() == before
    assert read_memory().anon_bytes < memory * 1.02 + (1 << 20)


def test_one_of_several_features_reads_only_its_own_file(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=2000, shapes={f"arr_{n}": (1, 16, 8) for n in range(3)})
    store = compile_store(market.path)
    code = """
import json, sys
from deeptrade import open_store
def pages(name):
    return sum(int(line.split()[1]) for part in parts if name in part[0] for line in part if line.startswith("Rss:"))
def read_so_far():
    return int(open("/proc/self/io").read().split()[1])
with open_store(sys.argv[1]) as data:
    data.batches(batch_size=1).state(0, 0)  # imports what is imported late
    data.read_targets(data.usable.numbers(0, 1))
    before = read_so_far()
    for batch in data.batches(batch_size=32, split="all", features=["arr_1"]).stream(0):
        pass
    plainly = read_so_far() - before
    parts, part = [], []
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            part = [line]
            parts.append(part)
        else:
            part.append(line)
    print(json.dumps([plainly, *(pages(f"feature_{n}.f32") for n in range(3))]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True, check=True)
    plainly, *touched = json.loads(done.stdout)
    one = 2000 * 16 * 8 * 4
    assert touched[0] == touched[2] == 0
    assert touched[1] == pytest.approx(one / 1024, rel=0.03)
    assert one <= plainly < 1.03 * one  # each block once, to check it


def test_an_error_in_the_read_ahead_names_the_file_before_any_batch(tmp_path):
    market = make_market(tmp_path / "m.csv", rows=300)
    store = compile_store(market.path)
    content = bytearray((store / "feature_1.f32").read_bytes())
    content[100] ^= 1
    (store / "feature_1.f32").write_bytes(content)
    from deeptrade.errors import DataError

    with (
        open_store(store) as data,
        pytest.raises(DataError, match=r"feature_1\.f32 is damaged in block 0 \(usable rows 0 to"),
    ):
        next(data.batches(batch_size=8, split="all").stream(0))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deeptrade")]
