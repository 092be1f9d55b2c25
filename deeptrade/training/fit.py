"""`fit`: from a data file and settings to the files of a run; run again, it resumes or reports that it is done.

This module prepares and decides. The run itself is in `session`, which is imported only after the data has been found,
so that a wrong path does not cost an import of TensorFlow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.dataset import Dataset
from ..data.opening import Head, look_at, open_dataset
from ..data.order import BLOCK_ROWS, ORDER_VERSION, batch_spread, read_amplification, windowed_order
from ..errors import RunConflictError, SettingsError, interruptible
from ..files import friendly_os_errors
from ..memory import MemoryLimits, MemoryMonitor
from ..planning.memory_model import check_fits, pass_row_bytes, predict_peak, training_room
from ..planning.plan import planned
from ..planning.rules import apply_rules
from ..planning.sizes import COMPILED
from ..progress import ByteProgress
from ..run_folder import TrainingFolder, WalkFolder
from ..settings import BEFORE, FitSettings
from ..store import Located, locate
from ..store.ledger import write_ledger
from ..store.summary import TooManyBadRowsError
from ..units import as_bytes, count_of, format_bytes
from .arriving import Arriving, window_rows
from .run_state import (
    NETWORK_VERSION,
    RunState,
    alone_in,
    check_network,
    check_same_run,
    keep_batch_size,
    keep_defaults,
    maths_of,
    read_state,
)
from .runtime import StopRequest, choose_precision, set_up_tensorflow

if TYPE_CHECKING:  # importing it would import TensorFlow
    from .team import Engine, Team

Sink = Callable[[str], None]

_WINDOW_SHARE, _LIMIT_PARTS = 0.1, 96
"""A shuffle window is at most this share of the rows, and at most one such part of the memory limit: a large file then
takes less than 5% more memory than a small one, and the rows of a step still lie 96% as far apart."""

TIGHT = 0.25
"""Predicted share of the room above which a run returns freed memory at once; below it, that is not worth a slower
step."""


def _ignore(line: str) -> None:
    """The sink of callers that want no lines."""


@interruptible()
def fit(
    settings: FitSettings,
    *,
    given: Collection[str] = (),
    limits: MemoryLimits | None = None,
    sink: Sink = _ignore,
    progress: str = "auto",
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Train the forecaster and return the content of result.json.

    Arguments: settings; given, the names of options the user set, which no automatic rule changes; limits,
    those on memory (None: looked up, with the memory_limit of the settings); sink takes
    one line of text at a time; progress is 'auto', 'terminal', 'notebook', 'plain' or 'silent'; engine, what adds the
    sums of workers that train together, each of which calls `fit` (None: this process trains alone).

    Leaves result.json, history.csv, timing.csv, memory.jsonl, ledger.csv, model.keras, checkpoints/ and logs/ in
    `settings.out_dir`.

    Raises DataError, SettingsError, DoesNotFitError, RunConflictError; with an engine LostWorkerError and
    WorkersDifferError; Interrupted after SIGINT or SIGTERM, with progress saved: to the step, or to the last
    checkpoint where a second signal did not wait for the step's end.
    """
    started = time.perf_counter()
    if settings.plan:
        chosen = planned(settings.plan, given=given)
        settings, given = replace(settings, **chosen), {*given, *chosen}
        sink("from the plan " + ", ".join(f"{name}={value}" for name, value in chosen.items()))
    located = locate(settings.csv, store=settings.store, arrangement=settings.arrangement)
    head = look_at(located)
    head.schema.select(settings.feature_names)
    limits = limits or MemoryLimits.of(settings.memory_limit)
    if WalkFolder(settings.out_dir).state.exists():
        raise RunConflictError(f"{settings.out_dir} holds a walk; give another --out")
    number = 0
    if engine is not None:
        if settings.while_compiling:
            raise SettingsError("while_compiling is for one process, not for workers; leave one of them out")
        number, given = engine.number, {*given, *_fixed_passes(settings, engine.count)}
    folder = TrainingFolder(settings.out_dir)
    with StopRequest().listening() as stop, alone_in((folder.of_worker(number) if number else folder).folder):
        prepared = _prepare(settings, given, head, limits, sink)
        if prepared.result is not None:
            return prepared.result
        return _train(
            prepared, located, limits, stop=stop, started=started, sink=sink, progress=progress, engine=engine
        )


