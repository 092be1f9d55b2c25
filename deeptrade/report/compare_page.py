"""The page that compares runs: which settings differ, the outcome, memory and speed of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from ..files import user_path
from ..run_folder import RunFolder
from . import figures, tables
from .comparison import Comparison, compare_runs, find_runs
from .findings.comparison import with_rate
from .navigation import link_pages
from .page import environment, to_html, write_page


def write_comparison(folders: Sequence[str | Path], *, out: str | Path) -> Path:
    """Write out/compare.html and out/comparison.json, and return the path of the page."""
    out = user_path(out)
    paths = find_runs(folders)  # once: another run may begin beside them meanwhile
    comparison = compare_runs(paths, out=out)
    found = {run.name: _page_of(out, path) for run, path in zip(comparison.runs, paths, strict=True)}
    first_pages = {name: page for name, page in found.items() if page is not None}
    links = {name: quote(Path(os.path.relpath(page, out)).as_posix()) for name, page in first_pages.items()}
    body = (
        environment()
        .get_template("compare.html.j2")
        .render(
            verdict=comparison.verdict,
            failures=[f"{run.name}: {run.status}" for run in comparison.runs if run.status.startswith("failed")],
            runs=to_html(tables.comparison(comparison)),
            by_setting=to_html(tables.compared_settings(comparison)) if comparison.settings else None,
            beside_best=to_html(tables.beside_best(comparison)) if comparison.contest else None,
            settings=to_html(tables.differing_settings(comparison)) if comparison.differing else None,
            backtests=to_html(tables.backtests(comparison)) if comparison.backtests else None,
            backtests_line=tables.backtests_line(comparison),
            drawings=[figures.as_html(figure, alt=alt) for alt, figure in drawings(comparison)],
            same_steps=[pair.verdict for pair in comparison.same_steps],
            links=links,
        )
    )
    path = RunFolder(out).comparison_page
    pages = Markup("").join(Markup('<a href="{}">{}</a>').format(link, name) for name, link in links.items())
    write_page(path, title="Comparison of runs", body=Markup(body), pages=pages)
    for folder in (out, *(page.parent for page in first_pages.values())):
        link_pages(folder)
    return path


def drawings(comparison: Comparison) -> Iterator[tuple[str, Any]]:
    """Yield (alternative text, figure) for everything that the runs have data for."""
    if comparison.settings:
        yield "Validation error of every setting relative to the zero forecast", figures.compared_errors(comparison)
    if with_rate(comparison.runs):
        yield "Rate of every run over its peak memory", figures.compared_rates(comparison.runs)
    if any(run.losses for run in comparison.runs):
        yield "Training loss of every run over the rows trained", figures.compared_losses(comparison.runs)
    if any(run.timeline for run in comparison.runs):
        yield "Memory of every run over time", figures.compared_timelines(comparison.runs)


def _page_of(out: Path, run: Path) -> Path | None:
    """Return a run's own first page; None where it has none, or is neither below the comparison's folder nor beside it.

    A comparison that is sent with its runs keeps its links then.
    """
    if not (run.resolve().is_relative_to(out.resolve()) or run.resolve().parent == out.resolve().parent):
        return None
    pages = (RunFolder(run).index, RunFolder(run).report)
    return next((page for page in pages if page.exists()), None)
