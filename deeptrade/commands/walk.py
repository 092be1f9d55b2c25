"""train on the past, judge on the time after it, over and over; run it again to continue"""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from ..judging.walk_settings import OWN, WalkSettings, default_folder
from ..settings import FitSettings
from .console import add_cluster, add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade walk`: its own, and those of `fit` that it does not set itself."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", metavar="DIR", help="default: runs/NAME-walk of the data file")
    parser.add_argument("--fresh", action="store_true", help="start over, even where a finished or started walk exists")
    add_cluster(parser)
    add_settings(parser, kind=WalkSettings)
    add_settings(parser, without=OWN)


def run(options: argparse.Namespace) -> None:
    """Walk, and print what evaluation.json says."""
    from ..cluster.dask_cluster import connected
    from ..judging.walk import walk
    from ..planning.jobs import in_child
    from ..report.walk_page import write_walk_pages
    from ..run_folder import WalkFolder
    from .evaluate import print_evaluation

    out = options.out or default_folder(options.data)
    given = given_settings(options, without=OWN)
    own = given_settings(options, kind=WalkSettings)
    settings = FitSettings(csv=options.data, out=out, **given)
    with connected(options.cluster) if options.cluster else nullcontext() as cluster:
        judged = walk(
            settings,
            WalkSettings(**own),
            given=frozenset(given),
            fresh=options.fresh,
            sink=print_line,
            start=cluster.start if cluster else in_child,
            at_once=cluster.workers if cluster else 1,
        )
    print_evaluation(judged, WalkFolder(settings.out_dir).evaluation)
    print_line(f"report: {write_walk_pages(settings.out_dir)}")