def _fixed_passes(settings: FitSettings, workers: int) -> tuple[str, ...]:
    """The settings that no rule may change, for it would know only one worker's memory.

    Raises SettingsError where a step has fewer passes than there are workers.
    """
    if settings.steps_per_update < workers:
        raise SettingsError(
            f"workers={workers} need {workers} passes per step, this one has {settings.steps_per_update}; give "
            f"--grad_accum --accum_steps {workers} or more, or fewer workers"
        )
    return "batch_size", "accum_steps", "grad_accum"


@dataclass(frozen=True)
class _Prepared:
    """What is known before TensorFlow is imported: the settings after the rules, and where an earlier call stopped.

    `result`: of a run that is done, None where there is something to do. `room_bytes`: what training may hold.
    """

    settings: FitSettings
    head: Head
    earlier: RunState | None
    room_bytes: int
    result: dict[str, Any] | None = None

    @property
    def is_tight(self) -> bool:
        """Whether the run is predicted to hold so much that it must return freed memory at once."""
        rows = self.settings.max_rows or self.head.rows
        return sum(predict_peak(self.head.schema, self.settings, rows=rows).values()) > TIGHT * self.room_bytes


def _prepare(settings: FitSettings, given: Collection[str], head: Head, limits: MemoryLimits, sink: Sink) -> _Prepared:
    """Apply the rules, find out whether a run resumes, refuse what cannot work; this process must hold the folder."""
    out, folder = settings.out_dir, TrainingFolder(settings.out_dir)
    earlier = None if settings.fresh else read_state(folder.checkpoints)
    result = None if settings.fresh else folder.read_completed_result()
    if earlier is not None:
        asked, settings = settings, keep_defaults(settings, earlier, given=given)
        for name in BEFORE:
            if getattr(settings, name) != getattr(asked, name):
                sink(f"{name} stays {getattr(settings, name)}, with which the run was begun")
    settings, decisions = apply_rules(
        settings,
        given=given,
        file_bytes=head.file_bytes,
        limit=limits.smallest(),
        pass_row_bytes=pass_row_bytes(head.schema, settings),
        row_bytes=head.schema.row_bytes,
    )
    room_bytes = training_room(limits)
    if earlier is not None:
        settings = keep_batch_size(settings, earlier, given=given)
        maths = maths_of(settings, earlier.maths["precision"] if settings.precision == "auto" else settings.precision)
        _check_same_run(earlier, head, maths, out)
        if result is not None and earlier.is_done(settings):
            steps = count_of(earlier.step, "step")
            sink(f"{out} is done: {steps}, nothing was changed; raise --epochs or --max_steps to go on")
            return _Prepared(settings, head, earlier, room_bytes, result)
        check_network(earlier.network_version, str(out))
    elif result is not None:
        raise RunConflictError(f"{out} holds a result but no checkpoint; give another --out, or --fresh to start over")
    for line in [*(decision.line() for decision in decisions), *_standing_lines(settings, given)]:
        sink(line)
    check_fits(head.schema, settings, room_bytes=room_bytes)
    return _Prepared(settings, head, earlier, room_bytes)


