"""Memory cgroups for benchmarks: a group with a limit, and a command in it whose anonymous memory is watched."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
WATCH_SECONDS = 0.02


@dataclass(frozen=True)
class Watched:
    """How a command ended in its group: peaks in bytes (-1 where not counted), OOM kills, output of both streams."""

    exit_code: int
    oom_kills: int
    peak_anon_bytes: int
    group_peak_bytes: int
    seconds: float
    output: str

    @property
    def last_line(self) -> str:
        """The last line of what it said."""
        return (self.output.strip().splitlines() or [""])[-1]


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a cgroup with a memory limit, and remove it."""
    v2 = (V2 / "cgroup.controllers").exists()
    folder = (V2 if v2 else V1) / f"deeptrade-benchmark-{uuid.uuid4().hex[:8]}"
    if v2:
        (V2 / "cgroup.subtree_control").write_text("+memory")
    folder.mkdir()
    (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    try:
        yield folder
    finally:
        folder.rmdir()


def run_limited(limit_bytes: int, code: str, *arguments: object) -> Watched:
    """Run Python code in a group of its own; anonymous memory of all its processes is the kernel's own count."""
    joining = "import os, sys; open(sys.argv.pop(1) + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
    peak, done = 0, threading.Event()
    with memory_group(limit_bytes) as group:

        def watch() -> None:
            nonlocal peak
            while not done.wait(WATCH_SECONDS):
                peak = max(peak, _anonymous_bytes(group))

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        command = [sys.executable, "-c", joining + code, str(group), *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        group_peak, kills = _read_group(group)
    return Watched(run.returncode, kills, peak, group_peak, seconds, run.stdout + run.stderr)


def run_command(limit_bytes: int, *arguments: object) -> Watched:
    """Run a deeptrade command in a group of its own."""
    return run_limited(limit_bytes, "from deeptrade.cli import main; sys.exit(main())", *arguments)


def _anonymous_bytes(group: Path) -> int:
    words = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(words.get("anon", words.get("total_rss", 0)))


def _read_group(folder: Path) -> tuple[int, int]:
    """The group's peak, which counts page cache too, and its OOM kills."""
    peaks = [folder / name for name in ("memory.peak", "memory.max_usage_in_bytes") if (folder / name).exists()]
    events = next(folder / name for name in ("memory.events", "memory.oom_control") if (folder / name).exists())
    kills = dict(line.split() for line in events.read_text().splitlines()).get("oom_kill", "0")
    return int(peaks[0].read_text()) if peaks else -1, int(kills)
