"""The first page of a run, from the files it has written so far: a verdict in four lines, then links to the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import DataError
from ..files import user_path
from ..memory import phase_table
from ..run_folder import RunFolder
from ..settings import BEFORE
from ..units import count_of
from . import figures, tables
from .findings.memory import peak_sample
from .findings.training import validation_errors
from .page import environment, to_html, write_page
from .run_files import RunFiles

TITLES = {
    "01_profile_dataset": "What the file holds",
    "02_auto_optimize": "Settings that fit",
    "03_train": "How training went",
    "04_memory_report": "Where the memory went",
    "07_trading_agent": "What an agent would earn",
}


def write_index(folder: Path) -> Path:
    """Write folder/index.html from the files of a run, finished or not, and return the path of the page."""
    return _write(RunFolder(folder).index, pages=list(_pages(folder)), drawings=[])


def report_pages(folder: str | Path, *, sink: Callable[[str], None] | None = None) -> Path:
    """Write folder/report.html from the files of any run, even a killed one; also index.html for a run of notebooks.

    Return the path of the index where there is one, else of the report. Raises DataError when the folder holds no run,
    or files that no run has written.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the --out folder of a run")
    found = RunFiles(folder)
    if not any((found.profile, found.plan, found.result, found.samples)):
        raise DataError(
            f"{folder} holds no run: no profile.json, plan.json, result.json or memory.jsonl; give the --out folder of "
            "a run"
        )
    path = _write(RunFolder(folder).report, pages=list(_pages(folder)), drawings=list(_drawings(found)))
    if found.run:
        path = write_index(folder)
    if sink:
        sink(f"report: {path}")
    return path


def _write(path: Path, *, pages: list[Any], drawings: list[Markup]) -> Path:
    """Write one page about the run in the page's own folder."""
    found = RunFiles(path.parent)
    result = found.result
    body = (
        environment()
        .get_template("index.html.j2")
        .render(
            when=found.starts[-1].time[:16].replace("T", " ") if found.starts else "",
            failures=_failures(found),
            verdicts=list(_verdicts(found)),
            validation=to_html(tables.validation(result)) if result and _scored(result) else None,
            figures=drawings,
            phases=to_html(tables.phases(phase_table(found.samples))) if drawings and found.samples else None,
            pages=pages,
            rows=to_html(tables.rows(result)) if result and found.completed else None,
            settings=to_html(tables.settings_table(result["settings"])) if result else None,
            versions=to_html(tables.versions_table(result["versions"])) if result else None,
        )
    )
    title = (found.profile or {}).get("name") or path.parent.resolve().name
    write_page(path, title=f"Run on {title}" if found.profile else f"Run {title}", body=Markup(body))
    return path


def _scored(result: Mapping[str, Any]) -> bool:
    return bool(validation_errors(result).horizons)


def _failures(found: RunFiles) -> list[str]:
    notebooks = (found.run or {}).get("notebooks", {})
    lines = [f"{name}: {item['error']}" for name, item in notebooks.items() if item["status"] == "failed"]
    if not lines and found.result and found.result["status"] == "failed":
        lines = found.result["warnings"][-1:]
    return lines


def _verdicts(found: RunFiles) -> Iterator[tuple[str, str]]:
    if found.completed:
        yield "Skill.", tables.verdict(found.judged)
        if found.judged.costs.scores:
            yield "After costs.", tables.costs_line(found.judged.costs)
    if found.agent is not None:
        yield "Agent.", tables.agent_line(found.agent)
    yield "Data.", _data_line(found)
    yield "Settings.", _settings_line(found)
    yield "Training.", _training_line(found)
    yield "Memory.", _memory_line(found)


def _data_line(found: RunFiles) -> str:
    if found.profile:
        return tables.data_verdict(found.profile)
    if found.result:
        rows = found.result["rows"]
        return f"{count_of(rows['read'], 'row')} read, {rows['rejected']:,} rejected; there is no profile."
    return "Not profiled yet."


def _settings_line(found: RunFiles) -> str:
    """Return what training used, or what the plan says before training has run."""
    result = found.result
    if result is None:
        return tables.plan_verdict(found.plan) if found.plan else "Not known yet: there is no plan and no result."
    passes = count_of(result["accum_steps"], "pass", "passes")
    encoder = result["settings"].get("encoder", BEFORE["encoder"])
    rows = count_of(result["batch_size"], "row")
    return (
        f"{result['settings']['model_size']}, {encoder}, with {rows} per pass x {passes} "
        f"= {count_of(result['effective_batch'], 'row')} per step, {result['settings']['precision']}."
    )


def _training_line(found: RunFiles) -> str:
    status, steps = (found.result or {}).get("status"), len(found.history)
    if found.result and status == "completed":
        return tables.training_verdict(found.result)
    if found.running:
        return f"It is running, with {count_of(steps, 'step')} so far."
    if not steps:
        return "It failed before its first step." if status == "failed" else "Not run yet."
    how = {"failed": "failed", "interrupted": "was stopped"}.get(str(status), "was killed")
    return f"It {how} after {count_of(steps, 'step')}; run it again to continue."


def _memory_line(found: RunFiles) -> str:
    limit_bytes, source = found.limit
    if not limit_bytes:
        return "Not measured yet."
    if found.samples:
        peak = peak_sample(found.samples)
        line = tables.memory_verdict(peak.anon_bytes, limit_bytes, source, peak.phase)
        return line if found.completed else f"{line} Nothing later is known."
    if found.result:
        return tables.unsampled_verdict(found.result["memory"])
    return "Not measured yet."


def _drawings(found: RunFiles) -> Iterator[Markup]:
    """Yield the figures for a page that no notebook has written."""
    if found.samples:
        timeline = figures.memory_timeline(found.samples, found.limit[0])
        yield figures.as_html(timeline, alt="Memory over time, with phases and the limit")
    if len(found.history):
        yield figures.as_html(figures.loss_curve(found.history), alt="Training loss by optimizer step")
    if found.result and _scored(found.result):
        errors = figures.validation_errors(found.result)
        yield figures.as_html(errors, alt="Validation error relative to the zero forecast's, by horizon")


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    found = RunFolder(folder)
    run = found.read_state()
    if run is None:
        return
    for name, title in TITLES.items():
        if name not in run["notebooks"]:
            continue
        pages = {kind: found.page(name, code=code) for kind, code in (("reader", False), ("full", True))}
        there = {kind: page.name if page.exists() else None for kind, page in pages.items()}
        yield {"title": title, "state": _state(run["notebooks"].get(name, {})), **there}


def _state(item: Mapping[str, Any]) -> str:
    """Return the state of one notebook in words, from its entry in run.json."""
    if item.get("status") == "failed":
        return f"failed: {item.get('error', 'see its page')}"
    if item.get("status") == "interrupted":
        return "stopped by a signal"
    if item.get("status") == "partial":
        return "of the unfinished run"
    if item.get("status") != "completed":
        return "not run yet"
    return f"completed in {item['seconds']:g} s" if "seconds" in item else "completed"
