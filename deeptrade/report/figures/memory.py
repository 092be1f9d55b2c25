"""Figure of memory over time, with phases and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...memory import Sample
from ...units import format_bytes
from ..findings.memory import peak_sample
from .common import BLUE, GREY, MIB, RED, SHADES, legend_below, new_axes


def memory_timeline(samples: Sequence[Sample], limit_bytes: int) -> Figure:
    """Return anonymous and resident memory over time, with phases shaded and the limit dashed."""
    times = _continuous_seconds(samples)
    anonymous = np.array([sample.anon_bytes for sample in samples]) / MIB
    resident = np.array([sample.rss_bytes for sample in samples]) / MIB
    peak = peak_sample(samples)
    title = f"Memory peaks at {peak.anon_bytes / MIB:,.0f} MiB in phase {peak.phase or 'no phase'!r}"
    figure, axes = new_axes(title, height=3.8)
    _shade_phases(axes, samples, times)
    axes.plot(times, resident, color=GREY, linewidth=1, label="resident (with mapped files)")
    axes.plot(times, anonymous, color=BLUE, linewidth=1.8, label="anonymous (counts against the limit)")
    highest = max(resident.max(), anonymous.max())
    if limit_bytes / MIB < 3 * highest:
        axes.axhline(limit_bytes / MIB, color=RED, linestyle="--", label=f"limit {format_bytes(limit_bytes)}")
    else:
        axes.plot([], [], color=RED, linestyle="--", label=f"limit {format_bytes(limit_bytes)} (far above)")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("memory [MiB]")
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


def _shade_phases(axes: Axes, samples: Sequence[Sample], times: np.ndarray) -> None:
    """Colour the background by outermost phase; each phase is labelled once."""
    names = list(dict.fromkeys(sample.phase.partition("/")[0] for sample in samples))
    colours = {name: SHADES[number % len(SHADES)] for number, name in enumerate(filter(None, names))}
    labelled: set[str] = set()
    for name, group in groupby(range(len(samples)), key=lambda index: samples[index].phase.partition("/")[0]):
        inside = list(group)
        if name:
            label = None if name in labelled else f"phase {name}"
            axes.axvspan(times[inside[0]], times[inside[-1]], color=colours[name], alpha=0.35, linewidth=0, label=label)
            labelled.add(name)
