"""Whether the files of klines fit in memory, before they are read."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DoesNotFitError
from ..memory.limits import MemoryLimits
from ..units import count_of, format_bytes
from .kline_files import KlineFile
from .kline_tables import JsonFile

_BYTES_PER_BAR = 250
"""With nine channels: what reading, sorting and aggregating a bar hold at their peak (benchmarks/build_rate.py)."""
_FIXED_BYTES = 64 << 20
"""Blocks of text, the texts of windows, and the libraries."""


def check_memory(files: Sequence[KlineFile], limits: MemoryLimits) -> None:
    """Raise DoesNotFitError, with numbers, where the bars of the files need more memory than is available."""
    bars = sum(file.rows for file in files if not isinstance(file, JsonFile))  # JSON is in memory already
    needed = bars * _BYTES_PER_BAR + _FIXED_BYTES
    limit = limits.smallest()
    if needed > limit.available_bytes:
        raise DoesNotFitError(
            f"about {count_of(bars, 'bar')} in {count_of(len(files), 'file')} need about {format_bytes(needed)}, "
            f"{format_bytes(limit.available_bytes)} of {format_bytes(limit.limit_bytes)} ({limit.source}) are free; "
            f"raise --memory_limit, or build fewer files at a time"
        )
