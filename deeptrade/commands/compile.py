"""parse data once, into a memory-mapped store; continues after a kill"""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DeepTradeError, SettingsError
from ..files import is_address
from ..progress import ByteProgress
from ..settings import FitSettings
from ..units import count_of
from .console import add_cluster, add_settings, given_settings, print_line

if TYPE_CHECKING:
    from ..store.summary import TooManyBadRowsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade compile`."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="blocks read at once; 0: all processors [0]"
    )
    parser.add_argument("--full_check", action="store_true", help="compare every byte with what the store was made of")
    parser.add_argument("--fresh", action="store_true", help="start over")
    add_cluster(parser)
    add_settings(parser, "store", "memory_limit", "cache_limit", "chunk_size", "max_bad_rows", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Make the store."""
    from ..cluster.dask_cluster import connected
    from ..store import compile_store, read_manifest, store_path
    from ..store.layout import LEDGER
    from ..store.summary import TooManyBadRowsError

    if options.cluster and options.workers:
        raise SettingsError(
            f"--workers {options.workers} is for this machine alone; leave it out: with --cluster all workers read"
        )
    settings = FitSettings(**given_settings(options, without=["fresh"]))
    refused = Path(f"{store_path(options.data, settings.store)}.{LEDGER}")
    with (
        connected(options.cluster) if options.cluster else nullcontext() as cluster,
        closing(ByteProgress("compiling", sink=print_line)) as progress,
    ):
        try:
            path = compile_store(
                options.data,
                store=settings.store,
                workers=options.workers,
                memory_limit=settings.memory_limit,
                cache_limit=settings.cache_limit,
                chunk_size=settings.chunk_size,
                max_bad_rows=settings.max_bad_rows,
                sort=settings.sort,
                duplicates=settings.duplicates,
                full_check=options.full_check,
                fresh=options.fresh,
                executor=cluster,
                sink=print_line,
                progress=progress,
            )
        except TooManyBadRowsError as error:
            raise _listed(error, refused) from None
    with suppress(OSError):
        refused.unlink()  # of an earlier call: it no longer holds
    print_line(f"store: {settings.store if is_address(settings.store) else path}")
    reasons = read_manifest(path).blocks.reasons
    if reasons:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        print_line(f"{count_of(reasons.total(), 'row')} rejected ({counts}), listed in {path / LEDGER}")


def _listed(error: TooManyBadRowsError, path: Path) -> TooManyBadRowsError:
    """Return the error with the path of its ledger, which is written there if it can be."""
    from ..store.ledger import write_ledger

    try:
        write_ledger(path, error.ledger)
    except DeepTradeError as unwritten:
        return type(error)(f"{error} (their list could not be left: {unwritten})", error.ledger)
    return type(error)(f"{error}; they are listed in {path}", error.ledger)
