"""The step of several workers: their sums of a window are added, and all apply the total alike."""

from __future__ import annotations

from typing import Any

from ..data.backend import tf
from .step import AccumulatingStep, Window
from .team import NOTES, Team, checksum
from .traced import Traced


class TeamStep(AccumulatingStep):
    """An AccumulatingStep whose micro-batches are one worker's part of a window.

    Calls never have last=True: all workers call `finish_together` at the end of the window, also one that had no rows.
    The sum over the workers is in a traced function of its own, for a collective has a number that is drawn at each
    call of the function it stands in: in a branch that some workers take more often, they would wait for ever.
    """

    def __init__(self, team: Team, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._team, self._apply_total = team, Traced(self._finish_total)

    def finish_together(self) -> Window:
        """Add up the sums of all workers, apply them, and return what was done; `bad` holds this worker's passes.

        One vector is added over the workers: the sums, what each has to tell, and a checksum of its weights.
        """
        self._make_sums()
        if not self._passes:
            for total in self._sums:
                total.assign(tf.zeros_like(total))
        with self._team.watching():
            told = self._apply_total(self._team.notes()).numpy()
        self._team.hear(told[5 : 5 + len(NOTES)], told[5 + len(NOTES) :])
        return self._window(told[:5])

    def _finish_total(self, notes: tf.Tensor) -> tf.Tensor:
        """Apply the sums of all workers; return what was done, the sums of notes, and the checksum of each."""
        slot = tf.one_hot(self._team.number, self._team.count, dtype=tf.float64)
        own = slot * checksum(self._pieces.weights(self._dtype))
        *sums, counts = [total.value() for total in self._sums]
        parts = [counts, notes, own, *(tf.reshape(total, [-1]) for total in sums)]
        total = self._team.sum(tf.concat(parts, axis=0))
        counts, notes, checksums, *flat = tf.split(total, [int(part.shape[0]) for part in parts])
        differ = tf.reduce_any(checksums != checksums[0])
        counts += tf.cast(differ, tf.float64) * tf.constant([0, 0, 0, 1], tf.float64)  # then nothing is applied
        gradients = [tf.reshape(part, whole.shape) for part, whole in zip(flat, sums, strict=True)]
        return tf.concat([self._finish(counts, gradients), notes, checksums], axis=0)


def make_step(team: Team, *arguments: Any, **options: Any) -> AccumulatingStep:
    """Return the step of a team, of which one worker may be all; the arguments are those of AccumulatingStep."""
    return AccumulatingStep(*arguments, **options) if team.is_alone else TeamStep(team, *arguments, **options)
