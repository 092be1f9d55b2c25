import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deeptrade.errors import DataError
from deeptrade.memory import MemoryMonitor, Sample, phase_table, read_memory, read_starts, read_timeline
from deeptrade.memory import monitor as monitor_module
from deeptrade.memory.limits import Limit
from deeptrade.memory.timeline import PhaseRow, thinned

MIB = 1 << 20
LIMIT = Limit("user", 1 << 40, 1 << 39)


def hold(mebibytes: int) -> bytearray:
    return bytearray(b"x") * (mebibytes * MIB)


def sample(seconds: float, phase: str, anon: int, run: int = 0) -> Sample:
    return Sample(seconds, phase, anon, 0, 0, run)


def wait_until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_memory_of_this_process_grows_by_what_it_holds():
    before = read_memory()
    block = hold(64)
    after = read_memory()
    assert after.anon_bytes - before.anon_bytes == pytest.approx(len(block), rel=0.05)
    assert after.peak_rss_bytes >= after.rss_bytes > after.anon_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells mapped from anonymous memory here")
def test_mapped_file_pages_are_resident_but_not_anonymous(tmp_path):
    import mmap

    (tmp_path / "file").write_bytes(bytes(32 * MIB))
    before = read_memory()
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[::4096]) == 0
        after = read_memory()
    assert after.rss_bytes - before.rss_bytes >= 30 * MIB
    assert after.anon_bytes - before.anon_bytes < 4 * MIB


def test_memory_of_another_process_is_read_by_its_id():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        wait_until(lambda: read_memory(process.pid).anon_bytes > MIB)
        process.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        read_memory(process.pid)


def test_without_proc_psutil_answers(tmp_path):
    before = read_memory(root=tmp_path)
    block = hold(64)
    after = read_memory(root=tmp_path)
    assert after.anon_bytes - before.anon_bytes == pytest.approx(len(block), rel=0.2)  # others free memory too
    assert after.peak_rss_bytes == pytest.approx(read_memory().peak_rss_bytes, rel=0.05)


def test_the_peak_within_a_phase_is_seen_and_the_baseline_is_before_it():
    with MemoryMonitor(interval_seconds=60) as monitor:
        with monitor.phase("load"):
            block = hold(64)
        del block
    assert monitor.peak_anon_bytes - monitor.baseline_anon_bytes == pytest.approx(64 * MIB, rel=0.05)
    assert monitor.peak_rss_bytes >= monitor.peak_anon_bytes


def test_the_thread_samples_at_the_interval():
    with MemoryMonitor(interval_seconds=0.02) as monitor:
        time.sleep(0.5)
    assert 8 <= len(monitor.samples) <= 28


def test_every_sample_is_on_disk_as_it_comes(tmp_path):
    path = tmp_path / "deep" / "memory.jsonl"
    with MemoryMonitor(path, interval_seconds=60, limit=LIMIT) as monitor:
        taken = monitor.sample()
        assert read_timeline(path)[-1] == taken
        start = read_starts(path)
    assert [(s.limit_bytes, s.limit_source, s.interval_seconds, s.pid) for s in start] == [
        (1 << 40, "user", 60, os.getpid())
    ]
    assert set(json.loads(path.read_text().splitlines()[-1])) == {
        "seconds", "phase", "anon_bytes", "rss_bytes", "available_bytes"
    }  # fmt: skip


def test_nested_phases_are_joined_and_left_even_after_an_error(tmp_path):
    with MemoryMonitor(tmp_path / "m.jsonl", interval_seconds=60) as monitor:
        with pytest.raises(ValueError), monitor.phase("train"), monitor.phase("save"):
            raise ValueError
        monitor.sample()
    phases = [s.phase for s in read_timeline(tmp_path / "m.jsonl")]
    assert phases == ["", "train", "train/save", "train/save", "train", "train", "", "", ""]


def test_the_users_limit_bounds_what_is_available():
    held = read_memory().anon_bytes
    with MemoryMonitor(limit=Limit("user", held + 100 * MIB, 100 * MIB), interval_seconds=60) as monitor:
        taken = monitor.sample()
    assert 0 < taken.available_bytes <= 100 * MIB


