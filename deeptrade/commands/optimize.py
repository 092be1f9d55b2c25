"""choose settings that fit the machine, in DIR/plan.json"""

from __future__ import annotations

import argparse

from ..settings import MODEL_SIZES
from .console import add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade optimize`."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--effective_batch", type=int, default=32, help="rows per optimizer step [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="rules and memory model alone, no trial run")
    parser.add_argument("--model_size", default="small", choices=MODEL_SIZES)
    add_settings(parser, "encoder", "store", "memory_limit", "sort", "duplicates")


def run(options: argparse.Namespace) -> None:
    """Write the plan."""
    from ..planning.optimize import optimize

    optimize(
        options.data,
        out=options.out,
        effective_batch=options.effective_batch,
        quick=options.quick,
        sink=print_line,
        **given_settings(options, without=["out"]),
    )
