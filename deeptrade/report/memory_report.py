"""The memory report of a run, from its files: verdict, timeline, phases, and how sure the figures are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import user_path, write_json
from ..memory import Limit, PhaseRow, Sample, phase_growth, phase_table, read_notes, read_starts, read_timeline
from ..run_folder import MEMORY_REPORT, RunFolder
from ..units import format_bytes
from . import tables
from .findings.memory import kernel_peak, peak_sample


@dataclass(frozen=True)
class MemoryReport:
    """What a run's memory.jsonl, result.json say; `predicted` is None where there is no result."""

    verdict: str
    honesty: str
    limit_bytes: int
    samples: list[Sample]
    phases: list[PhaseRow]
    predicted: Mapping[str, Any] | None
    growth: str
    next_steps: list[str]


def memory_report(run: str | Path, *, out: str | Path | None = None) -> MemoryReport:
    """Return the memory report of a run's folder or of what `fit --out` left, killed runs too.

    With `out`, out/memory.json gets verdict, phases and next steps.

    Raises DataError when there is neither a timeline nor a result.
    """
    folder = user_path(run)
    training = RunFolder(folder).training
    timeline = training.timeline
    samples = read_timeline(timeline) if timeline.exists() else []
    result = training.read_result()
    if not samples and not result:
        raise DataError(f"{folder} holds no memory.jsonl and no result.json; give the folder of a run or of fit")
    completed = result is not None and result["status"] == "completed"
    again = [] if completed else ["run it again: it continues from its last checkpoint"]
    kernel_peak_bytes = result["memory"]["peak_rss_bytes"] if result and completed else 0
    report = MemoryReport(
        **(
            _sampled(samples, timeline, finished=completed, kernel_peak_bytes=kernel_peak_bytes)
            if samples
            else _unsampled(result or {})
        ),
        samples=samples,
        phases=phase_table(samples),
        predicted=result and {**result["memory"], "measured_peak_bytes": _measured(samples)},
        growth=tables.growth_verdict(_within_steps(result, timeline)),
        next_steps=[*again, *(tables.next_steps(result) if result else [])],
    )
    if out is not None:
        content = {"verdict": report.verdict, "honesty": report.honesty, "next_steps": report.next_steps}
        phases = [asdict(row) for row in report.phases]
        write_json(user_path(out) / MEMORY_REPORT, {"schema_version": 1, **content, "phases": phases})
    return report


def report_samples(samples: list[Sample], *, limit: Limit, interval_seconds: float) -> MemoryReport:
    """Return the report of samples of any process, such as those of a monitor; there must be one."""
    peak = peak_sample(samples)
    return MemoryReport(
        verdict=tables.memory_verdict(peak.anon_bytes, limit.limit_bytes, limit.source, peak.phase),
        honesty=_honesty(samples, interval_seconds),
        limit_bytes=limit.limit_bytes,
        samples=samples,
        phases=phase_table(samples),
        predicted=None,
        growth=tables.phase_growth_verdict(phase_growth(samples)),
        next_steps=[],
    )


def _sampled(samples: list[Sample], timeline: Path, *, finished: bool, kernel_peak_bytes: int) -> dict[str, Any]:
    start, peak = read_starts(timeline)[-1], peak_sample(samples)
    return {
        "verdict": tables.memory_verdict(peak.anon_bytes, start.limit_bytes, start.limit_source, peak.phase),
        "honesty": _honesty(
            samples,
            start.interval_seconds,
            runs=samples[-1].run + 1,
            finished=finished,
            kernel_peak_bytes=kernel_peak_bytes,
        ),
        "limit_bytes": start.limit_bytes,
    }


def _unsampled(result: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a run made with no_memory_monitor."""
    return {
        "verdict": tables.unsampled_verdict(result["memory"]),
        "honesty": "The run took no samples (no_memory_monitor): there is no timeline, and the kernel's peak counts "
        "pages of mapped files that it would give back.",
        "limit_bytes": result["memory"]["limit_bytes"],
    }


def _within_steps(result: Mapping[str, Any] | None, timeline: Path) -> Mapping[str, Any]:
    """Slope, leaks and jumps: from the result, or what the timeline of a killed run says of leaks and jumps."""
    if result and "slope" in result["memory"]:
        return result["memory"]
    kinds = {"leaks": "leak", "spikes": "spike"} if timeline.exists() else {}
    return {name: read_notes(timeline, kind) for name, kind in kinds.items()}


def _measured(samples: list[Sample]) -> int | None:
    return peak_sample(samples).anon_bytes if samples else None


def _honesty(
    samples: list[Sample],
    interval_seconds: float,
    *,
    runs: int = 1,
    finished: bool = True,
    kernel_peak_bytes: int = 0,
) -> str:
    """What the figures can have missed, in words; the kernel's peak is that of the process of the last start."""
    lines = [
        f"Anonymous memory was sampled every {interval_seconds:g} s and at each phase's edges "
        f"({len(samples):,} samples): what came and went in between is not seen.",
    ]
    peak = kernel_peak(samples, kernel_peak_bytes)
    line = f"Resident memory peaked at {format_bytes(peak.sampled_bytes)} in these samples"
    if peak.excess_share is not None:
        line += f"; the kernel's own mark, which misses nothing, is {format_bytes(kernel_peak_bytes)}"
        line += f" ({abs(peak.excess_share):.1%} {'more' if peak.excess_share > 0 else 'less'})"
        if peak.samples_missed_it:
            line += (
                ". **Samples have missed a peak**, or it was before training began: the true one may lie as far above"
            )
    lines.append(f"{line}.")
    if runs > 1:
        lines.append(f"The run was started {runs} times; the timeline joins them.")
    if not finished:
        lines.append("The run has not completed: it was stopped or is still going, and this is the last that is known.")
    return " ".join(lines)
