"""judge a run's forecasts: the verdict on skill, and scores with intervals"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade evaluate`."""
    parser.add_argument("folder", metavar="DIR", help="the folder of a run, or what fit --out wrote")
    parser.add_argument("--csv", default="", metavar="DATA", help="the run's data, where it has moved since")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampled blocks [%(default)s]")


def run(options: argparse.Namespace) -> None:
    """Write evaluation.json, and print what it says."""
    from ..files import user_path
    from ..judging.evaluate import evaluate
    from ..report import tables
    from ..run_folder import RunFolder
    from ..training.runtime import quiet_start

    folder = RunFolder(user_path(options.folder)).training
    with quiet_start():
        judged = evaluate(folder.folder, data=options.csv, seed=options.seed)
    print_line(tables.verdict(judged))
    for table in (tables.scores(judged), tables.directions(judged)):
        print_line(table.to_string(index=False))
    print_line(tables.baselines_line(judged))
    print_line(f"{folder.evaluation}")
