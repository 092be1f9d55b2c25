"""set runs side by side, in DIR/compare.html"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade compare`."""
    parser.add_argument("folders", nargs="+", metavar="DIR", help="runs, or folders that hold runs")
    parser.add_argument("--out", metavar="DIR", help="default: the first folder")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from ..report.compare_page import write_comparison

    path = write_comparison(options.folders, out=options.out or options.folders[0])
    print_line(f"comparison: {path}")
