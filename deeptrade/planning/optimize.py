"""Settings that fit the machine: predicted from shapes, measured by short trials, every choice with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

from ..errors import DoesNotFitError, SettingsError, interruptible
from ..files import friendly_os_errors, user_path, write_json
from ..memory.limits import Limit, MemoryLimits
from ..run_folder import PLAN
from ..settings import MODEL_SIZES, FitSettings
from ..sources.blocks import BLOCK_BYTES
from ..units import format_bytes
from .memory_model import pass_row_bytes, training_rooms
from .plan import Plan
from .rules import Decision, apply_rules, batch_sizes
from .search import FIRST_BATCH, first_batch
from .situation import PLAN_HEADROOM, Situation, read_situation
from .sizes import COMPILED
from .trial import remove_trials
from .trial_choice import TrialChoice, choose_by_trials, measured_terms, plain_prefetch

DEFAULT_EFFECTIVE_BATCH = 32


@interruptible()
def optimize(
    data: str | Path,
    *,
    out: str | Path,
    store: str | Path = "",
    memory_limit: str | MemoryLimits = "",
    effective_batch: int = 0,
    model_size: str = "small",
    encoder: str = "recurrent",
    quick: bool = False,
    sort: bool = False,
    duplicates: str = "error",
    settings: FitSettings | None = None,
    sink: Callable[[str], None] | None = None,
    progress: str = "silent",
) -> Plan:
    """Choose settings that fit the limit, write them to out/plan.json and return them.

    Arguments: data and store as for `fit`; out, a folder, made where missing; memory_limit, a size such as '2GiB';
    effective_batch, rows per optimizer step (0: 32); model_size and encoder, as `fit` has them; quick, the rules for
    large files and the memory model alone, no trial run; sort and duplicates, as `compile_store` has them; settings,
    all that the run will use (features, seed, sort, ...); sink takes one line per decision and trial; progress of the
    trials is 'auto', 'terminal', 'notebook', 'plain' or 'silent'.
    Reads the head of the file only.

    Raises DataError, SettingsError, and DoesNotFitError naming a model size that fits, or where no trial fitted.
    """
    say = sink or (lambda line: None)
    if effective_batch < 0:
        raise SettingsError(f"effective_batch={effective_batch} is not accepted; use at least 1, or 0 for the default")
    limits = MemoryLimits.of(memory_limit)
    base = replace(
        settings or FitSettings(sort=sort, duplicates=duplicates),
        csv=str(data),
        store=str(store),
        model_size=model_size,
        encoder=encoder,
        memory_limit=limits.text,
    )
    folder = user_path(out)
    situation = read_situation(base, effective_batch or DEFAULT_EFFECTIVE_BATCH, limits)
    with friendly_os_errors(f"making the folder {folder.name}"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_trials(folder)
    chosen, decisions = _choose(situation, base, quick=quick)
    measured = None if quick else choose_by_trials(situation, chosen, folder=folder, sink=say, progress=progress)
    if measured is not None:
        chosen, decisions = measured.settings, [*measured.decisions, *decisions]
    for decision in decisions:
        say(decision.line())
    plan = _make_plan(situation, chosen, decisions, measured)
    write_json(folder / PLAN, plan.to_json())
    say(_summary(plan, situation))
    return plan


def _choose(situation: Situation, base: FitSettings, *, quick: bool) -> tuple[FitSettings, list[Decision]]:
    """What follows from the rules and the memory model; without `quick` the batch is left to the trials."""
    settings = replace(base, precision=_precision(base.precision), cache_batches=0)
    sizes = situation.sizes(settings)
    if not sizes:
        raise DoesNotFitError(_does_not_fit(situation, situation.with_batch(settings, 1)))
    settings = situation.with_batch(settings, first_batch(sizes))
    settings, ruled = apply_rules(
        settings,
        given=(),
        file_bytes=situation.file_bytes,
        limit=situation.limit,
        pass_row_bytes=pass_row_bytes(situation.schema, settings),
        row_bytes=situation.schema.row_bytes,
        batch_is_measured=not quick,
    )
    predicted = (
        [_batch_decision(situation, settings), plain_prefetch(settings, "no trial was asked for")] if quick else []
    )
    return settings, [*predicted, *ruled, *_standing_decisions(situation, settings)]


def _precision(asked: str) -> str:
    """float32 where there is no GPU: on a CPU the 16-bit formats are not faster. With one, `fit` finds out."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()
    return "float32" if asked == "auto" and not has_gpu else asked


