"""write the rows of a store to a Parquet file"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade export`."""
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("out", metavar="OUT.parquet")


def run(options: argparse.Namespace) -> None:
    """Write the file."""
    from ..store.export import export_parquet

    export_parquet(options.store, options.out, sink=print_line)
