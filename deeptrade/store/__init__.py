"""Compiled stores: data parsed once into flat files that are mapped. Needs no TensorFlow.

`layout` says what a store holds on disk, `compile` makes one and continues it, `locate` finds the store of some data
and tells whether it is current, `reader` reads and verifies it, `origin` publishes one to an address and attaches to
it, `cache` holds what is here of it. Which rows train, in which order, is decided in `data`.
"""

from .compile import compile_store
from .layout import read_manifest
from .locate import Located, is_current, is_store, locate, store_path
from .origin import local_store
from .reader import read_store, verify_store

__all__ = [
    "Located",
    "compile_store",
    "is_current",
    "is_store",
    "local_store",
    "locate",
    "read_manifest",
    "read_store",
    "store_path",
    "verify_store",
]
