"""write the pages of any run, even a killed one, from its files"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade report`."""
    parser.add_argument("folder", metavar="DIR")


def run(options: argparse.Namespace) -> None:
    """Write the pages."""
    from ..report.index import report_pages

    report_pages(options.folder, sink=print_line)
