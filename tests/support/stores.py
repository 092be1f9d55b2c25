"""What tests of stores share."""

from pathlib import Path

from deeptrade.store import compile_store


def make(data, store, **options):
    return compile_store(data, store=store, max_bad_rows=0.1, **options)


def contents(store):
    """Every file of a store, by name."""
    return {path.name: path.read_bytes() for path in sorted(Path(store).iterdir())}
