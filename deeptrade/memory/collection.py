"""Python's garbage collection at chosen moments, and freed memory released to the system."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

_TRIM_SECONDS = 0.03
"""Seconds between two calls while a function is traced; one call takes 1 to 5 ms."""


class Collector:
    """Collects garbage in small portions at the end of accumulation windows, instead of whenever Python would.

    With `aggressive` off every method does nothing, and Python's own collection stays as it is. Python's full
    collection walks every object of TensorFlow, which takes 100 ms or more at a random step. Here that is done once,
    after warm-up; the surviving objects are then frozen, and later collections walk only new ones. `seconds` is the
    time spent, `collections` and `trims` are counts.

    trim_every: windows between two releases of freed memory to the system (glibc's malloc keeps freed tensors).
    full_every: windows between two collections of what survived the small ones.
    """

    def __init__(self, aggressive: bool = True, *, trim_every: int = 10, full_every: int = 200):
        self.aggressive = aggressive
        self.trim_every, self.full_every = trim_every, full_every
        self.seconds = 0.0
        self.collections = 0
        self.trims = 0
        self._windows = 0
        self._frozen = False
        self._was_enabled = False

    def freeze(self) -> None:
        """Collect everything once, freeze the survivors and turn off Python's own collection; call after warm-up."""
        if not self.aggressive or self._frozen:
            return
        started = time.perf_counter()
        self._was_enabled = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        self._frozen = True
        self.seconds += time.perf_counter() - started

    def collect_small(self, *, pressure: bool = False) -> None:
        """Collect young garbage; call at the end of a window.

        With `pressure` (little memory left), also collect older garbage and release freed memory at once.
        """
        if not self.aggressive:
            return
        started = time.perf_counter()
        self._windows += 1
        full = pressure or self._windows % self.full_every == 0
        gc.collect(2 if full else 1)
        self.collections += 1
        if pressure or self._windows % self.trim_every == 0:
            self.trims += trim()
        self.seconds += time.perf_counter() - started

    def restore(self) -> None:
        """Undo `freeze`; may be called more than once."""
        if not self._frozen:
            return
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()
        self._frozen = False


def trim() -> bool:
    """Release freed memory to the system; return False if the C library cannot (only glibc has malloc_trim)."""
    malloc_trim = _malloc_trim()
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True


@contextmanager
def trimming() -> Iterator[None]:
    """Release freed memory repeatedly while the block runs, for work that often allocates much for a moment.

    Meant for the first call of a traced function: TensorFlow optimizes copies of its graph, and malloc keeps the memory
    of each.
    """
    done = Event()

    def run() -> None:
        while not done.wait(_TRIM_SECONDS) and trim():
            pass

    thread = Thread(target=run, name="deeptrade-trim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        trim()


_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1 << 20


def return_large_blocks() -> None:
    """From now on release blocks over 1 MiB to the system when they are freed, if the C library is glibc.

    By default it adapts and may keep blocks of up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD).
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except AttributeError:  # musl and macOS lack the function
        return None
