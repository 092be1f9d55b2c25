"""The memory timeline of a run: the samples in memory.jsonl, and the table of its phases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import friendly_os_errors


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process held at one moment.

    `seconds` is the time since its monitor started; `phase` the nested phase names joined by '/', '' outside of all;
    `available_bytes` the least that was left under any limit; `run` counts the starts in one file from 0.
    """

    seconds: float
    phase: str
    anon_bytes: int
    rss_bytes: int
    available_bytes: int
    run: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """The first line of each run in a timeline: when it began (ISO 8601, UTC) and under which limit."""

    time: str
    limit_bytes: int
    limit_source: str
    interval_seconds: float
    pid: int


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase: anonymous bytes at its first entry, its last exit and its peak; seconds spent in it; its visits.

    A phase includes its inner phases.
    """

    phase: str
    before: int
    after: int
    peak: int
    seconds: float
    visits: int = 1


# Listed by name, so that a file with fields of a later version can still be read.
_SAMPLE_FIELDS = [item.name for item in fields(Sample) if item.name != "run"]
_START_FIELDS = [item.name for item in fields(Start)]


def sample_line(sample: Sample) -> str:
    """Return the JSON line of a sample, without `run`, which follows from the start lines."""
    return json.dumps({name: getattr(sample, name) for name in _SAMPLE_FIELDS}) + "\n"


def start_line(start: Start) -> str:
    """Return the JSON line that begins a run."""
    return json.dumps({"kind": "start", **asdict(start)}) + "\n"


def read_timeline(path: str | Path) -> list[Sample]:
    """Return the samples of a timeline file, oldest first; a line cut short by a kill is left out.

    Raises DataError when the file cannot be read or is not a timeline.
    """
    samples = []
    run = -1
    for line in _read_objects(path):
        if line.get("kind") == "start":
            run += 1
        elif "kind" not in line:
            samples.append(Sample(**_chosen(line, _SAMPLE_FIELDS, path), run=max(run, 0)))
    return samples


def read_starts(path: str | Path) -> list[Start]:
    """Return the start line of every run in a timeline file: one, and one more for each resumption.

    Raises DataError when the file cannot be read or is not a timeline.
    """
    lines = (line for line in _read_objects(path) if line.get("kind") == "start")
    return [Start(**_chosen(line, _START_FIELDS, path)) for line in lines]


def _chosen(line: Mapping[str, Any], names: Sequence[str], path: str | Path) -> dict[str, Any]:
    missing = [name for name in names if name not in line]
    if missing:
        raise DataError(f"{path} is not a memory timeline: a line has no {missing[0]!r}; give the --out of a run")
    return {name: line[name] for name in names}


def note_line(kind: str, content: Mapping[str, Any]) -> str:
    """Return the JSON line of an event, such as a spike."""
    return json.dumps({"kind": kind, **content}) + "\n"


def read_notes(path: str | Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind in a timeline file, oldest first.

    Raises DataError when the file cannot be read.
    """
    return [line for line in _read_objects(path) if line.get("kind") == kind]


def _read_objects(path: str | Path) -> Iterator[dict[str, Any]]:
    path = Path(path)
    with friendly_os_errors(f"reading {path.name}"):
        lines = path.read_bytes().splitlines()
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:  # cut short: the process was killed during the write; the next run began on a new line
            continue
        if isinstance(content, dict):
            yield content


def thinned(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return about `most` of the samples, in order; more if there are many phases, whose first and last ones are kept.

    The largest is kept too, so the peak and the table of phases, except peaks of phases, are those of all samples.
    """
    if len(samples) <= most:
        return list(samples)
    peak = max(range(len(samples)), key=lambda number: samples[number].anon_bytes)
    even = {number * (len(samples) - 1) // (most - 1) for number in range(most)}
    edges = {
        number
        for number in range(len(samples))
        if number in (0, len(samples) - 1)
        or _place(samples[number - 1]) != _place(samples[number])
        or _place(samples[number + 1]) != _place(samples[number])
    }
    return [samples[number] for number in sorted({*even, *edges, peak})]


def _place(sample: Sample) -> tuple[int, str]:
    return sample.run, sample.phase


def phase_table(samples: Sequence[Sample]) -> list[PhaseRow]:
    """Return one row per phase, in order of first entry; samples outside of all phases are ignored.

    A phase entered several times gets one row, with the seconds of all its visits.
    """
    return [_phase_row(name, samples) for name in phase_names(samples)]


def phase_names(samples: Sequence[Sample]) -> list[str]:
    """Return the phase names of samples, outer before inner, in order of first entry."""
    return list(dict.fromkeys(name for sample in samples for name in _with_parents(sample.phase)))


def _with_parents(phase: str) -> Iterator[str]:
    """Yield 'a', 'a/b', 'a/b/c' for 'a/b/c'."""
    parts = phase.split("/") if phase else []
    for depth in range(1, len(parts) + 1):
        yield "/".join(parts[:depth])


def _phase_row(name: str, samples: Sequence[Sample]) -> PhaseRow:
    visits = phase_visits(name, samples)
    return PhaseRow(
        phase=name,
        before=visits[0][0].anon_bytes,
        after=visits[-1][-1].anon_bytes,
        peak=max(sample.anon_bytes for visit in visits for sample in visit),
        seconds=sum(visit[-1].seconds - visit[0].seconds for visit in visits),
        visits=len(visits),
    )


def phase_visits(name: str, samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the unbroken stretches of samples inside a phase, none spanning two runs.

    A phase that ends and begins again with no sample in between counts as one visit.
    """

    def key(sample: Sample) -> tuple[int, bool]:
        return sample.run, sample.phase == name or sample.phase.startswith(name + "/")

    return [list(stretch) for (_, inside), stretch in groupby(samples, key) if inside]
