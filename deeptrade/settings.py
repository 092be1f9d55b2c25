"""The settings of `fit`: one frozen dataclass that the command line and the notebooks both read."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .files import refuse_address, refuse_secrets, user_path
from .times import parse_duration, parse_periods
from .units import parse_bytes

MODEL_SIZES = ("tiny", "small", "medium", "large", "xlarge", "massive", "gigantic")
ENCODERS = ("multiscale", "recurrent")
MATHS = (
    "model_size",
    "encoder",
    "effective_batch",
    "learning_rate",
    "clip_norm",
    "seed",
    "val_ratio",
    "inner_ratio",
    "validation_period",
    "training_period",
    "warm_start",
    "features",
    "precision",
    "max_rows",
    "markets",
    "embargo",
    "target_step",
    "while_compiling",
)
"""Settings that change the weights: a run continues only if they are unchanged. The batch size
may change if the effective batch stays the same."""

BEFORE: dict[str, Any] = {"inner_ratio": 0.0, "encoder": "recurrent"}
"""What runs of earlier versions did that had no such settings. A continued run keeps its own unless one is given."""

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0", "")
DUPLICATES = ("error", "first", "last")
PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Arrangement:
    """What the user says about rows that do not simply ascend in time.

    sort: take the rows by time, instead of rejecting those out of order. duplicates: which of the rows of one time
    stays, 'first' or 'last'; files that overlap are then merged by time. 'error' rejects all but the first, as bad
    rows.
    """

    sort: bool = False
    duplicates: str = "error"

    def __post_init__(self) -> None:
        if self.duplicates not in DUPLICATES:
            raise SettingsError(f"duplicates={self.duplicates!r} is not accepted; choose from {', '.join(DUPLICATES)}")

    @property
    def is_default(self) -> bool:
        """Whether rows stay as they come, and any out of order are rejected."""
        return self == Arrangement()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the choices as plain data; an empty list for the default."""
        return [] if self.is_default else [asdict(self)]


AS_THEY_COME = Arrangement()


def _option(default: Any, help_text: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **limits})


