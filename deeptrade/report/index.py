"""The first page of a run, from whatever files are there: the verdict in four lines, then the way to the rest."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..errors import DataError
from ..files import read_json
from ..memory import read_starts, read_timeline
from . import figures, tables
from .page import environment, to_html, write_page

TITLES = {
    "01_profile_dataset": "What the file holds",
    "02_auto_optimize": "Settings that fit",
    "03_train": "How training went",
    "04_memory_report": "Where the memory went",
}


def write_index(folder: Path) -> Path:
    """Write folder/index.html from the files of a run, finished or not, and return its path."""
    return _write(folder, "index.html", pages=list(_pages(folder)), drawings=[])


def report_pages(folder: str | Path, *, sink: Callable[[str], None] | None = None) -> Path:
    """Write folder/report.html from the files of any run, killed ones too, and index.html for a run of notebooks.

    Raises DataError when the folder holds no run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the --out of a run")
    found = _Files(folder)
    if not any((found.profile, found.plan, found.result, found.samples)):
        raise DataError(f"{folder} holds no run: no profile.json, plan.json, result.json or memory.jsonl below it")
    path = _write(folder, "report.html", pages=list(_pages(folder)), drawings=list(_drawings(found)))
    if (folder / "run.json").exists():
        path = write_index(folder)
    if sink:
        sink(f"report: {path}")
    return path


class _Files:
    """What a run has left so far; None or empty where it has not come to it."""

    def __init__(self, folder: Path):
        train = folder / "train" if (folder / "train").is_dir() else folder
        self.profile = _read(folder / "profile" / "profile.json") or _read(folder / "profile.json")
        self.plan = _read(folder / "optimize" / "plan.json") or _read(folder / "plan.json")
        self.result = _read(train / "result.json")
        self.completed = self.result is not None and self.result["status"] == "completed"
        self.run = _read(folder / "run.json")
        timeline, history = train / "memory.jsonl", train / "history.csv"
        self.samples = read_timeline(timeline) if timeline.exists() else []
        self.starts = read_starts(timeline) if timeline.exists() else []
        self.history = pd.read_csv(history) if history.exists() else pd.DataFrame()


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None


def _write(folder: Path, name: str, *, pages: list[Any], drawings: list[tuple[str, Markup]]) -> Path:
    found = _Files(folder)
    result = found.result
    scored = result is not None and result["validation"]["mae"]
    body = (
        environment()
        .get_template("index.html.j2")
        .render(
            name=(found.profile or {}).get("name") or folder.resolve().name,
            failures=_failures(found),
            verdicts=list(_verdicts(found)),
            validation=to_html(tables.validation(result)) if result and scored else None,
            figures=drawings,
            pages=pages,
            rows=to_html(tables.rows(result)) if result and found.completed else None,
            settings=to_html(tables.settings_table(result["settings"])) if result else None,
            versions=to_html(tables.settings_table(result["versions"])) if result else None,
        )
    )
    write_page(folder / name, title=f"DeepTrade: {folder.resolve().name}", body=Markup(body))
    return folder / name


def _failures(found: _Files) -> list[str]:
    notebooks = (found.run or {}).get("notebooks", {})
    lines = [f"{name}: {item['error']}" for name, item in notebooks.items() if item["status"] == "failed"]
    if not lines and found.result and found.result["status"] == "failed":
        lines = found.result["warnings"][-1:]
    return lines


def _verdicts(found: _Files) -> Iterator[tuple[str, str]]:
    yield "Data.", tables.data_verdict(found.profile) if found.profile else "Not profiled yet."
    yield "Settings.", _settings_line(found)
    if found.result and found.completed:
        yield "Training.", tables.training_verdict(found.result)
    elif len(found.history):
        how = "failed" if found.result and found.result["status"] == "failed" else "was stopped"
        yield "Training.", f"It {how} after {len(found.history):,} steps; run again to continue."
    else:
        yield "Training.", "Not run yet."
    yield "Memory.", _memory_line(found)


def _settings_line(found: _Files) -> str:
    """What training used; before it has run, what the plan says."""
    result = found.result
    if result is None:
        return tables.plan_verdict(found.plan) if found.plan else "Not chosen yet."
    return (
        f"{result['settings']['model_size']} with {result['batch_size']} rows per pass x {result['accum_steps']} "
        f"passes = {result['effective_batch']} rows per step, {result['settings']['precision']}."
    )


def _memory_line(found: _Files) -> str:
    if found.samples:
        peak = tables.peak_sample(found.samples)
        start = found.starts[-1]
        line = tables.memory_verdict(peak.anon_bytes, start.limit_bytes, start.limit_source, peak.phase)
        return (
            line if found.completed else f"{line} The run was killed or is still going: this is the last that is known."
        )
    if found.result:
        memory = found.result["memory"]
        return tables.memory_verdict(memory["peak_anon_bytes"], memory["limit_bytes"], memory["limit_source"])
    return "Not measured yet."


def _drawings(found: _Files) -> Iterator[tuple[str, Markup]]:
    """Figures for a page that no notebook made: alternative text and an image as data."""
    if found.samples:
        yield (
            "Memory over time with its phases and the limit",
            _image(figures.memory_timeline(found.samples, found.starts[-1].limit_bytes)),
        )
    if len(found.history):
        yield "Training loss by optimizer step", _image(figures.loss_curve(found.history))
    if found.result and found.result["validation"]["mae"]:
        yield (
            "Validation error against the zero forecast's, by horizon",
            _image(figures.validation_errors(found.result)),
        )


def _image(figure: Any) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(figures.to_png(figure)).decode())


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    run = _read(folder / "run.json")
    if run is None:
        return
    for name, title in TITLES.items():
        item = run["notebooks"].get(name, {"status": "not run yet"})
        files = {kind: f"{name}{ending}" for kind, ending in (("reader", ".html"), ("full", ".full.html"))}
        there = {kind: file if (folder / file).exists() else None for kind, file in files.items()}
        seconds = f" in {item['seconds']:g} s" if "seconds" in item else ""
        yield {"title": title, "state": item["status"] + seconds, **there}
