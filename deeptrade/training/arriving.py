"""The rows to train on while their store is still being made: those known to be training rows, and in the end all.

The split is that of the whole data, of which the first rows tell enough: see `first_training_rows`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..data.dataset import Dataset
from ..data.split import Split
from ..errors import SettingsError
from ..memory import MemoryLimits
from ..memory.budget import ByteBudget
from ..settings import FitSettings
from ..store import Located
from ..store.growing import GrowingStore

WINDOW_ROWS = 2048
"""The rows that the first epoch is shuffled within, and the first of which the statistics are: at least so many, in
whole steps."""

_LOOKS = 8
"""How often, in the rows of a window, to look how many training rows there are: each look opens the store anew."""


class Arriving:
    """The data of a training whose store is made within a with-block, in a thread of its own.

    window_rows: of the first epoch. open_whole opens the finished store; choose_window returns rows and kind of the
    windows of later epochs; further options are those of `compile_store`. data and split: what `more` has found last;
    is_whole: whether it is all. expected_rows: about how many training rows there will be.
    """

    data: Dataset
    split: Split

    def __init__(
        self,
        located: Located,
        settings: FitSettings,
        limits: MemoryLimits,
        *,
        window_rows: int,
        open_whole: Callable[[], Dataset],
        choose_window: Callable[[Dataset], tuple[int, bool]],
        **options: Any,
    ):
        _refuse(located, settings)
        self._settings, self._limits, self.window_rows = settings, limits, window_rows
        self._open_whole, self.choose_window = open_whole, choose_window
        self._store = GrowingStore(located, memory_limit=limits, **options)
        self._open = ExitStack()
        self.is_whole = False
        rows = located.source.estimate_rows() if located.source else 0
        self.expected_rows = int(rows * (1 - settings.val_ratio) * (1 - settings.inner_ratio))

    def __enter__(self) -> Arriving:
        self._store.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()
        self._store.__exit__(*exc)

    @property
    def has_failed(self) -> bool:
        """Whether the compile has ended without a store; `more` raises why."""
        return self._store.has_failed

    def more(self, beyond: int | None, *, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Wait for data with more than `beyond` training rows in whole windows, or for all of it (None), and open it.

        Returns False where it was no longer wanted. What was open before is closed. Raises what ends the compile, and
        what opening and splitting the whole data raises.
        """
        wanted = 0 if beyond is None else beyond + self.window_rows
        while not self.is_whole:
            self._store.wait(wanted, is_wanted=is_wanted)
            if not is_wanted():
                return False
            rows = self._store.rows
            if beyond is not None or self._store.is_whole:
                self._look()
            if self.is_whole or (beyond is not None and len(self.split.train) > beyond):
                return True
            wanted = rows + max(1, self.window_rows // _LOOKS)
        return True

    def _look(self) -> None:
        found = None if self._store.is_whole else self._store.read(use_mmap=not self._settings.no_mmap)
        self._open.close()
        if found is None:
            self.data = self._open.enter_context(self._open_whole())
            self.split, self.is_whole = self.data.split(**self._settings.split_options), True
            return
        summary, rows = found
        self.data = self._open.enter_context(Dataset(summary, rows, ByteBudget.of_process(self._limits)))
        self.split = self.data.first_training_rows(
            val_ratio=self._settings.val_ratio,
            inner_ratio=self._settings.inner_ratio,
            target_step=self._settings.target_step,
            whole=self.window_rows,
        )


def window_rows(settings: FitSettings) -> int:
    """Return the rows of a window of the first epoch: whole steps, WINDOW_ROWS at least."""
    return settings.effective_batch * -(-WINDOW_ROWS // settings.effective_batch)


def _refuse(located: Located, settings: FitSettings) -> None:
    """Raise SettingsError where what comes later in the data could change what the first rows are."""
    if located.source is None or located.is_stored:
        return
    schema = located.source.schema
    if schema.target_source == "price":
        raise SettingsError(
            "while_compiling needs targets in columns y_*, for those from prices are made when all rows are there; "
            "leave it out"
        )
    if schema.has_markets:
        raise SettingsError(
            "while_compiling takes data of one market, for several are put in order of time when all rows are there; "
            "leave it out"
        )
