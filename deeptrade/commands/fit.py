"""train the forecaster, and an agent that trades on it; run it again to continue"""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..planning.children import bound_command, run_attached
from ..run_folder import TrainingFolder
from ..settings import FitSettings
from ..trading.settings import AgentSettings
from .console import add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade fit`: every field of FitSettings and of AgentSettings."""
    add_settings(parser)
    add_settings(parser, kind=AgentSettings)


def run(options: argparse.Namespace) -> None:
    """Train.

    Where an agent follows, the forecaster is trained in a process of its own: what TensorFlow holds there is gone when
    the trainings of the second stage need the memory.
    """
    given, own = given_settings(options), given_settings(options, kind=AgentSettings)
    settings, agent = FitSettings(**given), AgentSettings(**own)
    if settings.skip_rl:
        from ..training.fit import fit

        for name in own:
            print_line(f"{name} has no effect with --skip_rl")
        fit(settings, given=frozenset(given), sink=print_line)
        return
    if agent.rl_csv:
        from ..trading.logged import read_log

        read_log(agent.rl_csv)  # what is wrong with it is told before hours of training
    _in_a_child(settings, [*given, "skip_rl"])
    from ..trading.stage import train_agent

    train_agent(TrainingFolder(settings.out_dir), agent, fresh=settings.fresh, sink=print_line)


def _in_a_child(settings: FitSettings, names: list[str]) -> None:
    """Train the forecaster; exit as the child does where it does not come to its end."""
    code = run_attached([*bound_command("deeptrade"), *replace(settings, skip_rl=True).as_arguments(names)])
    if code:
        raise SystemExit(code)
