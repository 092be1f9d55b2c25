"""train the forecaster, and an agent that trades on it; run it again to continue"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from ..cluster.local_workers import LocalWorkers
from ..cluster.multiworker import VARIABLE, in_team
from ..errors import LostWorkerError, SettingsError
from ..files import user_path
from ..memory import MemoryLimits
from ..planning.children import bound_command, run_attached
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from ..trading.settings import AgentSettings
from .console import add_settings, given_settings, leave_at_once, print_line

PROGRAM = "deeptrade"
"""The module that a worker runs."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade fit`: those of forecaster and agent, and how many processes train."""
    add_settings(parser)
    add_settings(parser, kind=AgentSettings)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that train together [1]")
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="times all workers start again after one is lost [0]"
    )


def run(options: argparse.Namespace) -> None:
    """Train the forecaster, in this process or in several, then the agent.

    Where an agent follows, the forecaster is trained in a process of its own: what TensorFlow holds there is gone when
    the trainings of the second stage need the memory.
    """
    given, own = given_settings(options), given_settings(options, kind=AgentSettings)
    settings, agent, is_in_team = FitSettings(**given), AgentSettings(**own), in_team() is not None
    if settings.skip_rl or is_in_team:
        for name in own:
            print_line(f"{name} has no effect {'in a team' if is_in_team else 'with --skip_rl'}")
        if not settings.skip_rl:
            print_line("a team trains no agent; run the same command once more in one process, and one is added")
        _train(options, settings, given)
        return
    user_path(agent.rl_out)  # refuses an address
    if agent.rl_csv:
        from ..trading.logged import read_log

        read_log(agent.rl_csv)  # what is wrong with it is told before hours of training
    _in_a_child(options, settings, given)
    from ..trading.stage import train_agent

    train_agent(TrainingFolder(settings.out_dir), agent, fresh=settings.fresh, sink=print_line)


def _in_a_child(options: argparse.Namespace, settings: FitSettings, given: Collection[str]) -> None:
    """Train the forecaster; exit as the child does where it does not come to its end."""
    arguments = replace(settings, skip_rl=True).as_arguments([*given, "skip_rl"])
    team = [f"--{name}={getattr(options, name)}" for name in ("workers", "restarts")]
    code = run_attached([*bound_command("deeptrade"), *arguments, *team])
    if code:
        raise SystemExit(code)


def _train(options: argparse.Namespace, settings: FitSettings, given: Collection[str]) -> None:
    """Train the forecaster, in this process or in several."""
    engine = in_team()
    for name, least in (("workers", 1), ("restarts", 0)):
        if getattr(options, name) < least:
            raise SettingsError(f"{name}={getattr(options, name)} is not accepted; use at least {least}")
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
    each = replace(settings, memory_limit=f"{limit_bytes}B") if workers > 1 else settings
    began, result = time.time(), TrainingFolder(settings.out_dir).result

    def command(attempt: int) -> Sequence[str]:
        names = {*given, "memory_limit"}
        if attempt and result.exists() and result.stat().st_mtime >= began:  # what --fresh started over is under way
            names.discard("fresh")
        arguments = each.as_arguments(names)
        return [*bound_command(PROGRAM), *arguments]

    LocalWorkers(command, count=workers, restarts=restarts, sink=print_line).run()
