"""turn klines of any origin into DeepTrade rows"""

from __future__ import annotations

import argparse

from .console import add_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade build`."""
    by_bars = "by the bars: 5min,15min,1h and 20min for those of 1 or 5 minutes"
    parser.add_argument(
        "klines", nargs="+", metavar="KLINES", help="klines as CSV (also .gz, .zip), JSON, Feather or Parquet"
    )
    parser.add_argument("--out", required=True, metavar="OUT.csv")
    parser.add_argument("--timeframes", help=f"bar lengths, separated by commas [{by_bars}]")
    parser.add_argument("--window", type=int, default=241, help="bars per window [%(default)s]")
    parser.add_argument("--step", help="time between rows and between horizons [by the bars]")
    parser.add_argument("--horizons", type=int, default=10, help="targets, in steps ahead [%(default)s]")
    parser.add_argument("--market", default="", metavar="NAME", help="the one market of all files [by their names]")
    parser.add_argument(
        "--session",
        default="none",
        metavar="{none,auto}",
        help="auto: windows cross regular closing hours [%(default)s]",
    )
    parser.add_argument(
        "--duplicates",
        default="error",
        metavar="{error,first,last}",
        help="which of two different bars of one time is kept [%(default)s]",
    )
    add_settings(parser, "memory_limit")


def run(options: argparse.Namespace) -> None:
    """Write the rows."""
    from ..making.klines import build
    from ..sources.kinds import find_klines

    build(
        [one for path in options.klines for one in find_klines(path)],
        out=options.out,
        timeframes=None if options.timeframes is None else tuple(options.timeframes.split(",")),
        window=options.window,
        step=options.step,
        horizons=options.horizons,
        market=options.market,
        session=options.session,
        duplicates=options.duplicates,
        memory_limit=getattr(options, "memory_limit", ""),
        sink=print_line,
    )
