"""Memory of notebook cells: `%load_ext deeptrade`, then `%%memory` as the first line of a cell, and `%memory`.

It only displays. What is measured, and how growth is judged, is in `deeptrade.memory`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from ..memory import MemoryLimits, MemoryMonitor, PhaseRow, Sample, phase_table
from ..memory.timeline import thinned
from ..report import figures, tables
from ..report.memory_report import MemoryReport, report_samples
from ..units import format_bytes

CELL_SECONDS = 0.1
"""Between two samples of a cell that runs: 0.7% of one core (benchmarks/monitor_overhead.py)."""

KEPT_SAMPLES = 200
"""Samples of one cell that stay for the figure."""

_FIRST_LINE = re.compile(r"\s*%%memory\b[ \t]*(.*)\n?")
_ANSWERS = ("", "on", "off")


class CellMemory:
    """What the measured cells of a notebook did to its memory, in the order they ran; `begin` and `end` one."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._monitor: MemoryMonitor | None = None
        self._open = ExitStack()
        self._runs = 0

    def begin(self, name: str) -> None:
        """Measure from here on, under this name; the names of cells that ran before may come again."""
        self.end()
        self._monitor = self._open.enter_context(MemoryMonitor(interval_seconds=CELL_SECONDS))
        self._open.enter_context(self._monitor.phase(name.replace("/", "\N{DIVISION SLASH}")))  # '/' is within

    def end(self) -> PhaseRow | None:
        """Measure no more; return what the cell did, None where none was begun."""
        if self._monitor is None:
            return None
        monitor, self._monitor = self._monitor, None
        self._open.close()
        inside = [sample for sample in monitor.samples if sample.phase]
        if not inside:  # interrupted before the phase began
            return None
        self.samples += [replace(sample, run=self._runs) for sample in thinned(inside, KEPT_SAMPLES)]
        self._runs += 1
        return phase_table(inside)[0]

    def report(self) -> MemoryReport:
        """Return verdict, table, growth and samples of all measured cells; there must be one."""
        return report_samples(self.samples, limit=MemoryLimits().smallest(), interval_seconds=CELL_SECONDS)


def cell_line(row: PhaseRow, limit_bytes: int) -> str:
    """Return what one cell did in one line: before, after, the peak between, seconds, and the limit."""
    change = row.after - row.before
    sign = "+" if change >= 0 else "-"
    return (
        f"{row.phase}: {format_bytes(row.before)} before, {format_bytes(row.after)} after "
        f"({sign}{format_bytes(abs(change))}), peak {format_bytes(row.peak)} "
        f"(+{format_bytes(row.peak - row.before)}), {row.seconds:.1f} s; limit {format_bytes(limit_bytes)}"
    )


def show(report: MemoryReport) -> None:
    """Display a report of samples: verdict, growth, table, figure, and how sure the figures are."""
    from IPython.display import Markdown, display

    display(Markdown(f"**{report.verdict}** {report.growth}"), tables.as_html(tables.phases(report.phases)))
    figures.show(figures.memory_timeline(report.samples, report.limit_bytes), alt=report.verdict)
    display(Markdown(report.honesty))


class _Line(str):
    """Text that is displayed without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _say(line: str) -> None:
    from IPython.display import display

    display(_Line(line))


def show_monitor(monitor: MemoryMonitor) -> None:
    """Display what a monitor has seen: verdict, phases, growth and the timeline."""
    if not monitor.kept_samples():
        _say("this monitor has seen nothing yet: use it in a with-block")
        return
    show(report_samples(monitor.kept_samples(), limit=monitor.limit, interval_seconds=monitor.interval_seconds))


class _Cells:
    """Measures the cells of a shell that ask for it with `%%memory`, or all of them after `%memory on`.

    A cell within a cell (`%%capture`, `%rerun`) belongs to the outer one.
    """

    def __init__(self, shell: Any):
        self._shell = shell
        self._memory = CellMemory()
        self._all = False
        self._depth = 0
        self._names: dict[str, str] = {}

    def install(self) -> None:
        self._shell.input_transformers_cleanup.append(strip_first_line)
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)
        self._shell.register_magic_function(self.answer, "line", "memory")
        self._shell.display_formatter.ipython_display_formatter.for_type(MemoryMonitor, show_monitor)

    def remove(self) -> None:
        self._memory.end()
        self._shell.input_transformers_cleanup.remove(strip_first_line)
        self._shell.events.unregister("pre_run_cell", self._before)
        self._shell.events.unregister("post_run_cell", self._after)
        del self._shell.magics_manager.magics["line"]["memory"]
        self._shell.display_formatter.ipython_display_formatter.pop(MemoryMonitor)

    def answer(self, line: str) -> None:
        """Show the memory of the cells measured so far; `%memory on` measures every cell from here, `off` ends that."""
        word = line.strip()
        if word not in _ANSWERS:
            _say(f"%memory {word!r} is not accepted; use %memory, %memory on or %memory off")
        elif word:
            self._all = word == "on"
        elif self._memory.samples:
            show(self._memory.report())
        else:
            _say("no cell has been measured; put %%memory as the first line of one, or run %memory on")

    def _before(self, info: Any) -> None:
        self._depth += 1
        asked = _FIRST_LINE.match(info.raw_cell or "")
        if self._depth == 1 and (asked or self._all):
            name = asked.group(1).strip() if asked else ""
            self._memory.begin(name or self._name_of(info))

    def _name_of(self, info: Any) -> str:
        """The name of a cell that has none: by the number of its first run, where cells can be told apart."""
        number = f"cell {self._shell.execution_count}"
        return self._names.setdefault(info.cell_id, number) if getattr(info, "cell_id", None) else number

    def _after(self, result: Any) -> None:
        self._depth = max(0, self._depth - 1)  # IPython reports only the end of an empty cell
        row = self._memory.end() if self._depth == 0 else None
        if row is not None:
            _say(cell_line(row, MemoryLimits().smallest().limit_bytes))


def strip_first_line(lines: Iterable[str]) -> list[str]:
    """Take `%%memory` from the top of a cell, which then runs as any other: with its result, or its error."""
    lines = list(lines)
    if not lines or not _FIRST_LINE.fullmatch(lines[0]):
        return lines
    is_magic = len(lines) > 1 and lines[1].startswith("%%")
    return lines[1:] if is_magic else ["\n", *lines[1:]]


# IPython then runs it once per cell, not again to guess whether a typed cell is complete.
strip_first_line.has_side_effects = True  # type: ignore[attr-defined]


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext deeptrade`."""
    shell.deeptrade_cells = _Cells(shell)
    shell.deeptrade_cells.install()


def unload_ipython_extension(shell: Any) -> None:
    """Called by `%unload_ext deeptrade`."""
    shell.deeptrade_cells.remove()
    del shell.deeptrade_cells