def test_a_resumed_run_appends_after_another_start(tmp_path):
    path = tmp_path / "m.jsonl"
    for name in ("first", "second"):
        with MemoryMonitor(path, interval_seconds=60) as monitor, monitor.phase(name):
            pass
    samples = read_timeline(path)
    assert len(read_starts(path)) == 2
    assert [(s.run, s.phase) for s in samples if s.phase] == [(0, "first")] * 2 + [(1, "second")] * 2


def test_a_line_cut_short_loses_only_itself(tmp_path):
    path = tmp_path / "m.jsonl"
    with MemoryMonitor(path, interval_seconds=60):
        pass
    whole = len(read_timeline(path))
    path.write_bytes(path.read_bytes()[:-9])
    assert len(read_timeline(path)) == whole - 1
    with MemoryMonitor(path, interval_seconds=60):
        pass
    assert len(read_starts(path)) == 2
    assert len(read_timeline(path)) == 2 * whole - 1


def test_fields_that_a_later_version_adds_are_ignored(tmp_path):
    line = {"seconds": 1.0, "phase": "", "anon_bytes": 1, "rss_bytes": 2, "available_bytes": 3, "device_bytes": 4}
    (tmp_path / "m.jsonl").write_text(json.dumps(line) + "\n")
    assert read_timeline(tmp_path / "m.jsonl") == [Sample(1.0, "", 1, 2, 3)]


def test_a_missing_timeline_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"m\.jsonl"):
        read_timeline(tmp_path / "m.jsonl")


