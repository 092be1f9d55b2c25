"""turn exchange klines into DeepTrade rows"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade build`."""
    parser.add_argument("klines", nargs="+", metavar="KLINES", help="exchange klines, .csv or .csv.gz")
    parser.add_argument("--out", required=True, metavar="OUT.csv")
    parser.add_argument("--timeframes", default="5min,15min,1h", help="bar lengths, separated by commas [%(default)s]")
    parser.add_argument("--window", type=int, default=241, help="bars per window [%(default)s]")
    parser.add_argument("--step", default="20min", help="time between rows and between horizons [%(default)s]")
    parser.add_argument("--horizons", type=int, default=10, help="targets, in steps ahead [%(default)s]")


def run(options: argparse.Namespace) -> None:
    """Write the rows."""
    from ..making.klines import build

    build(
        options.klines,
        out=options.out,
        timeframes=tuple(options.timeframes.split(",")),
        window=options.window,
        step=options.step,
        horizons=options.horizons,
        sink=print_line,
    )
