"""make a seeded synthetic market in the DeepTrade CSV layout"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade synth`."""
    parser.add_argument("out", metavar="OUT.csv")
    parser.add_argument("--rows", type=int, required=True, metavar="N", help="rows to make, about 0.1 MB each")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes [0]")
    parser.add_argument("--signal", type=float, default=1.0, help="strength of the learnable signal; 0: none [1]")


def run(options: argparse.Namespace) -> None:
    """Write the market."""
    from ..making.synthetic import synthesize

    synthesize(options.out, rows=options.rows, seed=options.seed, signal=options.signal, sink=print_line)
