"""Python's garbage collection at moments we choose, and freed memory given back to the system."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

_TRIM_SECONDS = 0.03
"""Between two calls while a function is traced; one takes 1 to 5 ms."""


class Collector:
    """Collects small and often at the end of accumulation windows, instead of whenever Python would.

    With `aggressive` off every method does nothing and Python's own collection stays as it is. Python's full
    collection walks every object of TensorFlow, 100 ms and more at a random step. Here that is done once, after
    warm-up; the objects found then are set aside for good, and later collections walk only what is new.
    `seconds` is the time spent, `collections` and `trims` count.

    trim_every: windows between two returns of freed memory to the system (glibc's malloc keeps freed tensors).
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
        """Collect all once, set the survivors aside and switch Python's own collection off; call after warm-up."""
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

        With `pressure` (little memory left) the older garbage goes too and freed memory is given back at once.
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
        """Give back to Python what `freeze` took; may be called more than once."""
        if not self._frozen:
            return
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()
        self._frozen = False


def trim() -> bool:
    """Give freed memory back to the system; False where the C library cannot (it is glibc's malloc_trim)."""
    malloc_trim = _malloc_trim()
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True


@contextmanager
def trimming() -> Iterator[None]:
    """Give freed memory back again and again while the block runs, for work that takes much for a moment many times.

    Meant for the first call of a traced function: TensorFlow optimises its graph in copies, and malloc keeps what
    each of them took.
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
    """From now on let blocks over 1 MiB go back to the system when they are freed, where the C library is glibc.

    By itself it comes to keep blocks of up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD).
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl and macOS lack the function; Windows the library
        return None
