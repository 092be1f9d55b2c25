"""The page of a walk, from the files it has written so far: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ..errors import DataError
from ..files import user_path
from ..judging.evaluation import Evaluation, read_evaluation
from ..judging.folds import Walk
from ..run_folder import WalkFolder
from ..settings import data_name
from ..units import count_of
from . import figures, tables
from .page import environment, to_html, write_page


@dataclass(frozen=True)
class _Section:
    """A question and what answers it."""

    title: str
    text: str = ""
    figures: Sequence[tuple[str, str]] = ()
    tables: Sequence[Markup] = ()


def write_walk_page(folder: str | Path) -> Path:
    """Write index.html of a walk, finished or not, and return the path of the page.

    Raises DataError where the folder holds no walk.
    """
    found = WalkFolder(user_path(folder))
    state = found.read_state()
    if state is None:
        raise DataError(f"{found.folder} holds no walk; give the --out of one")
    walk, judged = Walk.from_json(state), read_evaluation(found.evaluation)
    trainings = list(walk.trainings(found))
    done = sum(training.folder.read_completed_result() is not None for training in trainings)
    body = (
        environment()
        .get_template("walk.html.j2")
        .render(
            verdicts=list(_verdicts(walk, judged, done, len(trainings))),
            sections=[one for one in _sections(walk, judged) if one.text or one.tables or one.figures],
        )
    )
    write_page(found.page, title=f"Walk-forward on {data_name(walk.settings.csv)}", body=Markup(body))
    return found.page


def _verdicts(walk: Walk, judged: Evaluation, done: int, trainings: int) -> Iterator[tuple[str, str]]:
    if judged.verdict is not None:
        yield "Skill.", tables.verdict(judged)
    else:
        yield "Skill.", "Not judged yet: the same command goes on, and judges at the end."
    if judged.costs.scores:
        yield "After costs.", tables.costs_line(judged.costs)
    yield "Walk.", f"{tables.walk_line(walk)} {done} of {count_of(trainings, 'training')} done."


def _sections(walk: Walk, judged: Evaluation) -> Iterator[_Section]:
    if judged.verdict is not None:
        yield _Section(
            "How large is the skill?",
            "The rank IC is the rank correlation of forecast and outcome: 0 without skill. Bars are 95% intervals from "
            "resampled blocks of time, since neighbouring rows share most of their targets.",
            [figures.as_image(figures.skill(judged), alt="Rank IC by horizon, with intervals")],
            [to_html(tables.scores(judged))],
        )
        yield _Section(
            "What would trading have earned?",
            "" if judged.costs.scores else "These folds also learn from what came later, so nobody could have traded.",
            [figures.as_image(figures.equity(judged.costs), alt="Equity curves")] if judged.costs.scores else [],
            [to_html(tables.costs(judged.costs)), to_html(tables.costs_in_detail(judged.costs))]
            if judged.costs.scores
            else [],
        )
        yield _Section(
            "Does it hold from fold to fold?",
            figures=[figures.as_image(figures.skill_by_fold(judged), alt="Rank IC by fold")],
            tables=[to_html(tables.by_fold(judged))],
        )
        yield _Section(
            "How much is chance of the seed?",
            tables=_tables(tables.by_seed(judged)),
        )
        yield _Section("How far apart are the paths?", tables=_tables(tables.by_path(judged)))
        yield _Section(
            "Is it better than simple forecasts?",
            tables.baselines_line(judged),
            [figures.as_image(figures.gains(judged), alt="Error below that of simple forecasts, by horizon")],
            [to_html(tables.gains(judged))],
        )
        yield _Section("Does it get the direction right?", tables=[to_html(tables.directions(judged))])
        yield _Section("Does it hold over time?", tables=_tables(tables.over_time(judged)))
        yield _Section("Does it hold for each market?", tables=_tables(tables.scores_by_market(judged)))
    yield _Section("What was judged?", tables=[to_html(tables.folds(walk))])
    yield _Section("With which settings?", tables=_tables(tables.settings_table(_changed(walk))))


def _changed(walk: Walk) -> dict[str, Any]:
    settings = {name: getattr(walk.settings, name) for name in sorted(walk.settings.changed - {"out"})}
    options = {name: getattr(walk.options, name) for name in type(walk.options).__dataclass_fields__}
    return settings | options


def _tables(table: pd.DataFrame) -> list[Markup]:
    return [to_html(table)] if len(table) else []