def _train(
    prepared: _Prepared,
    located: Located,
    limits: MemoryLimits,
    *,
    stop: StopRequest,
    started: float,
    sink: Sink,
    progress: str,
    engine: Engine | None,
) -> dict[str, Any]:
    """Start TensorFlow, check every row, and train to the end; returns the content of result.json."""
    settings, earlier = prepared.settings, prepared.earlier
    hardware = set_up_tensorflow(
        allow_growth=not settings.no_tf_allow_growth,
        give_back=prepared.is_tight,
        compiles=settings.encoder in COMPILED,
        sink=sink,
    )
    team = _meet(engine, stop)
    folder = TrainingFolder(settings.out_dir)
    folder = folder if team.is_chief else folder.of_worker(team.number)
    state = earlier or _new_state(settings, prepared.head.data_id, hardware["gpus"])
    monitor = MemoryMonitor(folder.timeline, enabled=not settings.no_memory_monitor, limit=limits)
    from .session import Session

    limit_bytes = team.count * monitor.limit.limit_bytes  # each worker holds its share of a window
    with ExitStack() as stack:
        stack.enter_context(_timeline_aside(folder, settings.fresh))
        stack.enter_context(monitor)
        stack.enter_context(_listing_refused(settings))
        arriving = None
        if settings.while_compiling and not (earlier and earlier.epoch):
            state.arriving_rows = state.arriving_rows or window_rows(settings)
            arriving = stack.enter_context(
                Arriving(
                    located,
                    settings,
                    limits,
                    window_rows=state.arriving_rows,
                    open_whole=lambda: _checked(located.again(), settings, limits, monitor, sink, progress),
                    choose_window=lambda data: _choose_window(data, settings, limit_bytes, sink),
                    max_bad_rows=settings.max_bad_rows,
                    chunk_size=settings.chunk_size,
                    cache_limit=settings.cache_limit,
                    sink=sink,
                )
            )
            with monitor.phase("check"):
                arriving.more(max(0, state.position - 1))
            data = arriving.data
            sink(_arriving_line(arriving))
        else:
            data = stack.enter_context(_checked(located, settings, limits, monitor, sink, progress))
        if settings.fresh:
            folder.remove(but=[folder.timeline], workers=team.count)
        if earlier is not None:  # a store made only now has seen every byte
            _check_same_run(earlier, data, {}, settings.out_dir)
            data.data_id = earlier.data_id  # one of a former form stays the key of the run's order
        state.content_hash = data.content_hash or state.content_hash
        if earlier is None and arriving is None:
            windows = team.from_chief(lambda: _choose_window(data, settings, limit_bytes, sink))
            state.window_rows, state.whole_blocks = windows
        session = Session(
            settings,
            data,
            state,
            monitor=monitor,
            stop=stop,
            hardware=hardware,
            started=started,
            sink=sink,
            team=team,
            arriving=arriving,
        )
        return session.run(progress)


def _arriving_line(arriving: Arriving) -> str:
    rows = len(arriving.split.train)
    there = f"all {count_of(rows, 'training row')} are there" if arriving.is_whole else f"{rows:,} are there"
    return (
        f"while_compiling: the first epoch takes training rows as they come, shuffled within {arriving.window_rows:,}; "
        f"{there}"
    )


def _meet(engine: Engine | None, stop: StopRequest) -> Team:
    """Wait for the other workers, if there are any."""
    from .team import Team

    if engine is not None:
        engine.connect()
        stop.listen()  # TensorFlow has taken SIGTERM
    return Team(engine, stop=stop)


def _check_same_run(state: RunState, data: Head | Dataset, maths: dict[str, Any], out: Path) -> None:
    check_same_run(
        state,
        data_id=data.data_id,
        former_data_ids=data.former_data_ids,
        content_hash=data.content_hash,
        maths=maths,
        out=str(out),
    )


