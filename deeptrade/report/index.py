"""The first page of a run, from the files it has written so far: verdict, tiles, a chart, and cards for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import DataError
from ..files import user_path
from ..memory import phase_table
from ..run_folder import RunFolder, meant_run
from ..settings import BEFORE
from ..units import count_of
from . import figures, tables
from .dashboard import judged_line, split_settings, tiles
from .findings.memory import peak_sample
from .findings.training import validation_errors
from .navigation import TITLES, link_pages
from .page import environment, to_html, write_page
from .run_files import RunFiles

_JUDGED_TOGETHER = "Its forecasts are judged together with those of all folds: the overview says what they are worth."


def write_index(folder: Path) -> Path:
    """Write folder/index.html from the files of a run, finished or not, and return the path of the page."""
    path = _write(RunFolder(folder).index, drawings=[])
    link_pages(folder)
    return path


def report_pages(folder: str | Path, *, sink: Callable[[str], None] | None = None) -> Path:
    """Write folder/report.html from the files of any run, even a killed one; also index.html for a run of notebooks.

    Return the path of the index where there is one, else of the report. Raises DataError when the folder holds no run,
    or files that no run has written.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {meant_run(folder)}give the --out folder of a run")
    found = RunFiles(folder)
    if not any((found.profile, found.plan, found.result, found.samples)):
        raise DataError(
            f"{folder} holds no run: no profile.json, plan.json, result.json or memory.jsonl; give the --out folder of "
            "a run"
        )
    path = _write(RunFolder(folder).report, drawings=list(_drawings(found)))
    if found.run:
        path = write_index(folder)
    else:
        link_pages(folder)
    if sink:
        sink(f"report: {path}")
    return path


def write_fold_page(folder: Path, *, title: str) -> Path:
    """Write folder/report.html of one training of a walk, and return its path; its forecasts are judged elsewhere."""
    drawings = list(_drawings(RunFiles(folder)))
    return _write(RunFolder(folder).report, drawings=drawings, title=title, unjudged=_JUDGED_TOGETHER)


def _write(path: Path, *, drawings: list[Markup], title: str = "", unjudged: str = "") -> Path:
    """Write one page about the run in the page's own folder; `unjudged` says why its forecasts have no verdict."""
    found = RunFiles(path.parent)
    result = found.result
    cards = list(_cards(found, path.parent))
    changed, others = split_settings(result["settings"]) if result else ({}, {})
    body = (
        environment()
        .get_template("index.html.j2")
        .render(
            state=_state_of(found),
            when=found.starts[-1].time[:16].replace("T", " ") if found.starts else "",
            failures=_failures(found),
            verdicts=list(_verdicts(found, unjudged)),
            judged=judged_line(found),
            tiles=tiles(found),
            chart=_chart(found),
            cards=cards,
            linked=any(card["reader"] for card in cards),
            validation=to_html(tables.validation(result)) if result and _scored(result) and not _chart(found) else None,
            figures=drawings,
            phases=to_html(tables.phases(phase_table(found.samples))) if drawings and found.samples else None,
            rows=to_html(tables.rows(result)) if result and found.completed else None,
            changed=to_html(tables.settings_table(changed)) if result else None,
            others=to_html(tables.settings_table(others)),
            versions=to_html(tables.versions_table(result["versions"])) if result else None,
        )
    )
    write_page(path, title=title or _title(found, path.parent), body=Markup(body))
    return path


def _title(found: RunFiles, folder: Path) -> str:
    return f"Run on {found.profile['name']}" if found.profile else f"Run {folder.resolve().name}"


def _chart(found: RunFiles) -> Markup | None:
    """Return the chart of the skill by horizon; None where nothing was judged."""
    if not found.completed or not any(one.value is not None for one in found.judged.of("rank_ic")):
        return None
    return figures.as_html(figures.skill(found.judged), alt="Rank IC by horizon, with intervals")


def _scored(result: Mapping[str, Any]) -> bool:
    return bool(validation_errors(result).horizons)


def _failures(found: RunFiles) -> list[str]:
    notebooks = (found.run or {}).get("notebooks", {})
    lines = [f"{name}: {item['error']}" for name, item in notebooks.items() if item["status"] == "failed"]
    if not lines and found.result and found.result["status"] == "failed":
        lines = found.result["warnings"][-1:]
    return lines


def _state_of(found: RunFiles) -> str:
    """Return the state of a run in one word."""
    if _failures(found):
        return "failed"
    states = {item["status"] for item in (found.run or {}).get("notebooks", {}).values()}
    if found.completed and states <= {"completed"}:
        return "completed"
    return "running" if found.running else "unfinished"


def _verdicts(found: RunFiles, unjudged: str = "") -> Iterator[str]:
    if found.completed:
        yield unjudged or tables.verdict(found.judged)
        if found.judged.costs.scores:
            yield tables.costs_line(found.judged.costs)
        if found.agent is not None:
            yield tables.agent_line(found.agent)
    else:
        yield "Not judged yet: training has not completed."


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


def _agent_line(found: RunFiles) -> str:
    """Return what the second stage has found; '' where a run was asked to leave it out."""
    if found.agent is not None:
        return tables.agent_line(found.agent)
    return "Not run yet." if found.run is not None else ""


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


_PARTS: tuple[tuple[str, str, Callable[[RunFiles], str]], ...] = (
    ("01_profile_dataset", "Data.", _data_line),
    ("02_auto_optimize", "Settings.", _settings_line),
    ("03_train", "Training.", _training_line),
    ("04_memory_report", "Memory.", _memory_line),
    ("07_trading_agent", "Agent.", _agent_line),
)
"""Parts of a run: its notebook, the word for it, and what is known of it in one line."""


def _cards(found: RunFiles, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a card for every part: what is known of it, and its pages, where they exist."""
    run = RunFolder(folder)
    notebooks = None if found.run is None else found.run["notebooks"]
    for name, head, line in _PARTS:
        if not (line(found) and (notebooks is None or name in notebooks)):
            continue
        reader, full = (
            page.name if page.exists() else "" for page in (run.page(name, code=code) for code in (False, True))
        )
        state = "" if notebooks is None else _state(notebooks.get(name, {}))
        card = {"title": TITLES[name], "head": head, "line": line(found), "state": state}
        yield card | {"reader": reader, "full": full}


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
