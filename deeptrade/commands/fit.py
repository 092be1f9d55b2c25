"""train the forecaster; run it again to continue"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from ..cluster.local_workers import LocalWorkers
from ..cluster.multiworker import VARIABLE, in_team
from ..errors import LostWorkerError, SettingsError
from ..memory import MemoryLimits
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from .console import add_settings, given_settings, leave_at_once, print_line

PROGRAM = "deeptrade"
"""The module that a worker runs."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade fit`: every field of FitSettings, and how many processes train."""
    add_settings(parser)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that train together [1]")
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="times all workers start again after one is lost [0]"
    )


def run(options: argparse.Namespace) -> None:
    """Train, in this process or in several."""
    given = given_settings(options)
    settings, engine = FitSettings(**given), in_team()
    for name in ("workers", "restarts"):
        if getattr(options, name) < (name == "workers"):
            raise SettingsError(
                f"{name}={getattr(options, name)} is not accepted; use at least {int(name == 'workers')}"
            )
    if options.workers > 1 or options.restarts:
        if engine is not None:
            raise SettingsError(
                f"{VARIABLE} names this process as one of {engine.count} workers, so it starts none; leave out "
                "--workers and --restarts"
            )
        _supervise(settings, given, options.workers, options.restarts)
        return
    from ..training.fit import fit

    try:
        fit(settings, given=frozenset(given), sink=print_line, engine=engine)
    except LostWorkerError as error:
        leave_at_once(f"deeptrade fit: {error}", error.exit_code)


def _supervise(settings: FitSettings, given: Collection[str], workers: int, restarts: int) -> None:
    """Train in processes of this machine, each of which may hold its part of the memory."""
    limit_bytes = MemoryLimits.of(settings.memory_limit).smallest().limit_bytes // workers
    each = replace(settings, memory_limit=str(limit_bytes)) if workers > 1 else settings
    began, result = time.time(), TrainingFolder(settings.out_dir).result

    def command(attempt: int) -> Sequence[str]:
        names = {*given, "memory_limit"}
        if attempt and result.exists() and result.stat().st_mtime >= began:  # what --fresh started over is under way
            names.discard("fresh")
        arguments = each.as_arguments(names)
        return [sys.executable, "-m", PROGRAM, *arguments]

    LocalWorkers(command, count=workers, restarts=restarts, sink=print_line).run()
