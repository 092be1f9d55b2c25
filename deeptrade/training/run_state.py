"""The state of a run, as plain data in its checkpoint: position, settings it must keep, and what happened so far."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import RunConflictError
from ..files import locked_folder
from ..settings import BEFORE, MATHS, FitSettings
from .checkpoints import Checkpoints
from .feed import LeftOut
from .warm_start import starting_weights

NETWORK_VERSION = 2
"""Of the network that is built now: its variables and their shapes."""


@dataclass
class RunState:
    """Position in samples of the current epoch, and the facts that result.json is made from.

    `left_out`: row, reason, detail and epoch of every row skipped when its turn came. `known`: row, reason and detail
    of rows left out permanently after a rollback. `unread`: the same of validation rows that cannot be read.
    `validations`: epoch, step and loss on the inner rows at the end of each epoch, or on the validation rows in runs of
    earlier versions. `best_validation`, `best_epoch` and `best_step`: the lowest of these losses, and after how many
    epochs and steps it was. `activities`: seconds by activity between steps. `splits_by_time` and `order_version`:
    False and 1 for runs begun by earlier versions, which keep their split by row numbers and their order.
    `whole_blocks`: windows take whole blocks. `arriving_rows`: where training began before all rows were there, those
    that the first epoch is shuffled within, and how many of the first training rows statistics are of; else 0.
    `network_version`: 1 for runs whose network keeps each feature's weights separately, which cannot be continued.
    """

    data_id: str
    maths: dict[str, Any]
    batch_size: int
    content_hash: str = ""
    epoch: int = 0
    position: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    best_validation: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    epochs_without_gain: int = 0
    micro_batch_changes: int = 0
    window_rows: int = 0
    whole_blocks: bool = False
    arriving_rows: int = 0
    seconds: float = 0.0
    trainer: dict[str, Any] = field(default_factory=dict)
    known: list[dict[str, Any]] = field(default_factory=list)
    unread: list[dict[str, Any]] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    spikes: list[dict[str, float]] = field(default_factory=list)
    spike_detector: dict[str, Any] = field(default_factory=dict)
    regular_step: int = 0
    peak_anon_bytes: int = 0
    validations: list[dict[str, float]] = field(default_factory=list)
    activities: dict[str, float] = field(default_factory=dict)
    splits_by_time: bool = False
    order_version: int = 1
    network_version: int = 1

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return self.trainer.get("step", 0)

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to continue; a checkpoint of the untrained model does not count."""
        return bool(self.step or self.rollbacks)

    def is_done(self, settings: FitSettings) -> bool:
        """Whether --epochs or --max_steps is reached, or training has stopped early."""
        steps_done = settings.max_steps and self.step >= settings.max_steps
        return bool(steps_done or self.epoch >= settings.epochs or self.stops_early(settings))

    def stops_early(self, settings: FitSettings) -> bool:
        """Whether the inner loss has not improved for early_stop_patience epochs (0: never stop early)."""
        patience = settings.early_stop_patience
        return bool(patience and self.epochs_without_gain >= patience)

    @property
    def known_bad(self) -> dict[int, LeftOut]:
        """Rows that training leaves out from the start after a rollback."""
        return {one["row"]: LeftOut(one["row"], one["reason"], one["detail"]) for one in self.known}

    def spend(self, activity: str, seconds: float) -> None:
        """Add the seconds spent on an activity between steps."""
        self.activities[activity] = self.activities.get(activity, 0.0) + seconds

    def leave_out(self, epoch: int, rows: Iterable[LeftOut]) -> None:
        """Record rows that did not count in a window of an epoch."""
        self.left_out += [{"epoch": epoch, **asdict(one)} for one in rows]

    def take_batch_size(self, batch_size: int) -> None:
        """Continue with passes of `batch_size` rows; a change is counted, since it changes how sums are rounded."""
        self.micro_batch_changes += batch_size != self.batch_size
        self.batch_size = batch_size

    def note_inner(self, loss: float) -> bool:
        """Note the inner loss of the epoch that ends now, and return whether it is the lowest; NaN never is."""
        self.validations.append({"epoch": self.epoch + 1, "step": self.step, "loss": loss})
        is_best = self.improves(loss)
        if is_best:
            self.best_validation, self.best_epoch, self.best_step = loss, self.epoch + 1, self.step
        self.epochs_without_gain = 0 if is_best else self.epochs_without_gain + 1
        return is_best

    def improves(self, loss: float) -> bool:
        """Whether an inner loss is lower than those of all epochs so far."""
        return loss < (math.inf if self.best_validation is None else self.best_validation)