@dataclass(frozen=True)
class FitSettings:
    """Options of `deeptrade fit`, spelled as on the command line; 0 or '' stand for 'not set'."""

    csv: str = _option("training_data/training_data.csv", "data file, folder or glob in time order, or a store")
    out: str = _option("", "folder the run is written to; empty means runs/NAME of the data file")
    store: str = _option("", "folder or address of the compiled store; empty means NAME.dtstore beside the data file")
    plan: str = _option("", "plan.json of optimize; its settings apply unless you give your own; empty means none")
    model_size: str = _option("small", "size of the forecaster", choices=MODEL_SIZES)
    encoder: str = _option("recurrent", "how sequences become tokens", choices=ENCODERS)
    epochs: int = _option(1, "passes over the training rows", least=1)
    max_steps: int = _option(0, "stop after this many optimizer steps; 0 means no limit", least=0)
    batch_size: int = _option(4, "rows per forward and backward pass", least=1)
    grad_accum: bool = _option(False, "accumulate gradients over accum_steps passes per optimizer step")
    accum_steps: int = _option(8, "passes per optimizer step; used only with grad_accum", least=1)
    learning_rate: float = _option(1e-3, "step size of the Adam optimizer", above=0)
    clip_norm: float = _option(1.0, "global norm the averaged gradient is clipped to; 0 means no clipping", least=0)
    seed: int = _option(0, "seed of weights and row order", least=0)
    val_ratio: float = _option(0.1, "share of the rows, the latest ones, kept for validation", above=0, below=1)
    inner_ratio: float = _option(
        0.15, "share of the training rows, the latest ones, that choose epoch and size of forecasts", least=0, below=1
    )
    validation_period: str = _option("", "times that judge instead of val_ratio: FROM/TO, several with commas between")
    training_period: str = _option("", "times to learn from, likewise; empty means all that comes before")
    warm_start: str = _option("", "folder of a run whose weights to begin with; empty means new ones")
    markets: str = _option("", "markets to use, separated by commas; empty means all")
    embargo: str = _option("", "time left out after the purge at the boundary, such as 1D; empty means none")
    target_step: str = _option("", "time from one target to the next, such as 1h; empty means that between rows")
    features: str = _option("", "feature columns to use, separated by commas; empty means all")
    skip_rl: bool = _option(False, "leave out the second stage, the agent")
    chunk_size: int = _option(10_000, "most rows parsed at once; the byte budget may lower it", least=1)
    cache_batches: int = _option(0, "assembled batches kept in memory", least=0)
    prefetch: int = _option(2, "batches read ahead by the background thread", least=0)
    no_mmap: bool = _option(False, "read the file with plain reads instead of mapping it")
    no_lazy_loading: bool = _option(False, "load all rows before training; refused where they do not fit")
    no_memory_monitor: bool = _option(False, "take no memory samples; the peak comes from the kernel")
    no_aggressive_gc: bool = _option(False, "leave garbage collection to Python")
    no_adapt: bool = _option(False, "keep batch_size even when memory is scarce, so that equal runs give equal bits")
    no_tf_allow_growth: bool = _option(False, "let TensorFlow reserve all GPU memory at start")
    precision: str = _option("auto", "number format of the computation", choices=PRECISIONS)
    memory_limit: str = _option("", "most memory to use, such as 2GiB; empty means what the machine allows")
    cache_limit: str = _option("", "most bytes kept here of a store at an address, such as 50GiB; empty means all")
    checkpoint_every: int = _option(50, "optimizer steps between checkpoints", least=1)
    fresh: bool = _option(False, "start over, even where a finished or started run exists")
    while_compiling: bool = _option(False, "begin to train on the first rows while later ones are still being read")
    max_rows: int = _option(0, "use only the first rows of the file; 0 means all", least=0)
    max_bad_rows: float = _option(0.01, "share of rejected rows above which the run stops", least=0, most=1)
    sort: bool = _option(False, "take the rows by time, instead of rejecting those out of order")
    duplicates: str = _option(
        "error", "of rows with one time: reject all but the first, or keep the first or the last", choices=DUPLICATES
    )
    early_stop_patience: int = _option(
        0, "epochs without a lower loss on the inner rows before stopping; 0 means never", least=0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.csv:
            raise SettingsError("csv='' names no data; give a file, a folder, a glob or a store")
        if self.early_stop_patience and not self.inner_ratio:
            raise SettingsError(
                f"early_stop_patience={self.early_stop_patience} needs inner rows; give an inner_ratio above 0, or "
                "early_stop_patience 0"
            )
        for path in (self.out, self.plan, self.warm_start):
            refuse_address(path)
        refuse_secrets(self.csv)
        refuse_secrets(self.store)
        for size in filter(None, (self.memory_limit, self.cache_limit)):
            parse_bytes(size)
        for duration in filter(None, (self.embargo, self.target_step)):
            parse_duration(duration)
        for period in filter(None, (self.validation_period, self.training_period)):
            parse_periods(period)
        if self.while_compiling:
            self._refuse_while_compiling()
        if self.training_period and not self.validation_period:
            raise SettingsError(
                f"training_period={self.training_period!r} needs to know what judges; give validation_period as well"
            )

    def _refuse_while_compiling(self) -> None:
        """Raise SettingsError for what needs all rows before the first step."""
        default = FitSettings()
        for name in ("max_rows", "no_lazy_loading", "sort", "duplicates", "validation_period", "markets"):
            value = getattr(self, name)
            if value != getattr(default, name):
                raise SettingsError(f"while_compiling does not go with {name}={value!r}; leave one of them out")

    @property
    def steps_per_update(self) -> int:
        """Passes per optimizer step: accum_steps with grad_accum, else 1."""
        return self.accum_steps if self.grad_accum else 1

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step."""
        return self.batch_size * self.steps_per_update

    @property
    def changed(self) -> frozenset[str]:
        """Names of the fields that differ from their defaults: in a notebook, those count as given."""
        return frozenset(item.name for item in fields(self) if getattr(self, item.name) != item.default)

    def as_arguments(self, names: Collection[str] | None = None) -> list[str]:
        """Return the command line that means these settings: `fit` and an option each, or only those named.

        >>> FitSettings(max_steps=9, skip_rl=True).as_arguments(["max_steps", "skip_rl"])
        ['fit', '--max_steps=9', '--skip_rl']
        """
        arguments = ["fit"]
        for item in fields(self):
            value = getattr(self, item.name)
            if value is False or value == "" or (names is not None and item.name not in names):
                continue
            arguments.append(f"--{item.name}" if value is True else f"--{item.name}={value}")
        return arguments

    @property
    def arrangement(self) -> Arrangement:
        """What becomes of rows that do not ascend in time."""
        return Arrangement(self.sort, self.duplicates)

    @property
    def feature_names(self) -> list[str] | None:
        """The chosen features, or None for all."""
        return [name.strip() for name in self.features.split(",")] if self.features else None

    @property
    def market_names(self) -> list[str] | None:
        """The chosen markets, or None for all."""
        return [name.strip() for name in self.markets.split(",")] if self.markets else None

    @property
    def reading_options(self) -> dict[str, Any]:
        """How the data is read, as arguments of `open_dataset`."""
        names = ("store", "max_rows", "max_bad_rows", "chunk_size", "sort", "duplicates")
        return {name: getattr(self, name) for name in names} | {
            "use_mmap": not self.no_mmap,
            "cache_limit": self.cache_limit,
        }

    @property
    def split_options(self) -> dict[str, Any]:
        """How the rows are split, as the arguments of `Dataset.split`."""
        names = ("val_ratio", "inner_ratio", "embargo", "target_step", "validation_period", "training_period")
        return {name: getattr(self, name) for name in names} | {"markets": self.market_names}

    @property
    def out_dir(self) -> Path:
        """Where the run is written: `out`, or runs/NAME with NAME the data file's name without its ending."""
        return user_path(self.out) if self.out else Path("runs") / data_name(self.csv)


def limited(name: str) -> Any:
    """Return a dataclass field with the default and limits of a setting of `fit`."""
    item = next(item for item in fields(FitSettings) if item.name == name)
    return field(default=item.default, metadata=item.metadata)


def data_name(data: str | Path) -> str:
    """Return the name a run gets from its data: the last path part without its ending.

    >>> data_name("data/market.csv.gz"), data_name("data/months/"), data_name("data/2023-*.csv")
    ('market', 'months', '2023-')
    """
    refuse_secrets(data)
    name = Path(data).name
    for ending in (".gz", ".csv", ".parquet", ".h5", ".hdf5", ".dtstore"):
        name = name.removesuffix(ending)
    return name.replace("*", "").replace("?", "") or "data"


def as_declared(name: str, value: Any, kind: type) -> Any:
    """Return the value as a plain bool, int, float or str; text is read, values of other types must fit.

    >>> as_declared("epochs", "3", int), as_declared("grad_accum", "yes", bool)
    (3, True)
    """
    plain = value.item() if hasattr(value, "item") else str(value) if isinstance(value, Path) else value
    text = str(plain).lower()
    if kind is bool and text in _TRUE + _FALSE:
        return text in _TRUE
    if kind is str and isinstance(plain, (str, list, tuple)):
        return plain if isinstance(plain, str) else ",".join(map(str, plain))
    unfit = (bool, float) if kind is int else bool
    if kind in (int, float) and not isinstance(plain, unfit):
        with suppress(TypeError, ValueError):
            return kind(plain)
    hint = f"; give it as text: papermill's -p turns text such as NAN or 007 into numbers, -r {name} does not"
    raise SettingsError(f"{name}={value!r} is not of type {kind.__name__}{hint if kind is str else ''}")


def nearest(name: str, known: Collection[str]) -> str:
    """Return advice on a name that is not known: the nearest that is, or all of them."""
    near = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(sorted(known))}"


