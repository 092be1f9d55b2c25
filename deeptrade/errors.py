"""Errors the user can fix; each message is one line: what was given, what is accepted, what to do next."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any


class _OneLine(BaseException):
    """Shown by a notebook as one line; `%tb` in the next cell shows where it was raised."""

    def _render_traceback_(self) -> list[str]:
        """Called by IPython for what it shows of an error: while the error is handled, and again for `%tb`."""
        if sys.exc_info()[1] is self:
            return [self._line()]
        from IPython import get_ipython

        lines: list[str] = get_ipython().InteractiveTB.structured_traceback(type(self), self, self.__traceback__)
        return lines

    def _line(self) -> str:
        return f"{type(self).__name__}: {self}"


class DeepTradeError(_OneLine, Exception):
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


class RemoteError(DeepTradeError):
    """An object store cannot be reached or refuses, or what lies there has changed meanwhile: no row is at fault."""


class ClusterError(DeepTradeError):
    """A cluster cannot be reached, has lost what it was asked to do, or has other files or another version."""


class RunConflictError(DeepTradeError):
    """The output folder holds a run with different data or settings."""


class TrainingFailedError(DeepTradeError):
    """Too many rows are unreadable or give a non-finite loss or gradient; `left_out` holds the latest of them."""

    def __init__(self, message: str, left_out: Sequence[Any] = ()):
        super().__init__(message)
        self.left_out = tuple(left_out)


class WorkersDifferError(DeepTradeError):
    """Workers that train together no longer hold the same weights."""


class LostWorkerError(DeepTradeError):
    """A worker that others train with is gone, or did not come; all can be started again and will continue.

    Its exit code is one that Kubeflow's training operator restarts after; no signal of ours gives it.
    """

    exit_code = 138


class Interrupted(_OneLine, KeyboardInterrupt):
    """The work was stopped by a signal; `exit_code` is 128 + the signal number."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def _line(self) -> str:
        return "stopped; run the cell again to go on"


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C, or the stop button of JupyterLab, end the block or function with Interrupted: one line in a notebook.

    It belongs on what a notebook calls and waits for.
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None


def standing_in(error: Exception) -> str:
    """Return a line on a module of the user's that hides one of Python's own or an installed package; empty if none.

    That happens where a folder with such a file is in PYTHONPATH, which comes before Python's library; an empty entry
    there is the working folder. A folder that packages were installed into hides nothing by mistake.
    """
    for name, file in _modules_of_the_user(error):
        if name in sys.stdlib_module_names:
            hidden = f"Python's own module {name!r}"
        elif _is_installed(name) and not _is_installed(name, [file[: file.rindex(f"{os.sep}{name}")]]):
            hidden = f"the installed package {name!r}"
        else:
            continue
        return (
            f"{file} is imported in place of {hidden} ({' '.join(str(error).split())[:120]}); "
            f"rename it, or take its folder out of PYTHONPATH"
        )
    return ""


def _modules_of_the_user(error: Exception) -> Iterator[tuple[str, str]]:
    """Yield name and file of the modules at the top of folders of the user's that are imported, or failed to be."""
    library = os.path.dirname(os.__file__)
    ahead = sys.path[: sys.path.index(library)] if library in sys.path else []
    others = [path for path in sys.path if not path.startswith(library) and not _holds_installed(path)]
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    failed: BaseException | None = error
    while failed is not None:
        step = failed.__traceback__
        while step is not None:
            files.append(step.tb_frame.f_code.co_filename)
            step = step.tb_next
        files += [str(failed.filename)] if isinstance(failed, SyntaxError) else []
        failed = failed.__cause__ or failed.__context__
    folders = {os.path.abspath(folder) for folder in [*ahead, *others]}
    for file in dict.fromkeys(files):
        path = file.removesuffix(f"{os.sep}__init__.py")
        folder, name = os.path.split(path.removesuffix(".py"))
        if folder in folders and name != __package__:
            yield name, file


def _holds_installed(folder: str) -> bool:
    return os.path.basename(folder) in ("site-packages", "dist-packages")


def _is_installed(name: str, folders: Sequence[str] = ()) -> bool:
    """Return whether a package is among those installed into Python's folders, or into these."""
    for folder in folders or filter(_holds_installed, sys.path):
        if PathFinder.find_spec(name, [folder]) and any(entry.endswith("-info") for entry in os.listdir(folder)):
            return True
    return False
