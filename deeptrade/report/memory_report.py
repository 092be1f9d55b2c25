"""The memory report of a run, from its files: verdict, timeline, phases, and how reliable the numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import user_path, write_json
from ..memory import Limit, PhaseRow, Sample, phase_growth, phase_table, read_notes, read_starts, read_timeline
from ..run_folder import MEMORY_REPORT, RunFolder, meant_run
from ..units import count_of, format_bytes
from . import tables
from .findings.memory import kernel_peak, peak_sample


@dataclass(frozen=True)
class MemoryReport:
    """What a run's memory.jsonl and result.json say; `predicted` is None where there is no result.json."""

    verdict: str
    honesty: str
    limit_bytes: int
    samples: list[Sample]
    phases: list[PhaseRow]
    predicted: Mapping[str, Any] | None
    growth: str
    next_steps: list[str]


def memory_report(run: str | Path, *, out: str | Path | None = None) -> MemoryReport:
    """Return the memory report of a run's folder, or of a folder written by `fit --out`, even of a killed run.

    With `out`, verdict, phases and next steps are written to out/memory.json.

    Raises DataError when there is neither a timeline nor a result.
    """
    folder = user_path(run)
    training = RunFolder(folder).training
    timeline = training.timeline
    samples = read_timeline(timeline) if timeline.exists() else []
    result = training.read_result()
    if not samples and not result:
        raise DataError(
            f"{folder} holds no memory.jsonl and no result.json; {meant_run(folder)}give the --out folder of a run or "
            "of fit"
        )
    completed = result is not None and result["status"] == "completed"
    again = [] if completed else ["run it again; it continues from its last checkpoint"]
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
    """Return the report of at least one sample of any process, such as those of a MemoryMonitor."""
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
    """Return the part of the report for a run with no_memory_monitor."""
    return {
        "verdict": tables.unsampled_verdict(result["memory"]),
        "honesty": "The run took no samples (no_memory_monitor): there is no timeline, and the kernel's peak includes "
        "pages of mapped files, which it can reclaim.",
        "limit_bytes": result["memory"]["limit_bytes"],
    }


def _within_steps(result: Mapping[str, Any] | None, timeline: Path) -> Mapping[str, Any]:
    """Return slope, leaks and jumps from the result, or leaks and jumps from the timeline of a killed run."""
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
    """Return sentences on what the samples may have missed; the kernel's peak is that of the last start's process."""
    lines = [
        f"Anonymous memory was sampled every {interval_seconds:g} s and at the start and end of each phase "
        f"({count_of(len(samples), 'sample')}): what was allocated and freed in between is not seen.",
    ]
    peak = kernel_peak(samples, kernel_peak_bytes)
    line = f"Resident memory peaked at {format_bytes(peak.sampled_bytes)} in these samples"
    if peak.excess_share is not None:
        line += f"; the kernel's own peak, which misses nothing, is {format_bytes(kernel_peak_bytes)}"
        line += f" ({abs(peak.excess_share):.1%} {'higher' if peak.excess_share > 0 else 'lower'})"
        if peak.samples_missed_it:
            line += (
                ". **Samples have missed a peak**, or it came before training: the true peak may be that much higher"
            )
    lines.append(f"{line}.")
    if runs > 1:
        lines.append(f"The run was started {runs} times; the timeline shows all starts.")
    if not finished:
        lines.append("The run has not completed: it was stopped or is still running, and nothing later is known.")
    return " ".join(lines)