def check_settings(settings: Any) -> None:
    """Check every field of a settings dataclass against its declared type and limits.

    Raises SettingsError: given value, what is accepted.
    """
    for item in fields(settings):
        value, rule = getattr(settings, item.name), item.metadata
        kind = type(item.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
            object.__setattr__(settings, item.name, value)
        if type(value) is not kind:
            raise SettingsError(f"{item.name}={value!r} is not of type {kind.__name__}")
        problem = _limit_broken(value, rule)
        if problem:
            raise SettingsError(f"{item.name}={value!r} is not accepted; {problem}")


def _limit_broken(value: Any, rule: Any) -> str:
    if "choices" in rule and value not in rule["choices"]:
        near = get_close_matches(str(value), rule["choices"], n=1)
        return (f"did you mean {near[0]!r}? " if near else "") + f"choose from {', '.join(rule['choices'])}"
    if isinstance(value, float) and not math.isfinite(value):
        return "use a finite number"
    checks = (
        ("least", lambda limit: value >= limit, "use at least"),
        ("most", lambda limit: value <= limit, "use at most"),
        ("above", lambda limit: value > limit, "use a value above"),
        ("below", lambda limit: value < limit, "use a value below"),
    )
    broken = [f"{text} {rule[key]}" for key, holds, text in checks if key in rule and not holds(rule[key])]
    return " and ".join(broken)
