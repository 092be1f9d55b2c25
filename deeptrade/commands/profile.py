"""say what a data file holds, in DIR/profile.json"""

from __future__ import annotations

import argparse

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
        f"{result['name']}: {rows['read']} rows, {rows['rejected']} rejected, {len(result['features'])} features, "
        f"{len(result['targets'])} horizons, {result['span']['start']} to {result['span']['end']}; "
        f"written to {options.out}/profile.json"
    )
