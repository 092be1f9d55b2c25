"""A background thread that samples this process's memory and writes every sample to disk at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any

from ..files import friendly_os_errors, user_path
from .leaks import PhaseGrowth, phase_growth
from .limits import Limit, MemoryLimits
from .process import Memory, read_memory
from .timeline import PhaseRow, Sample, Start, note_line, phase_table, read_timeline, sample_line, start_line, thinned

__all__ = ["Memory", "MemoryMonitor", "PhaseRow", "Sample", "phase_table", "read_memory", "read_timeline"]

KEPT_SAMPLES = 10_000
"""Most samples kept without a file, about 3 MB: half an hour at the default interval; then every other one is dropped,
and the oldest if there are that many phases."""


@dataclass(frozen=True, slots=True)
class Recent:
    """Summary of some samples: the latest one, the least available bytes, the most anonymous bytes."""

    latest: Sample
    least_available_bytes: int
    most_anon_bytes: int


def _with(recent: Recent | None, sample: Sample) -> Recent:
    least, most = sample.available_bytes, sample.anon_bytes
    if recent is None:
        return Recent(sample, least, most)
    return Recent(sample, min(least, recent.least_available_bytes), max(most, recent.most_anon_bytes))


def _limits_of(limit: MemoryLimits | Limit | None) -> MemoryLimits:
    """The limits to watch; a single `Limit` counts only if it is the user's."""
    if isinstance(limit, Limit):
        return MemoryLimits.of(limit.limit_bytes if limit.source == "user" else 0)
    return MemoryLimits.of(limit or "")


