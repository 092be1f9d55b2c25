"""Workers as threads of one process, which add vectors in memory: quick to start, and every call must meet its like.

Two at most: a thread that waits for the others holds one of TensorFlow's, of which there may be no more.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import tensorflow as tf

from deeptrade.training.team import Team

_MOST_SECONDS = 15


class Meeting:
    """Where `count` threads add their vectors; a thread that does not come breaks it for all."""

    def __init__(self, count):
        self.count, self.vectors = count, [np.empty(0)] * count
        self.barrier = threading.Barrier(count, timeout=_MOST_SECONDS)
        self.calls = 0

    def add(self, number, vector):
        self.vectors[number] = vector
        self.barrier.wait()
        assert len({one.shape for one in self.vectors}) == 1, "workers add vectors of different lengths"
        total = np.sum(self.vectors, axis=0)
        self.calls += number == 0
        self.barrier.wait()
        return total


class ThreadEngine:
    def __init__(self, meeting, number):
        self.meeting, self.number, self.count = meeting, number, meeting.count

    def connect(self):
        pass

    def sum(self, vector):
        total = tf.numpy_function(lambda own: self.meeting.add(self.number, own), [vector], tf.float64)
        return tf.reshape(total, tf.shape(vector)) if None in vector.shape else tf.ensure_shape(total, vector.shape)

    def watching(self):
        return nullcontext()


def make_teams(count):
    """Return the teams of `count` workers, each to be used in a thread of its own."""
    meeting = Meeting(count)
    return [Team(ThreadEngine(meeting, number)) for number in range(count)]


def at_once(teams, work):
    """Return what `work(number)` returns in a thread for each team; the error of the first that failed is raised."""
    meeting = teams[0]._engine.meeting

    def run(number):
        try:
            return work(number)
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(len(teams)) as pool:
        futures = [pool.submit(run, number) for number in range(len(teams))]
    errors = [future.exception() for future in futures if future.exception() is not None]
    for error in [one for one in errors if "BrokenBarrier" not in str(one)] or errors:
        raise error
    return [future.result() for future in futures]
