"""Memory: the limits that apply, what is used over time, and collection of garbage. Needs no TensorFlow."""

from .budget import ByteBudget, Lease
from .collection import Collector
from .limits import Limit, find_limits, memory_limit
from .monitor import MemoryMonitor
from .process import Memory, read_memory
from .timeline import PhaseRow, Sample, Start, phase_table, read_starts, read_timeline

__all__ = [
    "ByteBudget",
    "Collector",
    "Lease",
    "Limit",
    "Memory",
    "MemoryMonitor",
    "PhaseRow",
    "Sample",
    "Start",
    "find_limits",
    "memory_limit",
    "phase_table",
    "read_memory",
    "read_starts",
    "read_timeline",
]
