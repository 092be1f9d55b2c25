"""The errors a user can mend: each is one line that says what was given, what is accepted, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DeepTradeError(Exception):
    """Base of all errors the user can mend; the command line prints the line and exits with `exit_code`."""

    exit_code = 2


class DataError(DeepTradeError):
    """The data file is missing, unreadable, or does not hold what a DeepTrade file holds."""


class SettingsError(DeepTradeError):
    """An option or parameter has a value that is not accepted."""


class DoesNotFitError(DeepTradeError):
    """The work needs more memory or disk than the limit allows; the message holds both numbers."""


class RunConflictError(DeepTradeError):
    """The output folder holds a run of other data or other settings."""


class TrainingFailedError(DeepTradeError):
    """Too many rows cannot be read, or give a loss or gradient that is not finite; `left_out` are the latest ones."""

    def __init__(self, message: str, left_out: Sequence[Any] = ()):
        super().__init__(message)
        self.left_out = tuple(left_out)


class Interrupted(KeyboardInterrupt):
    """The work was stopped by a signal; `exit_code` is 128 + the signal's number."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_code = 128 + signal_number
