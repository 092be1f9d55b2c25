"""TensorFlow's setup for a run (reproducible on one machine, quiet, growing GPU memory), versions and stop signals."""

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

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask to stop."""


_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow's libraries print at startup; it is shown only if startup fails.

    They write to the file descriptor before their log level takes effect. What they only inform of later, such as that
    XLA has compiled a program, is left out too. Setting TF_CPP_MIN_LOG_LEVEL shows it all.
    """
    if _LOG_LEVEL in os.environ:
        yield
        return
    os.environ[_LOG_LEVEL] = "1"  # read once, during the start
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
            os.environ.pop(_LOG_LEVEL)


_SYSTEM_ALLOCATOR = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"
"""TensorFlow's switch between malloc and its own pool for large tensors on a CPU.

The pool belongs to oneDNN, which TensorFlow 2.21 enables by default only on processors with AVX-512 VNNI, AMX or
similar (TF_ENABLE_ONEDNN_OPTS overrides that). Without oneDNN there is no pool: large tensors come from malloc.
"""

_LEAN_COMPILATION = "--xla_cpu_use_fusion_emitters=false"
"""XLA's older way to compile for a CPU: a peak of 413 instead of 695 MiB for `small` and 4 rows, steps up to 8% slower
(TensorFlow 2.21; benchmarks/precision_and_xla.py)."""


def set_up_tensorflow(
    *, allow_growth: bool, give_back: bool, compiles: bool = False, sink: Callable[[str], None]
) -> dict[str, Any]:
    """Import TensorFlow, make its operations deterministic and fix its thread counts; return what is in effect.

    With `give_back`, freed tensors are returned to the system, so that smaller passes hold less memory. With oneDNN,
    TensorFlow by default keeps them in a pool whose blocks double in size and are never released: a step then takes 3
    to 8% less time, peak memory is the same within 4%, and smaller passes free nothing (benchmarks/allocators.py, on
    processors with AVX-512).

    With `compiles`, XLA is told by XLA_FLAGS to compile with less memory; the variable stays set in this process, since
    XLA reads it when it compiles first.

    If TensorFlow has already run in this process (a notebook), its allocator and thread counts stay, and the latter are
    reported. Raises SettingsError if Keras was imported there with settings that change results.
    """
    if give_back and "tensorflow" not in sys.modules:
        os.environ.setdefault(_SYSTEM_ALLOCATOR, "1")
    flags = os.environ.get("XLA_FLAGS", "")
    if compiles and _LEAN_COMPILATION.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_LEAN_COMPILATION}".strip()
    uses_malloc = os.environ.get(_SYSTEM_ALLOCATOR, "").lower() in ("1", "true")
    with quiet_start():
        from ..data.backend import left_aside, refuse_other_settings, tf

        gpus = tf.config.list_physical_devices("GPU")
        from tensorflow.python.util import _pywrap_util_port  # only now: tensorflow itself imports Keras
    refuse_other_settings()
    for line in left_aside():
        sink(line)
    has_pool = _pywrap_util_port.IsMklEnabled() and not uses_malloc
    gives_back = (give_back or uses_malloc) and not has_pool
    if gives_back:
        return_large_blocks()
    elif give_back:
        sink("TensorFlow uses its own memory pool, so passes keep their size when memory becomes scarce")
    tf.config.experimental.enable_op_determinism()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(worker_count())
        tf.config.threading.set_inter_op_parallelism_threads(worker_count())
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, allow_growth)
    except RuntimeError:
        sink("TensorFlow was already started in this process; its thread counts and GPU memory growth stay as they are")
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
    """Return the Keras dtype policy: 'auto' is mixed_float16 on a GPU, float32 on a CPU, where float16 has no gain."""
    if asked != "auto":
        return asked
    return "mixed_float16" if gpus else "float32"


def versions() -> dict[str, str]:
    """Return the package versions that a result depends on."""
    import numpy as np

    from .. import __version__
    from ..data.backend import keras, tf

    return {
        "deeptrade": __version__,
        **_commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _commit() -> dict[str, str]:
    """The commit of the working tree the package runs from; empty if it is installed or git is missing."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return {}
    return {"commit": done.stdout.strip()} if done.returncode == 0 else {}


class StopRequest:
    """Handles SIGINT and SIGTERM.

    Outside training steps the first signal raises Interrupted at once; within them it waits for the end of the window,
    so that nothing is lost. The second raises Interrupted anywhere: work since the last checkpoint is then repeated.
    The third ends the process with the usual exit code, 128 plus the signal, even if the main thread hangs outside of
    Python.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._deferred = False
        self._arrived = self._handled = 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block, the first signal only sets `signal_number`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle both signals inside the block if this is the main thread; otherwise do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        with self._counting():
            before = self.listen()
            try:
                yield self
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def listen(self) -> dict[signal.Signals, Any]:
        """Take both signals in the main thread, again where a library has taken them; return the handlers before."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._note) for number in STOPPING}

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count signals as they arrive: Python calls handlers only between bytecode instructions, once for all signals
        pending, which is too late for the third one in a long step.
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
        """Read signal numbers, one byte each, until a zero."""
        while number := os.read(reading, 1)[0]:
            self._arrived += number in STOPPING
            if self._arrived > 2:
                os._exit(128 + number)

    def _note(self, number: int, frame: object) -> None:
        self._handled += 1
        self.signal_number = number
        if not self._deferred or max(self._arrived, self._handled) > 1:
            raise Interrupted(number)
