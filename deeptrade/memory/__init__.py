"""Memory: the limits that apply, one budget of bytes, what is used over time, and who holds what grows.

For everything that holds buffers, and for reports on runs and notebooks. Needs no TensorFlow. What a training run
will hold is predicted in `planning`; how a run follows the memory there is, is in `training`.
"""

from .budget import ByteBudget, Lease
from .collection import Collector
from .leaks import Leak, LeakWatch, PhaseGrowth, Slope, phase_growth
from .limits import Limit, MemoryLimits
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
    "MemoryLimits",
    "MemoryMonitor",
    "MemorySpike",
    "PhaseGrowth",
    "PhaseRow",
    "Sample",
    "Slope",
    "Start",
    "StepMemory",
    "StepPhase",
    "phase_growth",
    "phase_table",
    "read_memory",
    "read_notes",
    "read_starts",
    "read_timeline",
]