def test_a_killed_process_leaves_its_timeline(tmp_path):
    path = tmp_path / "m.jsonl"
    code = (
        "import sys; from deeptrade.memory import MemoryMonitor\n"
        "with MemoryMonitor(sys.argv[1], interval_seconds=0.005) as monitor, monitor.phase('work'):\n"
        "    block = bytearray(b'x') * (64 << 20)\n"
        "    print('ready', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        ready = len(read_timeline(path))
        wait_until(lambda: len(read_timeline(path)) > ready + 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
    samples = read_timeline(path)
    assert len(samples) > ready + 10
    assert phase_table(samples)[0].peak - samples[0].anon_bytes == pytest.approx(64 * MIB, rel=0.1)
    assert read_starts(path)[0].pid == process.pid


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files through /proc")
@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_no_thread_and_no_file_is_left_behind(tmp_path, error):
    gc.collect()
    threads, files = threading.active_count(), open_files()

    def work() -> None:
        with MemoryMonitor(tmp_path / "m.jsonl", interval_seconds=0.01) as monitor, monitor.phase("work"):
            assert (threading.active_count(), open_files()) == (threads + 1, files + 1)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            work()
    else:
        work()
    assert (threading.active_count(), open_files()) == (threads, files)


def test_a_path_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"m\.jsonl"), MemoryMonitor(tmp_path / "file" / "m.jsonl"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_the_timeline_and_not_the_run(tmp_path):
    (tmp_path / "m.jsonl").symlink_to("/dev/full")
    with MemoryMonitor(tmp_path / "m.jsonl", interval_seconds=0.01) as monitor:
        block = hold(32)
        time.sleep(0.1)
    assert "No space left" in monitor.problem
    assert monitor.peak_anon_bytes - monitor.baseline_anon_bytes >= 0.9 * len(block)


def test_a_disabled_monitor_takes_no_samples_and_asks_the_kernel_for_the_peak(tmp_path):
    threads = threading.active_count()
    with MemoryMonitor(tmp_path / "m.jsonl", interval_seconds=0.01, enabled=False) as monitor, monitor.phase("work"):
        assert threading.active_count() == threads
        block = hold(64)
        held = read_memory().rss_bytes
        del block
    assert not (tmp_path / "m.jsonl").exists()
    assert not monitor.samples
    assert monitor.peak_anon_bytes == monitor.peak_rss_bytes
    assert monitor.peak_rss_bytes >= 0.95 * held  # the kernel's mark lags slightly behind its current value


def test_a_sample_costs_less_than_one_percent_of_the_interval(tmp_path):
    def seconds() -> float:
        started = time.thread_time()  # its own work: other processes on the machine do not count
        monitor.sample()
        return time.thread_time() - started

    with MemoryMonitor(tmp_path / "m.jsonl", interval_seconds=60) as monitor:
        median = sorted(seconds() for _ in range(101))[50]
    assert median < 0.01 * 0.2


def test_samples_from_many_threads_are_whole_lines(tmp_path):
    path = tmp_path / "m.jsonl"
    with MemoryMonitor(path, interval_seconds=0.001) as monitor:
        threads = [threading.Thread(target=lambda: [monitor.sample() for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    samples = read_timeline(path)
    assert len(samples) >= 200
    assert len(samples) == len(path.read_bytes().splitlines()) - 1
    assert [s.seconds for s in samples] == sorted(s.seconds for s in samples)


def test_the_table_holds_before_after_peak_and_seconds_of_each_phase():
    samples = [
        sample(0.0, "", 9),
        sample(1.0, "load", 10),
        sample(2.0, "load", 50),
        sample(3.0, "load", 20),
        sample(3.5, "", 99),
        sample(4.0, "train", 21),
        sample(5.0, "train/save", 70),
        sample(6.0, "train/save", 30),
        sample(8.0, "train", 25),
    ]
    assert phase_table(samples) == [
        PhaseRow("load", 10, 20, 50, 2.0),
        PhaseRow("train", 21, 25, 70, 4.0),
        PhaseRow("train/save", 70, 30, 70, 1.0),
    ]


def test_a_phase_entered_again_adds_up_and_never_across_runs():
    samples = [
        sample(1.0, "load", 10),
        sample(2.0, "load", 12),
        sample(3.0, "loader", 90),
        sample(4.0, "load", 13),
        sample(6.0, "load", 14),
        sample(0.5, "load", 11, run=1),
        sample(1.5, "load", 15, run=1),
    ]
    assert phase_table(samples)[0] == PhaseRow("load", 10, 15, 15, 4.0, visits=3)


def test_no_samples_give_no_table():
    assert phase_table([]) == []
    assert phase_table([sample(0.0, "", 1)]) == []


def test_take_recent_sums_up_the_samples_since_its_last_call():
    with MemoryMonitor(interval_seconds=60) as monitor:
        low = monitor.take_recent().most_anon_bytes
        block = bytearray(b"x") * 40_000_000
        full = monitor.sample()
        del block
        after = monitor.sample()
        seen = monitor.take_recent()
        assert (seen.latest, seen.most_anon_bytes) == (after, full.anon_bytes)
        assert seen.least_available_bytes <= full.available_bytes
        assert seen.most_anon_bytes >= low + 35_000_000
        assert monitor.take_recent().most_anon_bytes == after.anon_bytes


def test_too_many_samples_are_thinned_and_the_table_of_phases_stays():
    samples = [sample(n / 10, "ab"[n // 2500 % 2], 5000 if n == 3333 else n % 7, run=n // 5000) for n in range(10_000)]
    kept = thinned(samples, 200)
    assert len(kept) <= 220
    assert phase_table(kept)[1].peak == 5000
    for whole, part in zip(phase_table(samples), phase_table(kept), strict=True):
        assert (whole.before, whole.after, whole.seconds, whole.visits) == (
            part.before, part.after, pytest.approx(part.seconds), part.visits,
        )  # fmt: skip
    assert thinned(samples[:5], 200) == samples[:5]


def test_a_monitor_without_a_file_keeps_a_limited_number_of_samples(monkeypatch):
    monkeypatch.setattr(monitor_module, "KEPT_SAMPLES", 50)
    with MemoryMonitor(interval_seconds=60) as monitor:
        with monitor.phase("work"):
            for _ in range(200):
                monitor.sample()
        assert len(monitor.kept_samples()) <= 50
        assert monitor.phases()[0].phase == "work"


def test_a_monitor_that_is_not_running_has_no_recent_samples(tmp_path):
    assert MemoryMonitor(tmp_path / "m.jsonl").kept_samples() == []
    assert MemoryMonitor().kept_samples() == []
