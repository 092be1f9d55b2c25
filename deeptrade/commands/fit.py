"""train the forecaster; run it again to continue"""

from __future__ import annotations

import argparse

from ..settings import FitSettings
from .console import add_settings, given_settings, print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade fit`: every field of FitSettings."""
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """Train."""
    from ..training.fit import fit

    given = given_settings(options)
    fit(FitSettings(**given), given=frozenset(given), sink=print_line)