def maths_of(settings: FitSettings, precision: str) -> dict[str, Any]:
    """Return the settings that a continued run must keep; `precision` is the one in use, not 'auto'.

    Of a warm start it is the weights that count, wherever they lie.
    """
    start = {"warm_start": starting_weights(settings.warm_start)} if settings.warm_start else {}
    return {name: getattr(settings, name) for name in MATHS} | {"precision": precision} | start


def _before(name: str) -> Any:
    """What a run of an earlier version did that has no such setting."""
    return BEFORE.get(name, getattr(FitSettings(), name))


def keep_defaults(settings: FitSettings, state: RunState, *, given: Collection[str]) -> FitSettings:
    """Return the settings with the run's own value of those whose default has changed, unless one was given."""
    kept = {name: state.maths.get(name, _before(name)) for name in BEFORE if name not in given}
    return replace(settings, **kept)


def check_network(version: int, out: str) -> None:
    """Raise RunConflictError if what was begun in `out` has a network that cannot be built any more."""
    if version != NETWORK_VERSION:
        raise RunConflictError(
            f"{out} was begun by an earlier version, whose network has a different layout, so it cannot be continued; "
            "use that version, or give another --out, or --fresh to start over"
        )


def keep_batch_size(settings: FitSettings, state: RunState, *, given: Collection[str]) -> FitSettings:
    """Return the settings with the run's own batch size, unless one was given or it does not fit the step.

    A rule that depends on free memory may choose differently on another day; a continued run keeps its first choice.
    """
    asked = {"batch_size", "accum_steps", "grad_accum"} & set(given)
    if asked or settings.effective_batch % state.batch_size:
        return settings
    accum_steps = settings.effective_batch // state.batch_size
    kept = accum_steps if accum_steps > 1 else settings.accum_steps
    return replace(settings, batch_size=state.batch_size, grad_accum=accum_steps > 1, accum_steps=kept)


def check_same_run(
    state: RunState,
    *,
    data_id: str,
    content_hash: str,
    maths: dict[str, Any],
    out: str,
    former_data_ids: Collection[str] = (),
) -> None:
    """Raise RunConflictError naming the difference, unless the run in `out` has this data and these settings.

    Content hashes are compared where both are known. `former_data_ids` count as equal to `data_id`.
    """
    data_id = state.data_id if state.data_id in former_data_ids else data_id
    hashes = state.content_hash, content_hash
    for was, now in ((state.data_id, data_id), hashes if all(hashes) else ("", "")):
        if was != now:
            raise RunConflictError(
                f"{out} holds a run of other data ({was[:15]}, given {now[:15]}); "
                f"give another --out, or --fresh to start over"
            )
    for name, value in maths.items():
        was = state.maths.get(name, _before(name))
        if was != value:
            raise RunConflictError(
                f"{out} holds a run with {name}={was!r}, given {value!r}; give another --out, or --fresh to start over"
            )


def read_state(checkpoints: Path) -> RunState | None:
    """Return the state of the newest sound checkpoint in a folder; None if there is none or no step was taken."""
    content = Checkpoints(checkpoints).read_state()
    state = None if content is None else RunState(**content)
    return state if state is not None and state.has_begun else None


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Lock the folder of a run: two processes writing there would corrupt each other's files.

    Raises RunConflictError when another run holds the lock.
    """

    def refuse() -> None:
        raise RunConflictError(
            f"another process is training into {out}; wait until it ends, or give another --out"
        ) from None

    with locked_folder(out, taken=refuse):
        yield
