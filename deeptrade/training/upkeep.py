"""Memory upkeep of a run between steps: collect garbage, release memory, watch for leaks; and report on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..memory import Collector, LeakWatch, MemoryMonitor, MemorySpike, StepMemory, read_memory, read_notes
from ..memory.collection import trim


class Upkeep:
    """Memory upkeep at the end of every step; `leased` returns the bytes of caches and batches, which are not leaks.

    Without the monitor memory is not watched; only garbage is collected.
    """

    def __init__(
        self, monitor: MemoryMonitor, *, aggressive: bool, leased: Callable[[], int], sink: Callable[[str], None]
    ):
        self._monitor, self._sink = monitor, sink
        self._collector = Collector(aggressive)
        self.step_memory = StepMemory(sink=self._note_spike) if monitor.enabled else None
        watch = LeakWatch(look=lambda: read_memory().anon_bytes - leased())
        self._leaks = watch if monitor.enabled else None
        self._has_validated = False

    def after_step(self, step: int, *, scarce: bool = False) -> None:
        """Do what is due at the end of an optimizer step; with `scarce`, release free memory at every step.

        Otherwise malloc spreads small passes over the memory that larger ones freed, and usage does not fall.
        """
        self._collector.freeze()  # only once, now that the step is traced
        self._collector.collect_small(pressure=scarce)
        leak = self._leaks.observe(step) if self._leaks is not None else None
        if leak is not None:
            self._monitor.note("leak", **asdict(leak))
            self._sink(f"step {step}: memory grows by {leak.bytes_per_step / 1e6:.2f} MB a step; {leak.detail}")

    def after_resize(self) -> None:
        """Release to the system what passes of the previous size have freed; the watch for leaks begins anew."""
        trim()
        if self._leaks is not None:
            self._leaks.restart()

    def after_validation(self) -> None:
        """Begin the watch for leaks anew after the first validation: the function it traced is held from now on."""
        if self._leaks is not None and not self._has_validated:
            self._leaks.restart()
        self._has_validated = True

    def close(self) -> None:
        """Restore Python's own garbage collection and stop tracing."""
        self._collector.restore()
        if self._leaks is not None:
            self._leaks.close()

    def memory(self) -> dict[str, Any]:
        """Return step phases and slope of this call, and leaks and spikes of the whole run, as plain data."""
        slope = self._leaks.slope if self._leaks is not None else None
        return {
            "step_phases": [asdict(row) for row in self.step_memory.table()] if self.step_memory else [],
            "spikes": self._notes("spike"),
            "slope": asdict(slope) if slope else None,
            "leaks": self._notes("leak"),
        }

    def time(self) -> dict[str, Any]:
        """Return the seconds and counts of garbage collection in this call."""
        collector = self._collector
        return {
            "collection_seconds": collector.seconds,
            "collections": collector.collections,
            "trims": collector.trims,
        }

    def warnings(self) -> list[str]:
        """Return one line per leak."""
        return [
            f"memory grew by {leak['bytes_per_step'] / 1e6:.2f} MB a step (step {leak['step']}); {leak['detail']}"
            for leak in self._notes("leak")
        ]

    def _notes(self, kind: str) -> list[dict[str, Any]]:
        """The notes of one kind in the timeline, including earlier calls of a continued run."""
        path = self._monitor.path
        if not self._monitor.enabled or path is None or not path.exists():
            return []
        return [{name: value for name, value in note.items() if name != "kind"} for note in read_notes(path, kind)]

    def _note_spike(self, spike: MemorySpike) -> None:
        self._monitor.note("spike", **asdict(spike))