def _batch_decision(situation: Situation, settings: FitSettings) -> Decision:
    size = settings.batch_size
    larger = [other for other in batch_sizes(situation.effective_batch) if other > size]
    if larger and not situation.fits(situation.with_batch(settings, larger[0])):
        needed = format_bytes(situation.peak(situation.with_batch(settings, larger[0])))
        why = f"batch_size {larger[0]} would need {needed}, and a tenth of the room stays free"
    elif situation.effective_batch > size:
        why = f"more than {FIRST_BATCH} rows per pass rarely gain much on a CPU, and no trial was asked for"
    else:
        why = "the whole effective batch fits in one pass"
    return situation.decide_batch(settings, why)


def _standing_decisions(situation: Situation, settings: FitSettings) -> list[Decision]:
    """The choices that were measured once and for all, with their reasons."""
    compiled = settings.encoder in COMPILED
    precision = Decision(
        found="no GPU" if settings.precision == "float32" else "the precision asked for, or a GPU",
        changed=f"precision {settings.precision}, {'compiled by XLA' if compiled else 'no XLA compilation'}",
        why="on a CPU a step in bfloat16 is no faster, and "
        + (
            "compiled by XLA the same steps take about half the time, for 2 seconds at the start"
            if compiled
            else "XLA has no version of the kernel that runs a recurrence"
        )
        + " (benchmarks/precision_and_xla.py)",
        override="give --precision or --encoder to choose it yourself",
    )
    cache = Decision(
        found="rows are drawn in a new order every epoch",
        changed=f"cache_batches {settings.cache_batches}",
        why="a shuffled batch does not occur again, so a cache would only take memory",
        override="give --cache_batches to choose it yourself",
    )
    if situation.is_stored:
        return [precision, cache]
    chunk = Decision(
        found="the text is parsed once, to a store",
        changed=f"chunk_size {settings.chunk_size}",
        why=f"what is parsed at once is bounded by {format_bytes(BLOCK_BYTES)} of text a thread anyway",
        override="give --chunk_size to choose it yourself",
    )
    return [precision, cache, chunk]


def _does_not_fit(situation: Situation, smallest: FitSettings) -> str:
    needed = situation.peak(smallest)
    fitting = [size for size in MODEL_SIZES if situation.fits(replace(smallest, model_size=size))]
    smaller = "no model size fits;"
    if fitting:
        peak = format_bytes(situation.peak(replace(smallest, model_size=fitting[-1])))
        smaller = f"use --model_size {fitting[-1]} ({peak}), or"
    return (
        f"model_size={smallest.model_size!r} with batch_size=1 needs {format_bytes(needed)} and a tenth to "
        f"spare, {format_bytes(situation.room_bytes)} are available under the {situation.limit_name()}; {smaller} "
        f"{_make_room(ceil(needed / (1 - PLAN_HEADROOM)), situation.limits)}"
    )


def _limit_option(limit: Limit) -> str:
    return "--memory_limit" if limit.source == "user" else f"the {limit.source} limit"


def _make_room(needed: int, limits: MemoryLimits) -> str:
    """What would leave so many bytes to a training run: a higher limit, or free memory where the machine is short."""
    short = [(limit, room) for limit, room in training_rooms(limits) if room < needed]
    if not short or any(limit.source == "machine" for limit, _ in short):
        return "free some memory of the machine"
    raised = (
        f"raise {_limit_option(limit)} to {ceil((limit.limit_bytes + needed - room) / 2**20)}MiB"
        for limit, room in short
    )
    return " and ".join(raised)


def _make_plan(
    situation: Situation, settings: FitSettings, decisions: list[Decision], measured: TrialChoice | None
) -> Plan:
    terms = situation.predict(settings)
    trials = measured.trials if measured else []
    return Plan(
        model_size=settings.model_size,
        encoder=settings.encoder,
        batch_size=settings.batch_size,
        accum_steps=settings.steps_per_update,
        effective_batch=settings.effective_batch,
        chunk_size=settings.chunk_size,
        cache_batches=settings.cache_batches,
        prefetch=settings.prefetch,
        precision=settings.precision,
        jit=settings.encoder in COMPILED,
        limit_bytes=situation.limit.limit_bytes,
        limit_source=situation.limit.source,
        predicted_peak_bytes=sum(terms.values()),
        predicted_terms=terms,
        measured_peak_bytes=measured.chosen.measured_peak_bytes if measured else None,
        measured_terms=measured_terms(trials, measured.chosen) if measured else {},
        decisions=tuple(decisions),
        trials=tuple(trials),
    )


def _summary(plan: Plan, situation: Situation) -> str:
    measured = f", measured {format_bytes(plan.measured_peak_bytes)}" if plan.measured_peak_bytes else ""
    return (
        f"plan: batch_size {plan.batch_size}, accum_steps {plan.accum_steps}, predicted peak "
        f"{format_bytes(plan.predicted_peak_bytes)}{measured}, {format_bytes(situation.room_bytes)} available"
    )
