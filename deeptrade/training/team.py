"""The workers that train one model together, as each of them sees it; a training alone is a team of one.

Every worker holds the whole model and computes its share of a step's passes. The sums of all are added, and each
applies them alike, so that the weights stay the same everywhere. What the workers must agree on besides travels in the
same vector, as counts; what is rare and has no fixed size (`tell`) in a call of its own. Every worker makes all of
these calls in the same order. Which engine adds vectors is no business of this room: commands hand it in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np

from ..data.backend import tf
from ..data.share import Share
from ..errors import Interrupted, RunConflictError, WorkersDifferError
from .runtime import STOPPING, StopRequest
from .traced import Traced

NOTES = ("left_out", "resized", *(number.name for number in STOPPING))
"""What workers count in the vector of a step: rows left out, changes of the rows per pass, requests to stop."""

_CHECKSUM_BITS = 48
"""Of the checksum of the weights: a float64 holds integers to 2**53, so a sum with zeros keeps every bit."""

_Result = TypeVar("_Result")


class Engine(Protocol):
    """What adds vectors over workers; `number` is 0 for the chief, who alone writes the run's files."""

    number: int
    count: int

    def connect(self) -> None:
        """Wait for all workers; afterwards vectors can be added. Raises LostWorkerError where one does not come."""

    def sum(self, vector: tf.Tensor) -> tf.Tensor:
        """Return the sum over all workers of a float64 vector, equal to the bit for all; to be traced."""

    def watching(self) -> AbstractContextManager[None]:
        """Raise LostWorkerError where a sum in the block fails for want of a worker."""


class Team:
    """The workers of a training: `count` of them, this one is `number`. Without an engine it is alone."""

    def __init__(self, engine: Engine | None = None, *, stop: StopRequest | None = None):
        self._engine, self._stop = engine, stop or StopRequest()
        self.number, self.count = (0, 1) if engine is None else (engine.number, engine.count)
        self.heard = dict.fromkeys(NOTES, 0)
        self._posted = dict.fromkeys(NOTES, 0)
        self._total = Traced(self.sum, signature=[tf.TensorSpec((None,), tf.float64)])

    @property
    def is_alone(self) -> bool:
        """Whether there are no other workers."""
        return self._engine is None

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run's files."""
        return self.number == 0

    @property
    def signal_number(self) -> int:
        """The signal that asked to stop, 0 for none; in a team, one that every worker has heard of."""
        if self.is_alone:
            return self._stop.signal_number
        return next((number for number in reversed(STOPPING) if self.heard[number.name]), 0)

    def share(self, *, batch_size: int, step_rows: int) -> Share | None:
        """Return this worker's share of every step; None, which is all, where it is alone."""
        return None if self.is_alone else Share(self.number, self.count, batch_size, step_rows)

    def sum(self, vector: tf.Tensor) -> tf.Tensor:
        """Return the sum over all workers of a float64 vector; to be traced."""
        assert self._engine is not None
        return self._engine.sum(vector)

    def watching(self) -> AbstractContextManager[None]:
        """Raise LostWorkerError where a sum in the block fails for want of a worker."""
        assert self._engine is not None
        return self._engine.watching()

    def post(self, name: str, count: int = 1) -> None:
        """Add to what this worker counts in the next vector, one of NOTES."""
        self._posted[name] += count

    def notes(self) -> np.ndarray:
        """Return what this worker counts in the vector of this step, float64 (len(NOTES),), and begin to count anew."""
        for number in STOPPING:
            self._posted[number.name] = int(self._stop.signal_number == number)
        counts = np.array([self._posted[name] for name in NOTES], np.float64)
        self._posted = dict.fromkeys(NOTES, 0)
        return counts

    def hear(self, counts: np.ndarray, checksums: np.ndarray) -> None:
        """Take what all workers have counted, and the checksum of each one's weights, float64 (count,).

        Raises WorkersDifferError where the weights are not the same: they can only drift apart.
        """
        self.heard = dict(zip(NOTES, counts.astype(int).tolist(), strict=True))
        different = np.flatnonzero(checksums != checksums[0])
        if len(different):
            raise WorkersDifferError(
                f"the weights of worker {different[0]} are no longer those of worker 0; use machines with equal "
                "processors and packages, then run again to continue from the last checkpoint"
            )

    def tell(self, content: Any) -> list[Any]:
        """Return the plain data of every worker, in their order; all must call it."""
        if self.is_alone:
            return [content]
        text = np.frombuffer(json.dumps(content).encode(), np.uint8)
        lengths = self._by_worker(np.array([len(text)]))[:, 0].astype(int)
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: len(text)] = text
        texts = self._by_worker(padded).astype(np.uint8)
        return [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]

    def from_chief(self, work: Callable[[], _Result]) -> _Result:
        """Return the plain data that `work` returns on the chief, which alone does it; all others wait.

        Raises Interrupted on all where it does on the chief.
        """
        if self.is_alone:
            return work()
        told: dict[str, Any] = {}
        if self.is_chief:
            try:
                told = {"result": work()}
            except Interrupted as error:
                told = {"signal": error.signal_number}
        told = self.tell(told)[0]
        if "signal" in told:
            raise Interrupted(told["signal"])
        return told["result"]

    def refuse_differences(self, facts: dict[str, Any]) -> None:
        """Raise RunConflictError, on all workers, if a fact of one is not what the chief has."""
        first, *others = self.tell(facts)
        for number, other in enumerate(others, start=1):
            for name, value in first.items():
                if other[name] != value:
                    raise RunConflictError(
                        f"worker {number} has {name}={other[name]!r}, worker 0 has {value!r}; give all workers the "
                        "same data, settings and packages, and an --out that all share"
                    )

    def _by_worker(self, values: np.ndarray) -> np.ndarray:
        """The float64 (count, len(values)) of all workers' values."""
        slots = np.zeros((self.count, len(values)))
        slots[self.number] = values
        with self.watching():
            return self._total(slots.ravel()).numpy().reshape(slots.shape)


def checksum(pieces: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return a checksum of float32 or float64 tensors, an integer below 2**48 as a float64 scalar; to be traced.

    It is the sum of the numbers' bits, each times an odd number that depends on its place.
    """
    total = tf.zeros((), tf.int64)
    for piece in pieces:
        bits = tf.bitcast(piece, tf.int64 if piece.dtype == tf.float64 else tf.int32)
        bits = tf.reshape(tf.cast(bits, tf.int64), [-1])
        total = 31 * total + tf.reduce_sum(bits * (2 * tf.range(tf.size(bits, tf.int64), dtype=tf.int64) + 1))
    total = tf.bitwise.bitwise_xor(total, tf.bitwise.right_shift(total, tf.constant(64 - _CHECKSUM_BITS, tf.int64)))
    return tf.cast(tf.bitwise.bitwise_and(total, tf.constant((1 << _CHECKSUM_BITS) - 1, tf.int64)), tf.float64)
