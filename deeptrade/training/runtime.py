"""How TensorFlow is set up for a run: same numbers on every run of one machine, quiet, growing GPU memory."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import Interrupted
from ..memory.collection import return_large_blocks
from ..sources.scan import worker_count

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow's libraries print while they start; it is shown where the start fails.

    They write to the file descriptor before their log level is in force. Setting TF_CPP_MIN_LOG_LEVEL shows it all.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(before, kept.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


_SYSTEM_ALLOCATOR = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"
"""TensorFlow's switch between malloc and a pool of its own for large tensors on a CPU.

The pool belongs to oneDNN, which TensorFlow 2.21 uses by itself only on processors with AVX-512 VNNI, AMX or the like
(TF_ENABLE_ONEDNN_OPTS decides otherwise). On others there is no pool: large tensors come from malloc in any case.
"""


def set_up_tensorflow(*, allow_growth: bool, give_back: bool, sink: Callable[[str], None]) -> dict[str, Any]:
    """Import TensorFlow, make its operations deterministic and fix its thread counts; return what is in force.

    With `give_back` tensors that are freed go back to the system, so that smaller passes hold less memory. Where it
    uses oneDNN, TensorFlow by itself keeps them in a pool, whose parts double in size and never go: a step then takes
    3 to 8% less time, the highest memory is the same within 4%, and smaller passes free nothing
    (benchmarks/allocators.py, on processors with AVX-512).

    Where TensorFlow has run before in this process (a notebook), its allocator and thread counts stay, and the latter
    are reported.
    """
    if give_back and "tensorflow" not in sys.modules:
        os.environ.setdefault(_SYSTEM_ALLOCATOR, "1")
    uses_malloc = os.environ.get(_SYSTEM_ALLOCATOR, "").lower() in ("1", "true")
    with _quiet_start():
        import tensorflow as tf
        from tensorflow.python.util import _pywrap_util_port

        gpus = tf.config.list_physical_devices("GPU")
    has_pool = _pywrap_util_port.IsMklEnabled() and not uses_malloc
    gives_back = (give_back or uses_malloc) and not has_pool
    if gives_back:
        return_large_blocks()
    elif give_back:
        sink("TensorFlow runs with its own pool of memory: passes keep their size where memory becomes scarce")
    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(worker_count())
        tf.config.threading.set_inter_op_parallelism_threads(worker_count())
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, allow_growth)
    except RuntimeError:
        sink("TensorFlow has started before in this process; its threads and GPU memory growth stay as they are")
    if not gpus and not allow_growth:
        sink("--no_tf_allow_growth has no effect: it applies to GPUs, and there is none")
    return {
        "op_determinism": True,
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
        "gpus": len(gpus),
        "tensor_pool": has_pool,
        "gives_back": gives_back,
    }


def choose_precision(asked: str, gpus: int) -> str:
    """Return the Keras policy: 'auto' is float32 on a CPU, where float16 gains nothing, and mixed_float16 on a GPU."""
    if asked != "auto":
        return asked
    return "mixed_float16" if gpus else "float32"


def versions() -> dict[str, str]:
    """Return the versions a result depends on."""
    import keras
    import numpy as np
    import tensorflow as tf

    from .. import __version__

    return {
        "deeptrade": __version__,
        **_commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _commit() -> dict[str, str]:
    """The commit that the package is run from; empty where it is installed, or where there is no git."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        told = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return {}
    return {"commit": told.stdout.strip()} if told.returncode == 0 else {}


class StopRequest:
    """Notes SIGINT and SIGTERM.

    The first one raises Interrupted at once outside training steps; within them it waits for the window's end, so that
    nothing is lost. The second raises Interrupted anywhere: what was done since the last checkpoint is done again. The
    third ends the process, with the exit code of shells, also where the main thread hangs outside of Python.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._deferred = False
        self._arrived = self._handled = 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block the first signal only sets `signal_number`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle both signals within the block, where this is the main thread; elsewhere do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        with self._counting():
            before = {number: signal.signal(number, self._note) for number in _STOPPING}
            try:
                yield self
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count signals as they arrive: Python calls a handler only between two of its own instructions, and once for
        all that came meanwhile, which in a long step is too late for the third.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        counter = threading.Thread(target=self._count, args=(reading,), name="deeptrade-signals", daemon=True)
        counter.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.write(writing, bytes([0]))
            counter.join()
            os.close(reading)
            os.close(writing)

    def _count(self, reading: int) -> None:
        """Read signal numbers, a byte each, until a zero."""
        while number := os.read(reading, 1)[0]:
            self._arrived += number in _STOPPING
            if self._arrived > 2:
                os._exit(128 + number)

    def _note(self, number: int, frame: object) -> None:
        self._handled += 1
        self.signal_number = number
        if not self._deferred or max(self._arrived, self._handled) > 1:
            raise Interrupted(number)
