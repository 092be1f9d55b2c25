"""Memory: the limits that apply, what is used over time, and collection of garbage. Needs no TensorFlow."""

from .budget import ByteBudget, Lease
from .collection import Collector
from .leaks import Leak, LeakWatch, PhaseGrowth, Slope, phase_growth
from .limits import Limit, find_limits, memory_limit
from .monitor import MemoryMonitor
from .process import Memory, read_memory
from .steps import MemorySpike, StepMemory, StepPhase
from .timeline import PhaseRow, Sample, Start, phase_table, read_notes, read_starts, read_timeline

__all__ = [
    "ByteBudget",
    "Collector",
    "Leak",
    "LeakWatch",
    "Lease",
    "Limit",
    "Memory",
    "MemoryMonitor",
    "MemorySpike",
    "PhaseGrowth",
    "PhaseRow",
    "Sample",
    "Slope",
    "Start",
    "StepMemory",
    "StepPhase",
    "find_limits",
    "memory_limit",
    "phase_growth",
    "phase_table",
    "read_memory",
    "read_notes",
    "read_starts",
    "read_timeline",
]
