"""Widgets of the explore notebook: they only choose arguments; plain functions do the work, here and in batch."""

from __future__ import annotations

import html
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd

from ..data.dataset import Dataset
from ..errors import DeepTradeError, SettingsError
from ..files import is_address, shorten_home, user_path
from ..memory import MemoryLimits, read_memory
from ..planning.optimize import optimize
from ..report import figures, tables
from ..settings import MODEL_SIZES, FitSettings
from ..sources.kinds import data_files, neighbour
from ..times import duration_text
from ..units import count_of, format_bytes
from .live_training import LiveTraining, TrainingProgress

REFRESH_SECONDS = 1.0
"""Between two updates of a running training run."""

_CURVE = "Training loss by optimizer step"


def describe(data: Dataset) -> str:
    """Return one sentence on an open dataset."""
    return (
        f"{data.name}: {count_of(data.rows, 'row')}, {len(data.rejected):,} rejected, "
        f"{count_of(len(data.schema.features), 'feature')}, {count_of(data.schema.horizons, 'horizon')}, "
        f"{format_bytes(data.file_bytes)} as CSV, "
        f"{format_bytes(data.rows * data.schema.row_bytes)} as float32."
    )


def file_chooser(csv: str | Path) -> ipywidgets.Dropdown:
    """Return a drop-down of the data files beside `csv` and in this folder; its `value` is the chosen path.

    Where `csv` does not exist, the data that was probably meant is among them.
    """
    chosen = str(csv) if is_address(csv) else str(user_path(csv))
    beside = [] if is_address(csv) else [Path(chosen).parent]
    near = None if is_address(csv) or Path(chosen).exists() else neighbour(Path(chosen))
    found = [path for folder in dict.fromkeys([*beside, Path()]) for path in data_files(folder)]
    found = [near, *found] if near else found
    options = {chosen: _file_label(chosen)} | {str(path): _file_label(path) for path in found}
    return ipywidgets.Dropdown(
        options=[(label, path) for path, label in options.items()], value=chosen, description="file"
    )


def _file_label(path: str | Path) -> str:
    size = f" ({format_bytes(Path(path).stat().st_size)})" if Path(path).is_file() else ""
    return shorten_home(str(path)) + size


def show_row(data: Dataset, *, row: int, feature: str, latest: int = 0) -> None:
    """Show the window of one feature in one row, or only its latest steps, and the row's targets.

    latest: how many steps, 0 for all; features that are no windows are shown whole.

    Raises SettingsError for a row that does not exist or is rejected.
    """
    from IPython.display import Markdown, display

    _check_row(data, row)
    window = data.read(np.array([row]), [feature])[feature][0]
    window = window[-latest:] if latest and window.ndim > 1 else window
    moment = pd.Timestamp(int(data.read_times(np.array([row]))[0]), tz="UTC")
    of_row = f"row {row}, {moment:%Y-%m-%d %H:%M} UTC"
    alt = f"{feature} of {of_row}"
    figures.show(figures.window_chart(window, alt), alt=alt)
    display(Markdown(f"Targets of {of_row}: the returns after it, in percent."))
    display(tables.as_html(row_targets(data, row=row)))


def row_targets(data: Dataset, *, row: int) -> pd.DataFrame:
    """Return the targets of one row in percent, named by the time they look ahead; '-' where one is missing."""
    _check_row(data, row)
    values = data.read_targets(np.array([row]))[0]
    step = data.labels().target_step
    names = [f"y_{horizon}, {duration_text(horizon * step)} ahead" for horizon in range(1, len(values) + 1)]
    texts = ["-" if np.isnan(value) else f"{100 * value:+.4f}" for value in values]
    return pd.DataFrame([texts], columns=names)


def _check_row(data: Dataset, row: int) -> None:
    if not 0 <= row < data.rows:
        raise SettingsError(f"row={row} is not in the data; choose from 0 to {data.rows - 1}")
    if not data.is_usable(row):
        entry = next(entry for entry in data.ledger if entry.row == row)
        raise SettingsError(f"row={row} is rejected ({entry.reason}: {entry.detail}); choose another")


def row_browser(data: Dataset, *, row: int = 0, feature: str = "") -> ipywidgets.Widget:
    """Return sliders for row and zoom and a drop-down for the feature, window and targets of the row below."""
    rows = ipywidgets.IntSlider(value=row, min=0, max=data.rows - 1, description="row", continuous_update=False)
    names = ipywidgets.Dropdown(options=data.schema.names, value=feature or data.schema.names[0], description="feature")
    longest = max([2, *(feature.shape[0] for feature in data.schema.features if len(feature.shape) > 1)])
    zoom = ipywidgets.IntSlider(value=longest, min=2, max=longest, description="latest steps", continuous_update=False)

    def answer(row: int, feature: str, latest: int) -> None:
        show_row(data, row=row, feature=feature, latest=latest)

    return _answered_by(answer, row=rows, feature=names, latest=zoom)


