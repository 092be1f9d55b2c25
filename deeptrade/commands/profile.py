"""say what a data file holds, in DIR/profile.json"""

from __future__ import annotations

import argparse

from ..units import count_of
from .console import add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade profile`."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", required=True, metavar="DIR")
    add_settings(parser, "store", "max_rows", "chunk_size", "memory_limit", "cache_limit", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Write the profile and print what it comes to."""
    from ..profiles.profile import profile

    given = given_settings(options, without=["out"])
    result = profile(options.data, out=options.out, sink=print_line, **given)
    rows = result["rows"]
    print_line(
        f"{result['name']}: {count_of(rows['read'], 'row')}, {rows['rejected']:,} rejected, "
        f"{count_of(len(result['features']), 'feature')}, {count_of(len(result['targets']), 'horizon')}, "
        f"{result['span']['start']} to {result['span']['end']}; "
        f"written to {options.out}/profile.json"
    )
