"""Settings that fit the machine: predicted from shapes, checked by one short trial, every choice with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import DataError, DoesNotFitError, SettingsError
from .files import friendly_os_errors, write_json
from .memory.limits import Limit, memory_limit
from .memory_model import predict_peak, training_room
from .opening import look_at
from .plan import Plan, plan_from_json, read_plan
from .rules import LARGE_FILE_BYTES, Decision, apply_rules, batch_settings
from .schema import Schema
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

SATURATING_BATCH = 32
"""Rows per pass above which a CPU gains little: a row of the recurrent part took 10.8 ms at batch 4 and 7.0 ms at
batch 32 on 2 cores, where matrix products already run at their full rate."""

MOST_TRIALS = 3


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
    effective_batch, rows per optimizer step (0: 32); quick, no trial run; settings, what else the run will use
    (features, seed, ...); sink takes one line per decision and trial. Reads the head of the file only.

    Raises DataError, SettingsError, and DoesNotFitError naming a model size that fits.
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
    chosen, decisions = _choose(case, base)
    for decision in decisions:
        say(decision.line())
    trials: list[Trial] = [] if quick else _try_out(case, chosen, folder=Path(out), sink=say)
    if trials:
        chosen, more = _after_trials(case, chosen, trials)
        decisions += more
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

    @property
    def batch_sizes(self) -> list[int]:
        """Rows per pass that divide the effective batch, largest first, none above what saturates a CPU."""
        most = min(self.effective_batch, SATURATING_BATCH)
        return [size for size in range(most, 0, -1) if self.effective_batch % size == 0]

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


def _choose(case: _Case, base: FitSettings) -> tuple[FitSettings, list[Decision]]:
    settings = replace(base, precision=_precision(base.precision), cache_batches=0)
    sizes = [size for size in case.batch_sizes if case.fits(case.with_batch(settings, size))]
    if not sizes:
        raise DoesNotFitError(_does_not_fit(case, case.with_batch(settings, 1)))
    settings = case.with_batch(settings, sizes[0])
    decisions = [_batch_decision(case, settings)]
    settings, ruled = apply_rules(
        settings, given=(), file_bytes=case.file_bytes, limit=case.limit, row_bytes=case.schema.row_bytes
    )
    return settings, [*decisions, *ruled, *_standing_decisions(settings)]


def _precision(asked: str) -> str:
    """float32 where there is no GPU: on a CPU the 16-bit formats are not faster. With one, `fit` finds out."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()
    return "float32" if asked == "auto" and not has_gpu else asked


def _batch_decision(case: _Case, settings: FitSettings) -> Decision:
    size = settings.batch_size
    larger = [other for other in case.batch_sizes if other > size]
    if larger:
        needed = format_bytes(case.peak(case.with_batch(settings, larger[-1])))
        why = f"batch_size {larger[-1]} would need {needed}, and a tenth of the room stays free"
    elif case.effective_batch > size:
        why = f"more than {SATURATING_BATCH} rows per pass gain little on a CPU"
    else:
        why = "the whole effective batch fits in one pass"
    return Decision(
        found=f"{format_bytes(case.room_bytes)} for a training run under the {_limit_name(case.limit)}",
        changed=f"batch_size {size} with accum_steps {settings.steps_per_update}, {case.effective_batch} rows a step",
        why=why,
        override="give --batch_size and --accum_steps, or another --effective_batch, to choose it yourself",
    )


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
    """Trials of the chosen batch and, while they fail, of the next smaller ones; the last one may be good."""
    trials: list[Trial] = []
    for size in [size for size in case.batch_sizes if size <= chosen.batch_size][:MOST_TRIALS]:
        settings = case.with_batch(chosen, size)
        trial = run_trial(
            settings, horizons=case.schema.horizons, predicted_peak_bytes=case.peak(settings), folder=folder
        )
        trials.append(trial)
        sink(_trial_line(trial))
        if trial.exit_code == 0:
            break
        if not trial.lacked_memory:
            raise DataError(f"a trial run failed: {trial.message}")
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


def _after_trials(case: _Case, chosen: FitSettings, trials: list[Trial]) -> tuple[FitSettings, list[Decision]]:
    last = trials[-1]
    settings = case.with_batch(chosen, last.batch_size)
    if last.exit_code == 0 and len(trials) == 1:
        return settings, []
    outcome = "came to its end" if last.exit_code == 0 else f"failed too ({last.message})"
    decision = Decision(
        found=f"{len(trials) - (last.exit_code == 0)} trial runs failed, the first with {trials[0].message!r}",
        changed=f"batch_size {last.batch_size} with accum_steps {last.accum_steps}, whose trial {outcome}",
        why="a smaller batch holds fewer activations, and the rows per optimizer step stay",
        override="give --batch_size and --accum_steps to choose it yourself",
    )
    return settings, [decision]


def _make_plan(case: _Case, settings: FitSettings, decisions: list[Decision], trials: list[Trial]) -> Plan:
    terms = case.predict(settings)
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
        measured_peak_bytes=trials[-1].measured_peak_bytes if trials else None,
        decisions=tuple(decisions),
        trials=tuple(trials),
    )


def _summary(plan: Plan, case: _Case) -> str:
    measured = f", measured {format_bytes(plan.measured_peak_bytes)}" if plan.measured_peak_bytes else ""
    return (
        f"plan: batch_size {plan.batch_size}, accum_steps {plan.accum_steps}, predicted peak "
        f"{format_bytes(plan.predicted_peak_bytes)}{measured}, {format_bytes(case.room_bytes)} available"
    )
