"""parse data once, into a memory-mapped store; continues after a kill"""

from __future__ import annotations

import argparse
from contextlib import closing

from ..progress import ByteProgress
from ..settings import FitSettings
from .console import add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade compile`."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="blocks read at once; 0: all processors [0]"
    )
    parser.add_argument("--full_check", action="store_true", help="compare every byte with what the store was made of")
    parser.add_argument("--fresh", action="store_true", help="start over")
    add_settings(parser, "store", "memory_limit", "chunk_size", "max_bad_rows", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Make the store."""
    from ..store import compile_store

    settings = FitSettings(**given_settings(options, without=["fresh"]))
    with closing(ByteProgress("compiling", sink=print_line)) as progress:
        path = compile_store(
            options.data,
            store=settings.store,
            workers=options.workers,
            memory_limit=settings.memory_limit,
            chunk_size=settings.chunk_size,
            max_bad_rows=settings.max_bad_rows,
            sort=settings.sort,
            duplicates=settings.duplicates,
            full_check=options.full_check,
            fresh=options.fresh,
            sink=print_line,
            progress=progress,
        )
    print_line(f"store: {path}")
