"""Figures of memory: over time with phases and the limit, and by term beside what was predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...memory import Sample
from ...units import format_bytes
from ..findings.memory import peak_sample
from ..text import drawable
from .common import MIB, finish, legend_below
from .marks import say
from .palette import LIMIT, LINE, MEMORY, QUIET, QUIETER, SOFT

_LETTER_SHARE = 0.024
"""Width of a letter as a share of a phone's axes: a phase is named where its name fits."""


def memory_timeline(samples: Sequence[Sample], limit_bytes: int) -> Figure:
    """Return anonymous and resident memory over time, with phases in a lane below and the limit dashed."""
    times = _continuous_seconds(samples)
    anonymous = np.array([sample.anon_bytes for sample in samples]) / MIB
    resident = np.array([sample.rss_bytes for sample in samples]) / MIB
    peak = peak_sample(samples)
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes, lane = figure.subplots(2, sharex=True, height_ratios=[10, 1])
    where = f"in phase {peak.phase!r}" if peak.phase else "outside of all phases"
    finish(axes, f"Memory peaks at {peak.anon_bytes / MIB:,.0f} MiB {where}")
    axes.plot(times, resident, color=QUIET, linewidth=1, label="resident (with mapped files)")
    axes.plot(times, anonymous, color=MEMORY, linewidth=2, label="anonymous (counts against the limit)")
    axes.fill_between(times, anonymous, color=MEMORY, alpha=0.12, linewidth=0)
    highest = max(resident.max(), anonymous.max())
    if limit_bytes / MIB < 3 * highest:
        axes.axhline(limit_bytes / MIB, color=LIMIT, linestyle="--", label=f"limit {format_bytes(limit_bytes)}")
    else:
        axes.plot([], [], color=LIMIT, linestyle="--", label=f"limit {format_bytes(limit_bytes)} (far above)")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("memory [MiB]")
    _draw_phases(lane, samples, times)
    legend_below(figure)
    return figure


def _continuous_seconds(samples: Sequence[Sample]) -> np.ndarray:
    """Return seconds over several starts, each continuing where the previous one ended."""
    times, offset, last = [], 0.0, 0.0
    for number, sample in enumerate(samples):
        if number and sample.run != samples[number - 1].run:
            offset = last
        last = offset + sample.seconds
        times.append(last)
    return np.array(times)


def _draw_phases(lane: Axes, samples: Sequence[Sample], times: np.ndarray) -> None:
    """Fill a lane with the outermost phases, each with its name where that fits."""
    finish(lane)
    lane.grid(visible=False)
    lane.set(yticks=[], ylim=(0, 1), xlabel="time [s]")
    whole = max(times[-1] - times[0], 1e-9)
    for number, (name, begin, end) in enumerate(_phases(samples, times)):
        patch = lane.axvspan(begin, end, color=(LINE, QUIETER)[number % 2], linewidth=0)
        say(patch, [f"phase {name}: {end - begin:.1f} s from {begin:.1f} s on"])
        if (end - begin) / whole > _LETTER_SHARE * (len(name) + 1):
            middle = (begin + end) / 2
            lane.text(middle, 0.45, drawable(name), ha="center", va="center", fontsize=12, color=SOFT, clip_on=True)


def _phases(samples: Sequence[Sample], times: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Yield name, begin and end in seconds of the outermost phases, up to the begin of the next."""
    for name, group in groupby(range(len(samples)), key=lambda index: samples[index].phase.partition("/")[0]):
        inside = list(group)
        if name:
            yield name, float(times[inside[0]]), float(times[min(inside[-1] + 1, len(times) - 1)])