class MemoryMonitor:
    """Samples this process's memory while the block runs, each with the phase it belongs to.

    Arguments: path, the timeline file, appended to (None: the samples are kept in `samples`, at most 10,000, thinned
    out beyond that); interval_seconds between samples; limit, all limits that apply or the one in effect (None: looked
    up); enabled, False takes no samples and creates no thread and no file.

    Every line is written unbuffered, so a kill loses none (a power cut may). A sample takes 0.2 to 0.3 ms: under 0.4%
    of one core at the default interval (benchmarks/monitor_overhead.py). If writing fails, as on a full disk, the file
    ends but the run continues; `problem` then says why.

    `take_recent` returns what was seen since its last call.

    Peaks: `peak_anon_bytes` is the largest sample since the start, and phases are sampled as they begin and end; what
    is allocated and freed between two samples is missed. `peak_rss_bytes` is the kernel's high-water mark, which misses
    nothing but includes mapped file pages and counts from the start of the process. With enabled=False,
    `peak_anon_bytes` is that mark too: an upper bound, in resident rather than anonymous bytes.

    `phases` gives the table of phases, `growth` whether one holds more memory each time it runs. In a notebook, after
    `%load_ext deeptrade`, a monitor at the end of a cell shows both and the timeline.

    >>> with MemoryMonitor() as monitor, monitor.phase("work"):
    ...     block = bytearray(50_000_000)
    >>> monitor.peak_anon_bytes - monitor.baseline_anon_bytes >= 50_000_000
    True
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        interval_seconds: float = 0.2,
        limit: MemoryLimits | Limit | None = None,
        enabled: bool = True,
    ):
        self.path = None if path is None else user_path(path)
        self.interval_seconds = interval_seconds
        self._limits = _limits_of(limit)
        self.limit = limit if isinstance(limit, Limit) else self._limits.smallest()
        self.enabled = enabled
        self.baseline_anon_bytes = 0
        self.samples: list[Sample] = []
        self.problem = ""
        self._recent: Recent | None = None
        self._peak_anon_bytes = 0
        self._peak_rss_bytes = 0
        self._phases: list[str] = []
        self._running = False
        self._started = 0.0
        self._file: int | None = None
        self._lock = RLock()
        self._stop = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> MemoryMonitor:
        memory = self._look()
        self.baseline_anon_bytes = memory.anon_bytes
        self._started = time.monotonic()
        if self.enabled:
            self._open_file()
        self._running = True
        if self.enabled:
            self.sample()
            self._stop.clear()
            self._thread = Thread(target=self._run, name="deeptrade-memory-monitor", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self.sample()
            self._close_file()
        self._look()
        self._running = False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name the work inside the block; a phase within a phase is 'outer/inner'.

        Meant for work that lasts seconds: each phase costs three samples. The name applies to the whole process, not
        only to the calling thread.
        """
        self._enter_phase(name)
        try:
            yield
        finally:
            self._leave_phase()

    @property
    def peak_anon_bytes(self) -> int:
        """Most anonymous bytes sampled since the start; with enabled=False the kernel's peak of resident bytes."""
        return self._peak_anon_bytes if self.enabled else self.peak_rss_bytes

    @property
    def peak_rss_bytes(self) -> int:
        """The kernel's high-water mark of resident bytes, including mapped files, since the process started."""
        if self._running:
            self._look()  # the kernel's mark may fall a little: it sums the threads' counters only now and then
        return self._peak_rss_bytes

    def sample(self) -> Sample | None:
        """Take a sample now and return it; None with enabled=False or outside of the block."""
        if not (self.enabled and self._running):
            return None
        with self._lock:
            memory = self._look()
            sample = Sample(
                seconds=round(time.monotonic() - self._started, 4),
                phase="/".join(self._phases),
                anon_bytes=memory.anon_bytes,
                rss_bytes=memory.rss_bytes,
                available_bytes=self._limits.available_bytes(),
            )
            self._recent = _with(self._recent, sample)
            if self.path is None:
                self.samples.append(sample)
                if len(self.samples) > KEPT_SAMPLES:
                    self.samples = thinned(self.samples, KEPT_SAMPLES // 2)[-KEPT_SAMPLES * 3 // 4 :]
            self._write(sample_line(sample))
            return sample

    def kept_samples(self) -> list[Sample]:
        """Return the samples: all those in the file if there is one, else those kept in memory."""
        with self._lock:
            if self.path is None:
                return list(self.samples)
            return read_timeline(self.path) if self.path.exists() else []

    def phases(self) -> list[PhaseRow]:
        """Return one row per phase so far: bytes before it, after it and at its peak, and seconds."""
        return phase_table(self.kept_samples())

    def growth(self) -> list[PhaseGrowth]:
        """Return, for every phase visited often enough, whether memory grows from visit to visit."""
        return phase_growth(self.kept_samples())

    def take_recent(self) -> Recent:
        """Return a summary of the samples since the last call; the latest one counts again in the next call."""
        with self._lock:
            if self._recent is None and self.sample() is None:
                raise RuntimeError("the monitor is not running; call take_recent inside its `with` block, enabled")
            assert self._recent is not None
            recent, self._recent = self._recent, _with(None, self._recent.latest)
            return recent

    def note(self, kind: str, **content: Any) -> None:
        """Write an event to the timeline file, if there is one."""
        with self._lock:
            self._write(note_line(kind, content))

    def _enter_phase(self, name: str) -> None:
        with self._lock:
            self._phases.append(name)
            self.sample()

    def _leave_phase(self) -> None:
        with self._lock:
            self.sample()
            self._phases.pop()
            self.sample()  # so that a next visit of the same phase is recognized as another one

    def _run(self) -> None:
        while not self._stop.wait(self.interval_seconds):
            self.sample()

    def _look(self) -> Memory:
        memory = read_memory()
        self._peak_anon_bytes = max(self._peak_anon_bytes, memory.anon_bytes)
        self._peak_rss_bytes = max(self._peak_rss_bytes, memory.peak_rss_bytes)
        return memory

    def _open_file(self) -> None:
        if self.path is None:
            return
        with friendly_os_errors(f"writing {self.path.name}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            size = os.fstat(self._file).st_size
            torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        start = Start(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            limit_bytes=self.limit.limit_bytes,
            limit_source=self.limit.source,
            interval_seconds=self.interval_seconds,
            pid=os.getpid(),
        )
        self._write("\n" * torn + start_line(start))

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            os.write(self._file, line.encode())
        except OSError as error:
            self.problem = f"the memory timeline ends early: {error.strerror}"
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
