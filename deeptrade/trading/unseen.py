"""Forecasts of training rows by forecasters that have not seen them: four trainings, each on what came before.

What a forecaster says of its own training rows is better than what it will ever say again, and an agent would learn to
trust that. So the time before the validation rows is cut into parts: each part but the first is forecast by a training
on all earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.split import EmptyPartError, Split
from ..judging.folds import Fold, Training, count_rows, training_name
from ..run_folder import AgentFolder
from ..settings import FitSettings
from ..times import name_period, parse_periods
from ..training.judged import Judged

PARTS = 5
"""Parts of the time before the validation rows; the first has no forecasts."""


class TooFewRowsError(Exception):
    """There is too little to learn from; the message says what is missing and what to do."""


def unseen_folds(data: Dataset, settings: FitSettings, split: Split) -> list[Fold]:
    """Return the folds whose judged rows are the training and inner rows of a split, but for the first part.

    settings: those of the forecaster. Raises TooFewRowsError where a fold has no row to learn from or to judge, and
    where the forecaster has learned from rows that come after validation rows.
    """
    known = np.concatenate([split.train.numbers(), split.inner.numbers()])
    times = np.sort(data.read_times(known))
    first_judged = int(data.read_times(split.validation.numbers()).min())
    if times[-1] >= first_judged:
        raise TooFewRowsError(
            "the forecaster has learned from rows after its validation rows, and an agent must not; train it on the "
            "past alone"
        )
    edges = times[np.linspace(0, len(times), PARTS + 1).round().astype(np.int64)[:-1]].tolist()
    periods = list(pairwise([*edges, int(times[-1]) + 1]))[1:]
    folds = []
    for number, period in enumerate(periods, start=1):
        fold = Fold(number, [number], name_period(period), _until(settings.training_period, period[0]))
        try:
            folds.append(replace(fold, rows=count_rows(data, settings, fold)))
        except EmptyPartError as error:
            part = f"part {number + 1} of {PARTS} of the training rows"
            raise TooFewRowsError(f"{part} {error.why}; use more rows") from None
    return folds


def _until(periods: str, instant: int) -> str:
    """Return what of these periods lies before an instant; '' where none were given."""
    if not periods:
        return ""
    earlier = [(begin, min(end, instant)) for begin, end in parse_periods(periods) if begin < instant]
    return ",".join(map(name_period, earlier)) or name_period((instant - 1, instant))


def unseen_trainings(folds: list[Fold], settings: FitSettings, folder: AgentFolder) -> Iterator[Training]:
    """Yield the trainings of these folds: as the forecaster's, each into a folder of its own.

    They begin with new weights, for weights of another run may have seen the rows that are forecast.
    """
    for fold in folds:
        name = training_name(fold.number, None)
        own: dict[str, Any] = {
            "out": str(folder.training(name).folder),
            "validation_period": fold.validation_period,
            "training_period": fold.training_period,
            "warm_start": "",
            "plan": "",
            "fresh": False,
            "skip_rl": True,
        }
        yield Training(name, fold, replace(settings, **own))


def read_unseen(trainings: list[Training]) -> Judged:
    """Return the forecasts of all folds, in order of time."""
    return Judged.concat([Judged.read(training.folder.forecasts) for training in trainings])
