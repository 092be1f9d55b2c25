"""How far a notebook is that papermill executes: which cell runs, and what a bar in it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from ..progress import PROGRESS_TYPE

ENGINE = "deeptrade"
"""What papermill calls an engine that runs a notebook in a kernel and tells a watcher how far it is."""


@dataclass(frozen=True)
class Moment:
    """What a notebook does now: cell `cell` of `cells` with code, from 1, under a heading.

    `work` is what a bar in that cell says, as `deeptrade.progress.Progress` has it; empty where there is none.
    """

    cell: int
    cells: int
    heading: str
    work: dict[str, Any]


Watch = Callable[[Moment], None]


class _Client(PapermillNotebookClient):
    """Tells a watcher of every cell and of every bar; the numbers of a bar do not stay in the notebook."""

    def __init__(self, notebook: Any, *, watch: Watch, **options: Any):
        super().__init__(notebook, **options)
        self._tell = watch

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        """Execute one cell, as nbclient has it."""
        if cell.cell_type == "code":
            self._tell(self._moment(cell_index, {}))
        return super().execute_cell(cell, cell_index, **options)

    def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
        """Take one message of the kernel, as nbclient has it."""
        work = message["content"].get("data", {}).pop(PROGRESS_TYPE, None)
        if work:
            self._tell(self._moment(cell_index, work))
        return super().process_message(message, cell, cell_index)

    def _moment(self, cell_index: int, work: dict[str, Any]) -> Moment:
        cells = self.nb.cells
        at = sum(cell.cell_type == "code" for cell in cells[: cell_index + 1])
        return Moment(at, sum(cell.cell_type == "code" for cell in cells), _heading(cells[:cell_index]), work)


def _heading(cells: Sequence[Any]) -> str:
    """The last heading in these cells, empty where there is none."""
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.lstrip("# ") for line in reversed(lines) if line.startswith("#")), "")


class _Engine(NBClientEngine):
    """papermill's own engine with that client."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, watch: Watch, start_timeout: int = 60, **options: Any
    ) -> Any:
        """Execute a notebook, as papermill has it."""
        for unused in ("input_path", "log_output", "stdout_file", "stderr_file", "execution_timeout"):
            options.pop(unused, None)
        return _Client(nb_man, watch=watch, kernel_name=kernel_name, startup_timeout=start_timeout, **options).execute()


def register() -> None:
    """Make the engine known to papermill."""
    papermill_engines.register(ENGINE, _Engine)
