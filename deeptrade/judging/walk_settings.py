"""The options of a walk beside those of its trainings; light, for the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from math import comb
from typing import Any

from ..errors import SettingsError
from ..settings import FitSettings, check_settings, data_name

KINDS = ("expanding", "sliding", "combinatorial")
MOST_TRAININGS = 1000


def _option(default: Any, help_text: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **limits})


@dataclass(frozen=True)
class WalkSettings:
    """Options of `deeptrade walk` beside those of `fit`."""

    folds: int = _option(5, "parts of the time that is judged, one after the other", least=1, most=MOST_TRAININGS)
    train: str = _option(
        "expanding", "learn from all that came before, from as much of it each time, or from all others", choices=KINDS
    )
    test_ratio: float = _option(0.5, "share of the rows, the latest ones, that the folds judge", above=0, below=1)
    test_folds: int = _option(2, "of the folds, how many are judged at a time; only for combinatorial", least=1)
    seeds: str = _option("0", "seeds of the trainings of each fold, separated by commas; their mean forecast is judged")
    warm_start: bool = _option(False, "begin each fold's training with the weights of the fold before")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.train == "combinatorial":
            if self.warm_start:
                raise SettingsError("warm_start needs folds in order of time; leave it out, or train expanding")
            if self.test_folds >= self.folds:
                raise SettingsError(f"test_folds={self.test_folds} leaves none of folds={self.folds} to learn from")
        if self.trainings > MOST_TRAININGS:
            raise SettingsError(
                f"folds={self.folds} and seeds={self.seeds!r} make more than {MOST_TRAININGS:,} trainings; use fewer"
            )

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds, each once."""
        parts = [part.strip() for part in self.seeds.split(",")]
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(set(numbers)) < len(parts):
            raise SettingsError(f"seeds={self.seeds!r} is not accepted; give different whole numbers, such as 0,1,2")
        return numbers

    @property
    def splits(self) -> int:
        """How many trainings there are of each seed."""
        return comb(self.folds, self.test_folds) if self.train == "combinatorial" else self.folds

    @property
    def trainings(self) -> int:
        """How many trainings there are in all."""
        return self.splits * len(self.seed_numbers)


OWN = (
    "csv",
    "out",
    "seed",
    "val_ratio",
    "validation_period",
    "training_period",
    "warm_start",
    "while_compiling",
    "fresh",
    "skip_rl",
)
"""Settings of `fit` that a walk makes itself, or has options of its own for."""


LENGTH = ("epochs", "max_steps", "early_stop_patience")
"""Settings of `fit` that say when it is done."""


def default_folder(data: str) -> str:
    """Return where a walk is written unless a folder is given: runs/NAME-walk, NAME being the data's."""
    return f"runs/{data_name(data)}-walk"


def of_notebook(values: Mapping[str, Any], given: Collection[str]) -> tuple[FitSettings, WalkSettings, frozenset[str]]:
    """Return the settings of trainings and walk from the parameters of notebook 06, and which of `fit` were given.

    A value that differs from its default counts as given, beside those that `given` names.
    """
    names = {item.name for item in fields(WalkSettings)}
    options = WalkSettings(**{name: values[name] for name in names})
    own = {name: value for name, value in values.items() if name not in {*names, "fresh"}}
    settings = FitSettings(**own | {"out": values["out"] or default_folder(values["csv"])})
    return settings, options, (settings.changed | set(given)) & (set(own) - set(OWN))
