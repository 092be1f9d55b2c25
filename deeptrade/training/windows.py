"""One window of training: its passes are run, and run again without rows that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from ..data.batch_cache import Batch
from ..errors import TrainingFailedError
from ..memory import StepMemory
from ..units import count_of
from .feed import NON_FINITE, Feed, LeftOut
from .step import AccumulatingStep, Window
from .team import Team
from .team_step import TeamStep


class Windows:
    """Trains on windows, each one optimizer step: the passes of this worker, whose sums a team adds.

    Arguments: step, a TeamStep in a team; features the model reads (None: all of a batch); row_weights by row number
    (None: 1); memory, told of every phase of a pass; sink, called with a line of text about faults that did not recur.
    """

    def __init__(
        self,
        step: AccumulatingStep,
        team: Team,
        *,
        features: Sequence[str] | None,
        row_weights: np.ndarray | None,
        memory: StepMemory | None,
        sink: Callable[[str], None],
    ):
        self._step, self._team = step, team
        self._features, self._row_weights, self._memory, self._sink = features, row_weights, memory, sink

    def train(self, feed: Feed, start: int, stop: int, *, number: int) -> tuple[Window, np.ndarray]:
        """Take optimizer step `number` on positions [start, stop); return what it did and the rows that counted.

        A window with a bad pass has changed nothing. In float16 the loss scale may have been too high, and is now
        lower. Otherwise its rows are tried one by one, the bad ones are left out, and the window runs again, with the
        same sums as if it had never had these rows.

        Raises TrainingFailedError if the window is not finite twice, although each row alone is.
        """
        feed.forget()
        if self._memory is not None:
            self._memory.begin(number)
        self._step.marking = self._memory is not None and self._memory.is_looking
        scale, searches = self._step.scale_state, 0
        first, last = feed.reader.share.of_step(start, stop) if feed.reader.share is not None else (start, stop)
        window, row_ids = self._run_window(feed, feed.passes(first, last), first, last)
        while window.valid_targets and not window.applied:
            outcomes = self._team.tell({"overflowed": window.overflowed, "bad_passes": len(window.bad)})
            if not all(one["overflowed"] for one in outcomes):
                bad: Mapping[int, str] = window.bad
                if not any(one["bad_passes"] for one in outcomes):
                    bad = dict.fromkeys(range(first, last, self._step.batch_size), "sum over the window")
                found = self._of_all(self._find_bad_rows(feed, last, bad))
                if searches and not found:
                    tensor = next(iter(bad.values()), "sum over the window")
                    rows = count_of(len(row_ids), "row")
                    raise TrainingFailedError(f"the {tensor} is not finite over {rows}, but is for each row alone")
                feed.leave_out(found)
                searches += 1
                self._step.scale_state = scale  # it was not at fault
            window, row_ids = self._run_window(feed, self._passes_again(feed, first, last), first, last)
        if not self._team.is_alone:
            row_ids = feed.kept_rows(start, stop)
            window = window if len(row_ids) else replace(window, gradient_norm=math.nan)
        if searches and not feed.left_out:
            self._sink(f"step {number}: a loss or gradient was not finite, but all were when run again")
        return window, row_ids

    def _run_window(self, feed: Feed, batches: Iterator[Batch], start: int, stop: int) -> tuple[Window, np.ndarray]:
        """Run the passes that have rows; `bad` of the result is keyed by the position of the pass."""
        row_ids: list[np.ndarray] = [np.empty(0, np.int64)]
        positions: list[int] = []
        filled = (
            pair
            for pair in zip(range(start, stop, self._step.batch_size), batches, strict=True)
            if len(pair[1].row_ids)
        )
        window, ahead = None, next(filled, None)
        while ahead is not None:
            (position, batch), ahead = ahead, next(filled, None)
            self._mark("read")
            positions.append(position)
            row_ids.append(batch.row_ids)
            is_last = ahead is None and self._team.is_alone
            window = self._step(
                self._inputs_of(batch), batch.targets, last=is_last, row_weights=self._weights_of(batch)
            )
            self._mark(("apply" if is_last else "add") if self._step.marking else "pass")
            if self._memory is not None:
                self._memory.next_batch()
        if not self._team.is_alone:
            window = self._finish_together(feed)
        if window is None:
            return Window(math.nan, math.nan, 0, False), row_ids[0]
        bad = {positions[number]: tensor for number, tensor in window.bad.items()}
        return replace(window, bad=bad), np.concatenate(row_ids)

    def _finish_together(self, feed: Feed) -> Window:
        """End a window of all workers, each of which learns what rows the others have left out."""
        self._team.post("left_out", len(feed.left_out))
        assert isinstance(self._step, TeamStep)
        window = self._step.finish_together()
        self._mark("apply" if self._step.marking else "pass")
        if self._team.heard["left_out"]:
            feed.left_out = {one.row: one for one in self._of_all(list(feed.left_out.values()))}
        return window

    def _of_all(self, rows: Sequence[LeftOut]) -> list[LeftOut]:
        """The rows left out that this and all other workers name."""
        return [LeftOut(**one) for part in self._team.tell([asdict(row) for row in rows]) for one in part]

    def _passes_again(self, feed: Feed, start: int, stop: int) -> Iterator[Batch]:
        for first in range(start, stop, self._step.batch_size):
            yield feed.again(first, min(first + self._step.batch_size, stop))

    def _find_bad_rows(self, feed: Feed, stop: int, bad: Mapping[int, str]) -> list[LeftOut]:
        """The rows of the bad passes (position to tensor) whose own loss or gradient is not finite."""
        found = []
        for first in bad:
            for position in range(first, min(first + self._step.batch_size, stop)):
                batch = feed.again(position, position + 1)
                for row in batch.row_ids.tolist():
                    tensor = self._step.examine(self._inputs_of(batch), batch.targets, self._weights_of(batch))
                    if tensor:
                        found.append(LeftOut(row, NON_FINITE, f"the {tensor} of this row is not finite"))
        return found

    def _mark(self, phase: str) -> None:
        if self._memory is not None:
            self._memory.mark(phase)

    def _inputs_of(self, batch: Batch) -> dict[str, np.ndarray]:
        return batch.inputs if self._features is None else {name: batch.inputs[name] for name in self._features}

    def _weights_of(self, batch: Batch) -> np.ndarray | None:
        return None if self._row_weights is None else self._row_weights[batch.row_ids]
