"""judge the forecasts of a run or a walk: the verdict on skill, and scores with intervals"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..run_folder import EVALUATION
from .console import print_line

if TYPE_CHECKING:
    from ..judging.evaluation import Evaluation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade evaluate`."""
    parser.add_argument("folder", metavar="DIR", help="the folder of a run or a walk, or what fit --out wrote")
    parser.add_argument("--csv", default="", metavar="DATA", help="the run's data, where it has moved since")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampled blocks [%(default)s]")


def run(options: argparse.Namespace) -> None:
    """Write evaluation.json, and print what it says."""
    from ..files import user_path
    from ..judging.evaluate import evaluate
    from ..report.walk_page import write_walk_pages
    from ..run_folder import RunFolder, WalkFolder
    from ..training.runtime import quiet_start

    folder = user_path(options.folder)
    is_walk = WalkFolder(folder).state.exists()
    folder = folder if is_walk else RunFolder(folder).training.folder
    with quiet_start():
        judged = evaluate(folder, data=options.csv, seed=options.seed)
    print_evaluation(judged, folder / EVALUATION)
    if is_walk:
        print_line(f"report: {write_walk_pages(folder)}")


def print_evaluation(judged: Evaluation, path: Path) -> None:
    """Print the verdict and the scores, and where they are written."""
    from ..report import tables

    print_line(tables.verdict(judged))
    for table in (tables.scores(judged), tables.directions(judged)):
        print_line(table.to_string(index=False))
    print_line(tables.baselines_line(judged))
    print_line(tables.costs_line(judged.costs))
    print_line(f"{path}")
