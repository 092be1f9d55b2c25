"""Child processes of this interpreter that import nothing from the working folder.

`python -m` puts the working folder before Python's own library: there a user's random.py would be imported in place of
Python's random by every library that needs it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..files import friendly_os_errors

_LOOK_SECONDS = 0.5

PACKAGE_FOLDER = str(Path(__file__).parents[2])
"""Where this package lies. Children look there last, in case it is not installed but used from its own folder."""

_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)

_BOUND = (
    "import ctypes, os, signal, sys; parent = int(sys.argv.pop(1)); "
    "getattr(ctypes.CDLL(None), 'prctl', lambda *_: 0)(1, signal.SIGTERM); "
    "sys.exit(143) if os.getppid() != parent else None; "
)
"""Asks Linux for a SIGTERM when the parent ends, however it ends (PR_SET_PDEATHSIG is 1); elsewhere it does nothing."""


def module_command(module: str) -> list[str]:
    """Return the start of a command line that runs a module as `python -m` does, safe from the working folder."""
    return [sys.executable, "-P", "-c", _START, PACKAGE_FOLDER, module]


def bound_command(module: str) -> list[str]:
    """Return what `module_command` does, for a child that must not outlive this process: it is stopped as it ends."""
    return [sys.executable, "-P", "-c", _BOUND + _START, str(os.getpid()), PACKAGE_FOLDER, module]


def run_logged(command: Sequence[str], log: Path, *, is_wanted: Callable[[], bool] = lambda: True) -> tuple[int, str]:
    """Run one command with its output in a log; return its exit code, negative for a signal, and its last line.

    A signal here stops the child, which saves its progress, before it is raised. So does `is_wanted`, asked twice a
    second, where it says no.
    """
    with friendly_os_errors(f"writing {log.name}"):
        opened = open(log, "w", encoding="utf-8")  # noqa: SIM115 (closed by the next line)
    with opened as file:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = _wait(child, is_wanted)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    with friendly_os_errors(f"reading {log.name}"):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return code, lines[-1] if lines else ""


def _wait(child: subprocess.Popen[bytes], is_wanted: Callable[[], bool]) -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK_SECONDS)
        if not is_wanted():
            child.terminate()
            return child.wait()


def run_attached(command: Sequence[str]) -> int:
    """Run one command whose input and output are this process's; return its exit code, 128 + N after signal N.

    SIGINT and SIGTERM here are handed on, each once, for the child to end in its own way: it is in a process group of
    its own, so that a terminal's Ctrl-C does not reach it twice.
    """
    child = subprocess.Popen(command, process_group=0)
    handed = (signal.SIGINT, signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.signal(one, lambda number, frame: child.send_signal(number)) for one in handed if is_main}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code
