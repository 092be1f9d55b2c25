import gc
import subprocess
import sys
import weakref

import pytest

from deeptrade.memory import Collector
from deeptrade.memory.collection import trim


class Node:
    def __init__(self):
        self.me = self


def cycle() -> weakref.ref:
    """An object that only the garbage collector can find."""
    return weakref.ref(Node())


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.restore()


def test_after_freezing_python_no_longer_collects_on_its_own(collector):
    assert gc.isenabled()
    collector.freeze()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_restore_undoes_freeze(collector):
    collector.freeze()
    collector.restore()
    collector.restore()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_collection_the_user_switched_off_stays_off(collector):
    gc.disable()
    try:
        collector.freeze()
        collector.restore()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_young_garbage_is_collected_at_the_end_of_a_window(collector):
    collector.freeze()
    lost = cycle()
    assert lost() is not None
    collector.collect_small()
    assert lost() is None
    assert (collector.collections, collector.trims) == (1, 0)
    assert collector.seconds > 0


@pytest.mark.parametrize(("pressure", "full_every", "gone"), [(False, 9, False), (True, 9, True), (False, 3, True)])
def test_old_garbage_is_collected_under_pressure_and_at_intervals(pressure, full_every, gone):
    collector = Collector(full_every=full_every)
    collector.freeze()
    try:
        node = Node()
        lost = weakref.ref(node)
        for _ in range(2):  # it survives into the oldest generation while it is in use
            collector.collect_small()
        del node
        collector.collect_small(pressure=pressure)
        assert (lost() is None) == gone
    finally:
        collector.restore()


@pytest.mark.skipif(not trim(), reason="this C library has no malloc_trim")
def test_memory_is_released_at_intervals_and_under_pressure():
    collector = Collector(trim_every=2)
    for _ in range(4):
        collector.collect_small()
    assert collector.trims == 2
    collector.collect_small(pressure=True)
    assert collector.trims == 3


def test_not_aggressive_leaves_everything_to_python():
    collector = Collector(aggressive=False)
    collector.freeze()
    lost = cycle()
    collector.collect_small(pressure=True)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert lost() is not None
    assert (collector.collections, collector.trims, collector.seconds) == (0, 0, 0.0)


@pytest.mark.skipif(not trim(), reason="this C library has no malloc_trim")
def test_trimming_releases_what_is_freed_while_other_work_runs():
    code = (
        "import time\nfrom deeptrade.memory import read_memory\nfrom deeptrade.memory.collection import trimming\n"
        "small = [bytes(600) for _ in range(100_000)]; keep = small[::2000]\n"
        "full = read_memory().anon_bytes\n"
        "with trimming():\n"
        "    del small\n"
        "    deadline = time.monotonic() + 20\n"
        "    while full - read_memory().anon_bytes < 40_000_000 and time.monotonic() < deadline: time.sleep(0.01)\n"
        "    print(full - read_memory().anon_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40_000_000


@pytest.mark.skipif(not trim(), reason="this C library has no malloc_trim")
def test_trim_releases_freed_small_blocks_to_the_system():
    code = (
        "import numpy as np\n"
        "from deeptrade.memory import read_memory\n"
        "from deeptrade.memory.collection import trim\n"
        "blocks = [np.ones(8_000) for _ in range(1_500)]\n"  # 64 KB each: too small for malloc to map on its own
        "keep = blocks[::100]; del blocks\n"
        "before = read_memory().anon_bytes; trim(); print(before - read_memory().anon_bytes)"
    )
    freed = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert freed > 50_000_000
