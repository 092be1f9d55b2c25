"""write the pages of any run or walk, even a killed one, from its files"""

from __future__ import annotations

import argparse

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade report`."""
    parser.add_argument("folder", metavar="DIR")


def run(options: argparse.Namespace) -> None:
    """Write the pages."""
    from ..files import user_path
    from ..report.index import report_pages
    from ..report.walk_page import write_walk_pages
    from ..run_folder import WalkFolder

    if WalkFolder(user_path(options.folder)).state.exists():
        print_line(f"report: {write_walk_pages(options.folder)}")
    else:
        report_pages(options.folder, sink=print_line)
