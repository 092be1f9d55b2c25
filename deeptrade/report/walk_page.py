"""The pages of a walk, from the files it has written so far: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..errors import DataError
from ..files import user_path
from ..judging.evaluate import weights_of
from ..judging.evaluation import Evaluation, read_evaluation
from ..judging.folds import Training, Walk
from ..run_folder import RunFolder, WalkFolder
from ..settings import data_name
from ..units import count_of
from . import figures, tables
from .dashboard import walk_tiles
from .index import write_fold_page
from .navigation import OVERVIEW, Stop, link_stops
from .page import environment, to_html, write_page

_COSTS = (
    "Income in % of the stake, by the fee for a change of position in basis points (bp). A position is taken at a "
    "row by the forecast one step ahead and held one step: by its sign; by its sign where it is large, with "
    "threshold and horizon chosen on the inner rows of each fold for each fee; or by its size. The stake is the "
    "same at every step, so losses add up and can exceed it."
)
_SHARPES = (
    "The Sharpe ratio a year: mean over standard deviation of the net returns per step, times the root of the "
    "steps in a year, with 95% intervals from resampled blocks of time."
)
_BEHIND = (
    "Turnover is what is changed, in stakes; drawdown the largest fall of the equity curve. The fee at which a "
    "rule breaks even is that of the positions it took here; the threshold would be another one at another fee."
)


@dataclass(frozen=True)
class _Section:
    """A question and what answers it."""

    title: str
    text: str = ""
    figures: Sequence[Markup] = ()
    tables: Sequence[Markup] = ()


def write_walk_pages(folder: str | Path) -> Path:
    """Write index.html of a walk, finished or not, and a page of every training; return the path of the first.

    Raises DataError where the folder holds no walk.
    """
    found = WalkFolder(user_path(folder))
    state = found.read_state()
    if state is None:
        raise DataError(f"{found.folder} holds no walk; give the --out of one")
    walk = Walk.from_json(state)
    trainings = list(walk.trainings(found))
    judged = read_evaluation(found.evaluation, weights_sha256=weights_of(trainings) or "")
    done = sum(training.is_done for training in trainings)
    body = (
        environment()
        .get_template("walk.html.j2")
        .render(
            state="completed" if judged.verdict is not None else "unfinished",
            progress=f"{done} of {count_of(len(trainings), 'training')} done",
            verdicts=list(_verdicts(walk, judged)),
            tiles=walk_tiles(judged),
            sections=[one for one in _sections(walk, judged) if one.tables or one.figures],
        )
    )
    name = data_name(walk.settings.csv)
    write_page(found.page, title=f"Walk-forward on {name}", body=Markup(body))
    link_stops(found.folder, [Stop(OVERVIEW, found.page.name), *_fold_pages(found, walk, trainings, name)])
    return found.page


def _fold_pages(found: WalkFolder, walk: Walk, trainings: Sequence[Training], data: str) -> Iterator[Stop]:
    """Write the page of every training that has begun."""
    for training in trainings:
        if RunFolder(training.folder.folder).is_run():
            seed = f", seed {training.seed}" if len(walk.seeds) > 1 else ""
            title = f"Fold {training.fold.number}{seed}"
            page = write_fold_page(training.folder.folder, title=f"{title} of the walk on {data}")
            yield Stop(title, page.relative_to(found.folder).as_posix())


def _verdicts(walk: Walk, judged: Evaluation) -> Iterator[str]:
    if judged.verdict is not None:
        later = " These models also learned from later rows." if walk.is_combinatorial else ""
        yield f"{tables.verdict(judged)}{later}"
    else:
        yield "Not judged yet: run the same command again to continue; it judges at the end."
    if judged.costs.scores:
        yield tables.costs_line(judged.costs)
    yield tables.walk_line(walk)


def _sections(walk: Walk, judged: Evaluation) -> Iterator[_Section]:
    if judged.verdict is not None:
        yield _Section(
            "How large is the skill?",
            "The rank IC is the rank correlation of forecast and outcome: 0 without skill. Bars are 95% intervals from "
            "resampled blocks of time, since neighbouring rows share most of their targets.",
            [figures.as_html(figures.skill(judged), alt="Rank IC by horizon, with intervals")],
            [to_html(tables.scores(judged))],
        )
        yield _Section(
            "What would trading have earned?",
            _COSTS if judged.costs.scores else "Nobody could have: these models also learned from what came later.",
            [figures.as_html(figures.equity(judged.costs), alt="Equity curves")] if judged.costs.scores else [],
            _tables(tables.costs(judged.costs)),
        )
        yield _Section("How sure is that?", _SHARPES, tables=_tables(tables.sharpes(judged.costs)))
        yield _Section("What is behind it, at 10 bp?", _BEHIND, tables=_tables(tables.costs_in_detail(judged.costs)))
        yield _Section(
            "Does it hold from fold to fold?",
            "The size of forecasts is their standard deviation as a share of that of the outcomes: near 0 they "
            "are zero in practice, whatever their ranks.",
            figures=[figures.as_html(figures.skill_by_fold(judged), alt="Rank IC by fold")],
            tables=[to_html(tables.by_fold(judged))],
        )
        yield _Section(
            "How much is chance of the seed?",
            tables=_tables(tables.by_seed(judged)),
        )
        yield _Section("How far apart are the paths?", tables=_tables(tables.by_path(judged)))
        yield _Section(
            "Is it better than simple forecasts?",
            f"{tables.baselines_line(judged)} Ridge is a linear regression, trees are boosted ones, both on "
            "changes over the last steps of every window.",
            [figures.as_html(figures.gains(judged), alt="Error below that of simple forecasts, by horizon")],
            [to_html(tables.gains(judged))],
        )
        yield _Section("Does it get the direction right?", tables=[to_html(tables.directions(judged))])
        yield _Section(
            "Does it hold over time?",
            "A row is calm, usual or wild by the size of the returns before it.",
            figures=_by_period(judged),
            tables=_tables(tables.over_time(judged)),
        )
        yield _Section("Does it hold for each market?", tables=_tables(tables.scores_by_market(judged)))
    yield _Section("What is judged?", tables=[to_html(tables.folds(walk))])
    yield _Section("With which settings?", tables=_tables(tables.settings_table(_changed(walk))))


def _by_period(judged: Evaluation) -> list[Markup]:
    if not judged.periods:
        return []
    errors, ranks = (figures.by_period(judged, metric=metric) for metric in ("mae_gain", "rank_ic"))
    return [
        figures.as_html(errors, alt="Error by month and by volatility"),
        figures.as_html(ranks, alt="Rank IC by month and by volatility"),
    ]


def _changed(walk: Walk) -> dict[str, Any]:
    settings = {name: getattr(walk.settings, name) for name in sorted(walk.settings.changed - {"out"})}
    unused = "test_ratio" if walk.is_combinatorial else "test_folds"
    options = {item.name: getattr(walk.options, item.name) for item in fields(walk.options) if item.name != unused}
    return settings | options


def _tables(table: pd.DataFrame) -> list[Markup]:
    return [to_html(table)] if len(table) else []