def show_plan(csv: str | Path, *, model_size: str, memory_limit: str = "") -> None:
    """Show the settings that a quick plan chooses."""
    from IPython.display import Markdown, display

    with tempfile.TemporaryDirectory() as folder:
        plan = optimize(csv, out=folder, model_size=model_size, memory_limit=memory_limit, quick=True)
    display(Markdown(tables.plan_verdict(plan.to_json())), tables.as_html(tables.chosen(plan.to_json())))


def plan_chooser(csv: str | Path, *, model_size: str = "small") -> ipywidgets.Widget:
    """Return fields for model size and memory limit, with the resulting plan below."""
    sizes = ipywidgets.Dropdown(options=MODEL_SIZES, value=model_size, description="model size")
    limit = ipywidgets.Text(value="", placeholder="such as 2GiB", description="limit", continuous_update=False)

    def answer(model_size: str, memory_limit: str) -> None:
        show_plan(csv, model_size=model_size, memory_limit=memory_limit)

    return _answered_by(answer, model_size=sizes, memory_limit=limit)


def memory_line() -> str:
    """Return one sentence on the memory this process holds and how much is left."""
    limit, memory = MemoryLimits().smallest(), read_memory()
    return (
        f"This notebook holds {format_bytes(memory.anon_bytes)} of anonymous memory; "
        f"{format_bytes(limit.available_bytes)} are left under the limit of {format_bytes(limit.limit_bytes)} "
        f"({limit.source})."
    )


def live_memory() -> ipywidgets.Widget:
    """Return the sentence of `memory_line` with a button that refreshes it."""
    text, button = ipywidgets.HTML(memory_line()), ipywidgets.Button(description="refresh")
    button.on_click(lambda _: setattr(text, "value", memory_line()))
    return ipywidgets.VBox([text, button])


def training_line(progress: TrainingProgress) -> str:
    """Return one sentence on a short training run: state, steps, loss and memory."""
    history = progress.history
    if not len(history):
        return f"{progress.state}, no step yet: {progress.line}"
    line = (
        f"{progress.state}: {count_of(len(history), 'step')}, loss {history['loss'].iloc[-1]:.3f} in the last, "
        f"{format_bytes(progress.anon_bytes)} of anonymous memory in its process."
    )
    return f"{line} {progress.line}" if progress.state == "failed" else line


def show_training(settings: FitSettings) -> None:
    """Train in a separate process and show the loss when it has ended."""
    from IPython.display import Markdown, display

    progress = LiveTraining(settings).wait()
    display(Markdown(training_line(progress)))
    if len(progress.history):
        figures.show(figures.loss_curve(progress.history), alt=_CURVE)


def training_starter(settings: FitSettings) -> ipywidgets.Widget:
    """Return start and stop buttons with the loss of a short training run, redrawn every second while it runs."""
    sizes = ipywidgets.Dropdown(options=MODEL_SIZES, value=settings.model_size, description="model size")
    steps = ipywidgets.BoundedIntText(value=settings.max_steps, min=1, max=10_000, description="steps")
    start, stop = ipywidgets.Button(description="start"), ipywidgets.Button(description="stop", disabled=True)
    line, curve = ipywidgets.HTML("not started"), ipywidgets.HTML()
    running: list[LiveTraining] = []

    def refresh() -> bool:
        progress = running[-1].progress()
        line.value = html.escape(training_line(progress))
        if len(progress.history):
            curve.value = figures.with_style(figures.loss_curve(progress.history), alt=_CURVE)
        return progress.state == "running"

    def follow() -> None:
        try:
            while refresh():
                time.sleep(REFRESH_SECONDS)
        finally:
            start.disabled, stop.disabled = False, True

    def begin(_: Any) -> None:
        running[:] = [LiveTraining(replace(settings, model_size=sizes.value, max_steps=steps.value))]
        start.disabled, stop.disabled, curve.value = True, False, ""
        threading.Thread(target=follow, daemon=True).start()

    start.on_click(begin)
    stop.on_click(lambda _: running[-1].stop())
    return ipywidgets.VBox([ipywidgets.HBox([sizes, steps, start, stop]), line, curve])


def _answered_by(answer: Any, **choices: ipywidgets.Widget) -> ipywidgets.Widget:
    """The choices above the output of `answer(**values)`; an error that the user can fix is one line of text."""
    output = ipywidgets.Output()

    def respond(_: Any = None) -> None:
        output.clear_output(wait=True)
        with output:
            try:
                answer(**{name: choice.value for name, choice in choices.items()})
            except DeepTradeError as error:
                output.append_stdout(f"{error}\n")

    for choice in choices.values():
        choice.observe(respond, names="value")
    respond()
    return ipywidgets.VBox([ipywidgets.HBox(list(choices.values())), output])
