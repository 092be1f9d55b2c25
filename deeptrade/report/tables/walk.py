"""Tables of a walk: its folds, and how its forecasts hold from fold to fold, seed to seed and path to path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import pandas as pd

from ...judging.folds import Walk
from ...judging.verdict import horizon_name
from ...times import FIRST_TIME, LAST_TIME, iso_time, parse_periods
from ...units import count_of
from .common import rounded

if TYPE_CHECKING:
    from ...judging.evaluation import Evaluation
    from ...judging.periods import PeriodScore


def walk_line(walk: Walk) -> str:
    """Return one sentence: how many trainings there are, on what each learns, and what is judged."""
    options = walk.options
    learns = {
        "expanding": "each learns from all that came before what it is judged on",
        "sliding": "each learns from equally many rows before what it is judged on",
        "combinatorial": "each learns from all other parts, later ones too",
    }[options.train]
    seeds = count_of(len(walk.seeds), "seed")
    warm = ", beginning with the weights of the fold before" if options.warm_start else ""
    return f"{count_of(len(walk.folds), 'fold')} with {seeds} each; {learns}{warm}."


def folds(walk: Walk) -> pd.DataFrame:
    """Return a row per fold: from when to when it is judged, and its rows."""
    return pd.DataFrame(
        [
            {"fold": fold.number, "judged": "; ".join(map(_span, parse_periods(fold.validation_period)))}
            | {name: f"{rows:,}" for name, rows in fold.rows.items()}
            for fold in walk.folds
        ]
    )


def _span(period: tuple[int, int]) -> str:
    begin, end = (iso_time(time)[:16].replace("T", " ") if FIRST_TIME < time < LAST_TIME else "" for time in period)
    return f"{begin} to {end or 'the end'}"


def by_fold(judged: Evaluation) -> pd.DataFrame:
    """Return a row per fold: the scores of its forecasts at the first and the last horizon."""
    return _by_part(judged, judged.folds, "fold")


def by_seed(judged: Evaluation) -> pd.DataFrame:
    """Return a row per seed, then their mean and spread: how far chance alone moves the scores; empty for one seed."""
    return _by_part(judged, judged.seeds, "seed", summary=True)


def by_path(judged: Evaluation) -> pd.DataFrame:
    """Return a row per combinatorial path, then their mean and spread; empty for other walks."""
    return _by_part(judged, judged.paths, "path", summary=True)


def _by_part(judged: Evaluation, scores: Sequence[PeriodScore], name: str, *, summary: bool = False) -> pd.DataFrame:
    horizons = sorted({one.horizon for one in scores})
    columns: dict[str, dict[str, float]] = {}
    rows: dict[str, int] = {}
    for one in scores:
        rows.setdefault(one.period, one.rows)
        if one.horizon in (horizons[0], horizons[-1]):
            for column, value in _told(judged, one):
                columns.setdefault(column, {})[one.period] = value
    lines = [{name: period.removeprefix(f"{name} "), "rows": f"{count:,}"} for period, count in rows.items()]
    table = pd.DataFrame(lines)
    for column, values in columns.items():
        form = _form(column)
        table[column] = [rounded(values[period], form) if period in values else "-" for period in rows]
    if summary and len(rows) > 1:
        for label, statistic, sign in (("mean", fmean, "+"), ("spread (sd)", stdev, "")):
            parts = {
                column: _summary(list(values.values()), statistic, _form(column).replace("+", sign))
                for column, values in columns.items()
            }
            table.loc[len(table)] = {name: label, "rows": ""} | parts
    return table


def _told(judged: Evaluation, one: PeriodScore) -> Iterator[tuple[str, float]]:
    ahead = horizon_name(one.horizon, judged.step)
    if one.rank_ic is not None:
        yield f"rank IC, {ahead}", one.rank_ic
    if one.mae_gain is not None:
        yield f"MAE below zero's, {ahead}", one.mae_gain
    if one.spread is not None:
        yield f"size of forecasts, {ahead}", one.spread


def _form(column: str) -> str:
    return "+.3f" if column.startswith("rank IC") else "+.2%" if column.startswith("MAE") else ".1%"


def _summary(values: Sequence[float], statistic: Callable[[Sequence[float]], float], form: str) -> str:
    return rounded(statistic(values), form) if len(values) > 1 else "-"
