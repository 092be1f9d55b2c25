"""Settings that fit the machine: predicted from shapes, measured by short trials, every choice with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import DataError, DoesNotFitError, SettingsError
from .files import friendly_os_errors, write_json
from .memory.limits import Limit, memory_limit
from .memory_model import predict_peak, training_room
from .opening import look_at
from .plan import Plan, plan_from_json, read_plan
from .rules import LARGE_FILE_BYTES, Decision, apply_rules, batch_settings
from .schema import Schema
from .search import FIRST_BATCH, WORTH, batch_sizes, choose, first_batch, search
from .settings import MODEL_SIZES, FitSettings
from .trial import Trial, remove_trials, run_trial
from .units import format_bytes

__all__ = [
    "LARGE_FILE_BYTES",
    "Decision",
    "Plan",
    "Trial",
    "apply_rules",
    "optimize",
    "plan_from_json",
    "predict_peak",
    "read_plan",
]

DEFAULT_EFFECTIVE_BATCH = 32
HEADROOM = 0.1
"""Share of the room that stays free: the prediction is meant to be within 15% and usually lies above."""


def optimize(
    data: str | Path,
    *,
    out: str | Path,
    store: str | Path = "",
    memory_limit: str = "",
    effective_batch: int = 0,
    model_size: str = "small",
    quick: bool = False,
    settings: FitSettings | None = None,
    sink: Callable[[str], None] | None = None,
) -> Plan:
    """Choose settings that fit the limit, write them to out/plan.json and return them.

    Arguments: data and store as for `fit`; out, a folder, made where missing; memory_limit, a size such as '2GiB';
    effective_batch, rows per optimizer step (0: 32); quick, the rules for large files and the memory model alone, no
    trial run; settings, what else the run will use (features, seed, ...); sink takes one line per decision and trial.
    Reads the head of the file only.

    Raises DataError, SettingsError, and DoesNotFitError naming a model size that fits, or where no trial fitted.
    """
    say = sink or (lambda line: None)
    if effective_batch < 0:
        raise SettingsError(f"effective_batch={effective_batch} is not accepted; use at least 1, or 0 for the default")
    base = replace(
        settings or FitSettings(), csv=str(data), store=str(store), model_size=model_size, memory_limit=memory_limit
    )
    case = _look(base, effective_batch or DEFAULT_EFFECTIVE_BATCH)
    with friendly_os_errors(f"making the folder {Path(out).name}"):
        Path(out).mkdir(parents=True, exist_ok=True)
        remove_trials(Path(out))
    chosen, decisions = _choose(case, base, quick=quick)
    trials: list[Trial] = []
    if not quick:
        trials = _try_out(case, chosen, folder=Path(out), sink=say)
        chosen, measured = _choose_measured(case, chosen, trials)
        decisions = [measured, *decisions]
    for decision in decisions:
        say(decision.line())
    plan = _make_plan(case, chosen, decisions, trials)
    write_json(Path(out) / "plan.json", plan.to_json())
    say(_summary(plan, case))
    return plan


@dataclass(frozen=True)
class _Case:
    """What the choice rests on: the data's head, the limit, and the bytes a training process may hold."""

    schema: Schema
    file_bytes: int
    rows: int
    limit: Limit
    room_bytes: int
    effective_batch: int

    def predict(self, settings: FitSettings) -> dict[str, int]:
        return predict_peak(self.schema, settings, rows=self.rows)

    def peak(self, settings: FitSettings) -> int:
        return sum(self.predict(settings).values())

    def fits(self, settings: FitSettings) -> bool:
        return self.peak(settings) <= (1 - HEADROOM) * self.room_bytes

    def has_room(self, trial: Trial) -> bool:
        """Whether a trial came to its end and left the headroom free."""
        peak = trial.measured_peak_bytes
        return trial.exit_code == 0 and (peak is None or peak <= (1 - HEADROOM) * self.room_bytes)

    def sizes(self, settings: FitSettings) -> list[int]:
        """Rows per pass that are worth a trial and predicted to fit, ascending."""
        return [size for size in batch_sizes(self.effective_batch) if self.fits(self.with_batch(settings, size))]

    def with_batch(self, settings: FitSettings, batch_size: int) -> FitSettings:
        return replace(settings, **batch_settings(batch_size, self.effective_batch // batch_size))


def _look(base: FitSettings, effective_batch: int) -> _Case:
    head = look_at(base.csv, store=base.store)
    room_bytes = training_room(base.memory_limit_bytes)
    return _Case(
        schema=head.schema,
        file_bytes=head.file_bytes,
        rows=base.max_rows or head.rows,
        limit=replace(memory_limit(base.memory_limit), available_bytes=room_bytes),
        room_bytes=room_bytes,
        effective_batch=effective_batch,
    )


def _choose(case: _Case, base: FitSettings, *, quick: bool) -> tuple[FitSettings, list[Decision]]:
    """What follows from the rules and the memory model; without `quick` the batch is left to the trials."""
    settings = replace(base, precision=_precision(base.precision), cache_batches=0)
    sizes = case.sizes(settings)
    if not sizes:
        raise DoesNotFitError(_does_not_fit(case, case.with_batch(settings, 1)))
    settings = case.with_batch(settings, first_batch(sizes))
    settings, ruled = apply_rules(
        settings,
        given=(),
        file_bytes=case.file_bytes,
        limit=case.limit,
        row_bytes=case.schema.row_bytes,
        batch_is_measured=not quick,
    )
    predicted = [_batch_decision(case, settings)] if quick else []
    return settings, [*predicted, *ruled, *_standing_decisions(settings)]


def _precision(asked: str) -> str:
    """float32 where there is no GPU: on a CPU the 16-bit formats are not faster. With one, `fit` finds out."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()
    return "float32" if asked == "auto" and not has_gpu else asked


def _batch_decision(case: _Case, settings: FitSettings) -> Decision:
    size = settings.batch_size
    larger = [other for other in batch_sizes(case.effective_batch) if other > size]
    if larger and not case.fits(case.with_batch(settings, larger[0])):
        needed = format_bytes(case.peak(case.with_batch(settings, larger[0])))
        why = f"batch_size {larger[0]} would need {needed}, and a tenth of the room stays free"
    elif case.effective_batch > size:
        why = f"more than {FIRST_BATCH} rows per pass rarely gain much on a CPU, and no trial was asked for"
    else:
        why = "the whole effective batch fits in one pass"
    return Decision(_found_room(case), _changed_batch(case, settings), why, _OVERRIDE_BATCH)


_OVERRIDE_BATCH = "give --batch_size and --accum_steps, or another --effective_batch, to choose it yourself"


def _found_room(case: _Case) -> str:
    return f"{format_bytes(case.room_bytes)} for a training run under the {_limit_name(case.limit)}"


def _changed_batch(case: _Case, settings: FitSettings) -> str:
    size, passes = settings.batch_size, settings.steps_per_update
    return f"batch_size {size} with accum_steps {passes}, {case.effective_batch} rows a step"


def _limit_name(limit: Limit) -> str:
    return f"{limit.source} limit of {format_bytes(limit.limit_bytes)}"


def _standing_decisions(settings: FitSettings) -> list[Decision]:
    """The choices that are the same for every file on this kind of machine, with their reasons."""
    precision = Decision(
        found="no GPU" if settings.precision == "float32" else "the precision asked for, or a GPU",
        changed=f"precision {settings.precision}, no XLA compilation",
        why="on a CPU 16-bit formats are not faster, and XLA holds a compiled copy of every program",
        override="give --precision to choose it yourself",
    )
    reading = Decision(
        found="rows are drawn in a new order every epoch",
        changed=f"cache_batches {settings.cache_batches}, prefetch {settings.prefetch}",
        why="a shuffled batch does not come again, so a cache would hold bytes for nothing; one batch is read "
        "while another is trained on",
        override="give --cache_batches and --prefetch to choose them yourself",
    )
    return [precision, reading]


def _does_not_fit(case: _Case, smallest: FitSettings) -> str:
    fitting = [size for size in MODEL_SIZES if case.fits(replace(smallest, model_size=size))]
    if fitting:
        peak = format_bytes(case.peak(replace(smallest, model_size=fitting[-1])))
        advice = f"use --model_size {fitting[-1]} ({peak}) or raise the limit"
    else:
        advice = "no model size fits; free some memory, or raise the limit"
    return (
        f"model_size={smallest.model_size!r} with batch_size=1 needs {format_bytes(case.peak(smallest))} and a tenth "
        f"to spare, {format_bytes(case.room_bytes)} are available under the {_limit_name(case.limit)}; {advice}"
    )


def _try_out(case: _Case, chosen: FitSettings, *, folder: Path, sink: Callable[[str], None]) -> list[Trial]:
    """Trials of batch sizes that are predicted to fit, each in a process that may hold what a run may.

    Raises DataError where one fails otherwise than for lack of memory, DoesNotFitError where none has room.
    """

    def try_out(size: int) -> Trial:
        settings = case.with_batch(chosen, size)
        trial = run_trial(
            settings,
            horizons=case.schema.horizons,
            predicted_peak_bytes=case.peak(settings),
            folder=folder,
            room_bytes=case.room_bytes,
        )
        sink(_trial_line(trial))
        if trial.exit_code and not trial.lacked_memory:
            raise DataError(f"a trial run failed: {trial.message}")
        return trial

    trials = search(case.sizes(chosen), try_out, is_good=case.has_room)
    if not any(map(case.has_room, trials)):
        tried = ", ".join(str(trial.batch_size) for trial in trials)
        raise DoesNotFitError(
            f"trials of model_size={chosen.model_size!r} with batch_size {tried} did not fit into "
            f"{format_bytes(case.room_bytes)} with a tenth to spare; use a smaller --model_size or raise the limit"
        )
    return trials


def _trial_line(trial: Trial) -> str:
    name = f"trial of batch_size {trial.batch_size} with accum_steps {trial.accum_steps}"
    if trial.exit_code or trial.measured_peak_bytes is None:
        return f"{name}: failed with exit code {trial.exit_code} after {trial.seconds:.0f} s; {trial.message}"
    speed = f", {trial.rows_per_second:.1f} rows/s" if trial.rows_per_second else ""
    return (
        f"{name}: peak {format_bytes(trial.measured_peak_bytes)}, predicted "
        f"{format_bytes(trial.predicted_peak_bytes)}{speed}"
    )


def _choose_measured(case: _Case, chosen: FitSettings, trials: list[Trial]) -> tuple[FitSettings, Decision]:
    good = [trial for trial in trials if case.has_room(trial)]
    best = choose(good)
    settings = case.with_batch(chosen, best.batch_size)
    rates = ", ".join(
        f"{trial.batch_size} ({trial.rows_per_second:.0f} rows/s)"
        if trial in good and trial.rows_per_second
        else f"{trial.batch_size} (not enough memory)"
        for trial in sorted(trials, key=lambda trial: trial.batch_size)
    )
    why = f"it is the smallest within {WORTH:.0%} of the fastest that leaves a tenth of the room free"
    found = f"{_found_room(case)}; trials of batch_size {rates}"
    return settings, Decision(found, _changed_batch(case, settings), why, _OVERRIDE_BATCH)


def measured_terms(trials: Sequence[Trial], chosen: Trial) -> dict[str, int]:
    """Return what trials measured of the chosen one's peak: the process before there is a model, the model, the rows.

    Rows take what the peak rises with the batch, by least squares; {} where all trials had one batch size.
    """
    known = [(trial.batch_size, trial.measured_peak_bytes) for trial in trials if trial.measured_peak_bytes is not None]
    if len({size for size, _ in known}) < 2 or not chosen.baseline_anon_bytes or not chosen.measured_peak_bytes:
        return {}
    sizes, peaks = np.array(known, float).T
    per_row = np.polyfit(sizes, peaks, 1)[0]
    rows = round(max(0.0, per_row) * chosen.batch_size)
    model = chosen.measured_peak_bytes - chosen.baseline_anon_bytes - rows
    return {"process": chosen.baseline_anon_bytes, "model": model, "rows of a pass": rows}


def _make_plan(case: _Case, settings: FitSettings, decisions: list[Decision], trials: list[Trial]) -> Plan:
    terms = case.predict(settings)
    chosen = next((trial for trial in trials if trial.batch_size == settings.batch_size), None)
    return Plan(
        model_size=settings.model_size,
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        effective_batch=settings.effective_batch,
        chunk_size=settings.chunk_size,
        cache_batches=settings.cache_batches,
        prefetch=settings.prefetch,
        precision=settings.precision,
        jit=False,
        limit_bytes=case.limit.limit_bytes,
        limit_source=case.limit.source,
        predicted_peak_bytes=sum(terms.values()),
        predicted_terms=terms,
        measured_peak_bytes=chosen.measured_peak_bytes if chosen else None,
        measured_terms=measured_terms(trials, chosen) if chosen else {},
        decisions=tuple(decisions),
        trials=tuple(trials),
    )


def _summary(plan: Plan, case: _Case) -> str:
    measured = f", measured {format_bytes(plan.measured_peak_bytes)}" if plan.measured_peak_bytes else ""
    return (
        f"plan: batch_size {plan.batch_size}, accum_steps {plan.accum_steps}, predicted peak "
        f"{format_bytes(plan.predicted_peak_bytes)}{measured}, {format_bytes(case.room_bytes)} available"
    )
