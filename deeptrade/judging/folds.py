"""The folds of a walk: which times each training learns from, and which it is judged on.

Walk-forward folds learn from the past alone. Combinatorial ones (Lopez de Prado, Advances in Financial Machine
Learning, 2018, chapter 12) judge every choice of some parts of the data by a training on all others, so that every row
is forecast several times; they also learn from what came later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import Dataset
from ..data.split import EmptyPartError, Labels
from ..errors import SettingsError
from ..files import shorten_home
from ..run_folder import TrainingFolder, WalkFolder, log_beside
from ..settings import BEFORE, FitSettings
from ..times import LAST_TIME, Period, exact_time, name_period, parse_periods
from ..units import count_of
from .walk_settings import LENGTH, WalkSettings


@dataclass(frozen=True)
class Fold:
    """One training of each seed: the times it learns from and is judged on, as `FitSettings` spells them.

    groups: which parts of the judged time, from 1. rows: how many are train, inner, validation, purged and embargoed.
    """

    number: int
    groups: list[int]
    validation_period: str
    training_period: str = ""
    rows: dict[str, int] = field(default_factory=dict)

    def period_of(self, group: int) -> Period:
        """Return the time of one of the groups that it judges, ns."""
        return parse_periods(self.validation_period)[self.groups.index(group)]


def make_folds(data: Dataset, settings: FitSettings, walk: WalkSettings) -> list[Fold]:
    """Return the folds of a walk over a dataset, with their rows counted.

    Edges are instants, the same for all markets, between which nearly equal numbers of rows with targets lie. Raises
    SettingsError where a fold would have no row to learn from or to judge.
    """
    labels = data.labels(target_step=settings.target_step, markets=settings.market_names)
    folds = list(_combined(labels, walk) if walk.train == "combinatorial" else _forward(labels, walk))
    return [replace(fold, rows=_count(data, settings, walk, fold)) for fold in folds]


def _forward(labels: Labels, walk: WalkSettings) -> Iterator[Fold]:
    times = _labelled_times(labels)
    first = len(times) - round(walk.test_ratio * len(times))
    edges = np.linspace(first, len(times), walk.folds + 1).round().astype(np.int64)
    periods = _periods(times, edges, walk)
    for number, (period, edge) in enumerate(zip(periods, edges.tolist(), strict=False), start=1):
        training = ""
        if walk.train == "sliding":
            training = name_period((int(times[edge - first]), period[0]))
        yield Fold(number, [number], name_period(period), training)


def _combined(labels: Labels, walk: WalkSettings) -> Iterator[Fold]:
    times = _labelled_times(labels)
    edges = np.linspace(0, len(times), walk.folds + 1).round().astype(np.int64)
    periods = _periods(times, edges, walk)
    whole = f"{exact_time(int(times[0]))}/"
    for number, chosen in enumerate(combinations(range(walk.folds), walk.test_folds), start=1):
        named = ",".join(name_period(periods[group]) for group in chosen)
        yield Fold(number, [group + 1 for group in chosen], named, whole)


def _labelled_times(labels: Labels) -> np.ndarray:
    return np.sort(labels.times[labels.has_target & labels.is_used])


def _periods(times: np.ndarray, edges: np.ndarray, walk: WalkSettings) -> list[Period]:
    """Return the periods between edges, positions in the times of rows, ascending; the last has no end."""
    inside = edges[:-1] if len(times) else edges[:0]
    begins = [int(time) for time in times[np.minimum(inside, len(times) - 1)]]
    if len(set(begins)) < walk.folds:
        rows = count_of(len(times), "row")
        raise SettingsError(f"folds={walk.folds} are too many for {rows} with targets; use fewer folds, or more rows")
    return list(pairwise([*begins, LAST_TIME]))


def _count(data: Dataset, settings: FitSettings, walk: WalkSettings, fold: Fold) -> dict[str, int]:
    try:
        return count_rows(data, settings, fold)
    except EmptyPartError as error:
        share = "" if walk.train == "combinatorial" else f" with test_ratio={walk.test_ratio:g}"
        given = f"fold {fold.number} of folds={walk.folds}{share}"
        raise EmptyPartError(given, error.why, "use fewer folds, a smaller test_ratio, or more rows") from None


def count_rows(data: Dataset, settings: FitSettings, fold: Fold) -> dict[str, int]:
    """Return how many rows of each part a fold has; EmptyPartError where it has none to learn from or to judge."""
    periods = {"validation_period": fold.validation_period, "training_period": fold.training_period}
    split = data.split(**settings.split_options | periods)
    return {name: len(getattr(split, name)) for name in ("train", "inner", "validation", "purged", "embargoed")}


def paths(folds: Sequence[Fold]) -> list[list[tuple[int, int]]]:
    """Return the paths through combinatorial folds: of each, (group, number of the fold that forecasts it).

    Every path has each group once, and every fold's forecasts of a group are in exactly one path.
    """
    by_group: dict[int, list[int]] = {}
    for fold in folds:
        for group in fold.groups:
            by_group.setdefault(group, []).append(fold.number)
    groups = sorted(by_group)
    return [[(group, by_group[group][path]) for group in groups] for path in range(len(by_group[groups[0]]))]


@dataclass(frozen=True)
class Training:
    """One training of a walk: the name of its folder, its fold, and the settings of `fit`."""

    name: str
    fold: Fold
    settings: FitSettings

    @property
    def folder(self) -> TrainingFolder:
        """Where it is written."""
        return TrainingFolder(self.settings.out_dir)

    @property
    def log(self) -> Path:
        """Where what it says is written, beside its folder."""
        return log_beside(self.folder)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.settings.seed

    @property
    def is_done(self) -> bool:
        """Whether it is completed, with these epochs and steps."""
        result = self.folder.read_completed_result()
        if result is None or not self.folder.forecasts.exists():
            return False
        return all(result["settings"][name] == getattr(self.settings, name) for name in LENGTH)


@dataclass(frozen=True)
class Walk:
    """What walk.json holds: the settings of every training, those of the walk, and its folds."""

    settings: FitSettings
    options: WalkSettings
    folds: list[Fold]

    @property
    def seeds(self) -> list[int]:
        """The seeds of each fold's trainings."""
        return self.options.seed_numbers

    @property
    def is_combinatorial(self) -> bool:
        """Whether rows are forecast several times, also by what learned from later ones."""
        return self.options.train == "combinatorial"

    def trainings(self, folder: WalkFolder) -> Iterator[Training]:
        """Yield the trainings in the order in which they are run, all seeds of a fold together."""
        before: dict[int, str] = {}
        for fold in self.folds:
            for seed in self.seeds:
                name = training_name(fold.number, seed if len(self.seeds) > 1 else None)
                settings = replace(
                    self.settings,
                    out=str(folder.training(name).folder),
                    seed=seed,
                    validation_period=fold.validation_period,
                    training_period=fold.training_period,
                    warm_start=before.get(seed, "") if self.options.warm_start else "",
                    skip_rl=True,
                )
                before[seed] = settings.out
                yield Training(name, fold, settings)

    def to_json(self) -> dict[str, Any]:
        """Return the content of walk.json; `from_json` reads it."""
        settings = {name: shorten_home(v) if isinstance(v, str) else v for name, v in asdict(self.settings).items()}
        settings["out"] = ""  # wherever the folder lies, the walk is the same
        return {"settings": settings, "walk": asdict(self.options), "folds": [asdict(fold) for fold in self.folds]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Walk:
        """Return what `to_json` told; names that this version does not know are left out."""
        return cls(
            FitSettings(**_known(FitSettings, BEFORE | content["settings"])),
            WalkSettings(**_known(WalkSettings, content["walk"])),
            [Fold(**fold) for fold in content["folds"]],
        )


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def training_name(fold: int, seed: int | None) -> str:
    """Return the name of a training's folder: '03', or '03-seed_1' where there are several seeds."""
    return f"{fold:02}" if seed is None else f"{fold:02}-seed_{seed}"
