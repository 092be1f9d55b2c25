"""Errors the user can fix; each message is one line: what was given, what is accepted, what to do next."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any


class DeepTradeError(Exception):
    """Base of all errors the user can fix; the command line prints the message and exits with `exit_code`."""

    exit_code = 2


class DataError(DeepTradeError):
    """The data is missing, unreadable, or not in the DeepTrade layout."""


class SettingsError(DeepTradeError):
    """An option or parameter has a value that is not accepted."""


class DoesNotFitError(DeepTradeError):
    """The work needs more memory or disk space than the limit allows; the message gives both numbers."""


class DiskFullError(DoesNotFitError):
    """The disk has no room for what is to be written: not a lack of memory."""


class RunConflictError(DeepTradeError):
    """The output folder holds a run with different data or settings."""


class TrainingFailedError(DeepTradeError):
    """Too many rows are unreadable or give a non-finite loss or gradient; `left_out` holds the latest of them."""

    def __init__(self, message: str, left_out: Sequence[Any] = ()):
        super().__init__(message)
        self.left_out = tuple(left_out)


class Interrupted(KeyboardInterrupt):
    """The work was stopped by a signal; `exit_code` is 128 + the signal number."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_code = 128 + signal_number


def standing_in(error: Exception) -> str:
    """Return a line on a module of the user's that was imported in place of one of Python's own; empty if none was.

    That happens where a folder with such a file is in PYTHONPATH, which comes before Python's library; an empty entry
    there is the working folder.
    """
    library = os.path.dirname(os.__file__)
    ahead = [os.path.abspath(folder) for folder in sys.path[: sys.path.index(library) if library in sys.path else 0]]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name in sys.stdlib_module_names and os.path.dirname(file.removesuffix("/__init__.py")) in ahead:
            return (
                f"{file} is imported in place of Python's own module {name!r} ({' '.join(str(error).split())[:120]}); "
                f"rename it, or take its folder out of PYTHONPATH"
            )
    return ""