def _choose_window(data: Dataset, settings: FitSettings, limit_bytes: int, sink: Sink) -> tuple[int, bool]:
    """Rows per shuffle window, and whether it takes whole blocks; 0 (all at once) while the data is below the limits.

    Windows follow the limits, not the memory that happens to be free, and are kept in the checkpoints: a run that is
    killed and started again has the same order. Over the cache limit they take whole blocks, which are then fetched
    about once per epoch; so do they where the store is here, for equal weights.
    """
    schema = data.schema.select(settings.feature_names)
    row_bytes = schema.row_bytes
    nbytes, cache_limit = data.rows * row_bytes, as_bytes(settings.cache_limit)
    if settings.no_lazy_loading:
        return 0, False
    if cache_limit and nbytes > cache_limit:
        return _block_windows(data, settings, row_bytes, limit_bytes, sink), True
    if nbytes <= limit_bytes:
        return 0, False
    rows = max(BLOCK_ROWS, min(int(_WINDOW_SHARE * data.rows), limit_bytes // _LIMIT_PARTS // row_bytes))
    window = windowed_order(data.rows, window_rows=rows, key=data.data_id, seed=settings.seed, epoch=0)
    spread = batch_spread(window, data.rows, batch_size=max(2, settings.effective_batch))
    read = read_amplification(window, [4 * size for size in (*(f.size for f in schema.features), schema.horizons)])
    sink(
        f"the rows hold {format_bytes(nbytes)}, more than the limit of {format_bytes(limit_bytes)}: they are "
        f"shuffled in windows of {rows} rows ({format_bytes(rows * row_bytes)}), each read once; the rows of a step "
        f"lie {spread:.0%} as far apart as in a full shuffle, and {read:.2f} bytes are read per byte used"
    )
    return rows, False


def _block_windows(data: Dataset, settings: FitSettings, row_bytes: int, limit_bytes: int, sink: Sink) -> int:
    """Rows per window of whole blocks: as many as memory allows, and no more than half of what the cache holds."""
    cache_limit = as_bytes(settings.cache_limit)
    rows = min(int(_WINDOW_SHARE * data.rows), limit_bytes // _LIMIT_PARTS // row_bytes)
    rows = max(1, min(rows, cache_limit // 2 // row_bytes))
    edges, count = data.block_edges(data.usable), len(data.usable)
    window = windowed_order(count, window_rows=rows, key=data.data_id, seed=settings.seed, epoch=0, edges=edges)
    spread = batch_spread(window, count, batch_size=max(2, settings.effective_batch))
    sink(
        f"the rows hold {format_bytes(data.rows * row_bytes)}, more than the cache limit of "
        f"{format_bytes(cache_limit)}: they are shuffled in {window.windows} windows of whole blocks, each read once; "
        f"the rows of a step lie {spread:.0%} as far apart as in a full shuffle"
    )
    return rows


def _new_state(settings: FitSettings, data_id: str, gpus: int) -> RunState:
    maths = maths_of(settings, choose_precision(settings.precision, gpus))
    return RunState(
        data_id,
        maths,
        batch_size=settings.batch_size,
        splits_by_time=True,
        order_version=ORDER_VERSION,
        network_version=NETWORK_VERSION,
    )


def _standing_lines(settings: FitSettings, given: Collection[str]) -> Iterator[str]:
    if "accum_steps" in given and not settings.grad_accum:
        yield f"accum_steps={settings.accum_steps} has no effect without --grad_accum"


def _checked(
    located: Located,
    settings: FitSettings,
    limits: MemoryLimits,
    monitor: MemoryMonitor,
    sink: Sink,
    progress: str,
) -> Dataset:
    """Check every row, compiling the data first if needed."""
    reading = ByteProgress("reading", face=progress, sink=sink)
    with closing(reading), monitor.phase("check"):
        return open_dataset(
            located,
            compiled=True,
            **settings.reading_options,
            load_all=settings.no_lazy_loading,
            memory_limit=limits,
            sink=sink,
            progress=reading,
        )


@contextmanager
def _listing_refused(settings: FitSettings) -> Iterator[None]:
    """Leave the ledger of data of which too many rows are bad, and say where."""
    try:
        yield
    except TooManyBadRowsError as error:
        folder = TrainingFolder(settings.out_dir)
        path = folder.refused_ledger if folder.result.exists() else folder.ledger  # a run's own ledger stays
        write_ledger(path, error.ledger)
        raise TooManyBadRowsError(f"{error}; they are listed in {path}", error.ledger) from None


@contextmanager
def _timeline_aside(folder: TrainingFolder, fresh: bool) -> Iterator[None]:
    """Give a run that starts over its own timeline; the earlier one is put back if it cannot start."""
    timeline, aside = folder.timeline, folder.former_timeline
    if fresh and timeline.exists():
        with friendly_os_errors(f"moving {timeline.name}"):
            os.replace(timeline, aside)
    try:
        yield
    finally:
        if aside.exists():
            os.replace(aside, timeline)
