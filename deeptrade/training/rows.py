"""The rows of one training: their split, what reads and judges them, and more of them where they are still arriving."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.batches import BatchReader
from ..data.dataset import Dataset
from ..data.split import LEEWAY
from ..errors import SettingsError
from ..settings import FitSettings
from ..store.row_range import RowRange
from ..units import count_of
from .arriving import Arriving
from .choosing import Choice
from .row_counts import absent_markets
from .run_state import RunState
from .team import Team

if TYPE_CHECKING:
    from .checkpoints import Checkpoints
    from .loop import Trainer


class TrainingRows:
    """The rows of a session. Where they are still arriving, data and split are what has been found so far.

    After `open`, reader reads the rows to train on, and choice looks at the inner and validation rows.
    """

    reader: BatchReader
    choice: Choice

    def __init__(self, data: Dataset, state: RunState, settings: FitSettings, *, team: Team, arriving: Arriving | None):
        self.data, self._settings, self._team, self._arriving = data, settings, team, arriving
        self._of_whole: dict[str, Any] = {}
        if arriving is None:
            self.split = data.split(**settings.split_options, by_count=not state.splits_by_time)
        else:
            self.split = arriving.split
        self._note_whole(state)

    def open(
        self,
        trainer: Trainer,
        state: RunState,
        *,
        target_scale: np.ndarray,
        checkpoints: Checkpoints,
        sink: Callable[[str], None],
    ) -> None:
        """Make what reads the rows that are there."""
        settings = self._settings
        self.choice = Choice(
            trainer,
            self.data,
            self.split,
            settings,
            target_scale=target_scale,
            checkpoints=checkpoints,
            sink=sink,
        )
        self.reader = BatchReader(
            self.data,
            self.split.train,
            share=self._team.share(batch_size=settings.batch_size, step_rows=settings.effective_batch),
            batch_size=settings.batch_size,
            features=settings.feature_names,
            seed=settings.seed,
            cache_batches=settings.cache_batches,
            prefetch=settings.prefetch,
            window_rows=state.window_rows,
            whole_blocks=state.whole_blocks,
            order_version=state.order_version,
            arriving_rows=state.arriving_rows,
        )

    def close(self) -> None:
        """Close what `open` has made."""
        self.reader.close()
        self.choice.close()

    def first(self, state: RunState) -> RowRange:
        """Return the training rows that statistics are of: all, or the first ones where the others may not be there."""
        train = self.split.train
        return train.part(0, min(state.arriving_rows, len(train))) if state.arriving_rows else train

    def absent_markets(self) -> list[str]:
        """Return a line for each market that some part of the split lacks; arriving rows are of one market."""
        if self._arriving is not None:
            return []
        return absent_markets(self.data, self.split, self._settings.market_names)

    def no_inner_line(self) -> str:
        """Return what to say where there should be inner rows and are none, '' elsewhere and while rows are awaited."""
        if not self._settings.inner_ratio or self.choice.has_inner or self.are_awaited:
            return ""
        rows = count_of(len(self.split.train), "training row")
        return (
            f"no inner rows: inner_ratio={self._settings.inner_ratio:g} of {rows} leaves none after purging, so the "
            "last weights are kept as they are; use more rows"
        )

    @property
    def are_awaited(self) -> bool:
        """Whether there are rows that have not come yet."""
        return self._arriving is not None and not self._arriving.is_whole

    @property
    def have_failed(self) -> bool:
        """Whether reading has ended before all rows are there: `more` says why."""
        return self._arriving is not None and self._arriving.has_failed

    def count_steps(self, effective_batch: int) -> int:
        """Return how many optimizer steps the training has, about as many while rows are awaited."""
        samples = self.reader.samples
        if self._arriving is not None and self.are_awaited:
            samples = max(samples, self._arriving.expected_rows)
        total = -(-samples // effective_batch) * self._settings.epochs
        return min(total, self._settings.max_steps) if self._settings.max_steps else total

    def more(self, state: RunState, *, is_wanted: Callable[[], bool]) -> bool:
        """Wait for more training rows, or for all rows where no more steps are wanted, and close what read the others.

        Returns False where it was no longer wanted. Raises what ends the reading: its line, with its exit code.
        """
        assert self._arriving is not None
        beyond = None if state.is_done(self._settings) else self.reader.samples
        if not self._arriving.more(beyond, is_wanted=is_wanted):
            return False
        self.close()
        self.data, self.split = self._arriving.data, self._arriving.split
        self.data.data_id = state.data_id
        self._note_whole(state)
        return True

    def _note_whole(self, state: RunState) -> None:
        """Note in the state what is known only of the whole data."""
        if self._arriving is None or self.are_awaited:
            return
        if not state.epoch and state.position > len(self.split.train):
            raise SettingsError(
                f"the rows of {self.data.name} have become over {LEEWAY} times further apart in time than its first "
                "ones, so that rows near the split were trained on; run with --fresh and without --while_compiling"
            )
        rows, whole_blocks = self._arriving.choose_window(self.data)
        self._of_whole = {
            "content_hash": self.data.content_hash,
            "window_rows": rows,
            "whole_blocks": whole_blocks,
        }
        self.keep_whole(state)

    def keep_whole(self, state: RunState) -> None:
        """Give a state what is known of the whole data; one of a checkpoint may be older than that."""
        for name, value in self._of_whole.items():
            setattr(state, name, value)
