"""check every checksum of a store"""

from __future__ import annotations

import argparse

from ..errors import DataError
from .console import print_line

_MOST_PLACES = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade verify`."""
    parser.add_argument("store", metavar="STORE")


def run(options: argparse.Namespace) -> None:
    """Check the store; DataError names what is damaged."""
    from ..store import verify_store

    damage = verify_store(options.store)
    if damage:
        more = f" and {len(damage) - _MOST_PLACES} more" if len(damage) > _MOST_PLACES else ""
        places = "; ".join(damage[:_MOST_PLACES])
        raise DataError(f"{options.store} is damaged: {places}{more}; compile it again with --fresh")
    print_line(f"{options.store}: every block of every file matches its checksum")
