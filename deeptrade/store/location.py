"""Where the store of some data lies, and whether it still holds what the data holds.

A store knows its source by content alone. That a source was looked at, with which sizes and times, is noted in a file
beside the store: while they stay, nothing has to be read to know that the store is good.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import DataError
from ..files import read_json, write_json
from ..settings import data_name
from .layout import ENDING, MANIFEST, Manifest, read_manifest


def store_path(data: str | Path, store: str | Path = "") -> Path:
    """Return where the store of `data` belongs: `store` where given, else NAME.dtstore beside the data.

    Where that folder cannot be written, in the user's cache folder. Data that is a store is its own.
    """
    if store:
        return Path(store)
    path = Path(data)
    if is_store(path):
        return path
    beside = Path(os.path.abspath(path)).parent
    name = data_name(data) + ENDING
    if (beside / name).exists() or os.access(beside, os.W_OK):
        return beside / name
    key = hashlib.sha256(str(Path(os.path.abspath(path))).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("deeptrade")) / key / name


def is_store(path: str | Path) -> bool:
    """Whether a path is a compiled store, by its ending or its manifest."""
    path = Path(path)
    return path.is_dir() and (path.suffix == ENDING or (path / MANIFEST).is_file())


def partial_path(store: Path) -> Path:
    """Return the folder in which a store is made."""
    return store.with_name(f".{store.name}.partial")


def _seen_path(store: Path) -> Path:
    return store.with_name(f".{store.name}.seen")


def look(paths: Sequence[Path]) -> list[list[Any]]:
    """Return size and time of change (ns) of every file."""
    return [[status.st_size, status.st_mtime_ns] for status in (path.stat() for path in paths)]


def note_seen(store: Path, seen: list[list[Any]]) -> None:
    """Note beside a store that it holds what files of these sizes and times hold."""
    write_json(_seen_path(store), seen)


def is_seen(store: Path, seen: list[list[Any]]) -> bool:
    """Whether the store is known to hold what files of these sizes and times hold."""
    path = _seen_path(store)
    return path.exists() and read_json(path) == seen


def find_manifest(store: Path) -> Manifest | None:
    """Return the manifest of a store that is there and can be read, else None."""
    try:
        return read_manifest(store) if (store / MANIFEST).is_file() else None
    except DataError:
        return None


def reading_of(source: Any) -> dict[str, Any]:
    """Return how a source's bytes are understood: blocks made under another reading are of no use."""
    return {"kind": source.kind, "columns": list(source.columns), "schema": source.schema.to_json()}


def is_current(store: Path, source: Any, *, full_check: bool = False) -> bool:
    """Whether a store holds exactly what its source holds now.

    Sizes and times seen before answer at once; after a change of time alone every byte is hashed, and the new time is
    noted. full_check hashes in any case.
    """
    manifest = find_manifest(store)
    if manifest is None or manifest.source["reading"] != reading_of(source):
        return False
    seen = look(source.paths)
    if is_seen(store, seen) and not full_check:
        return True
    sizes = [size for size, _ in seen]
    if sizes != manifest.source["file_sizes"]:
        return False
    now = source.check([block.place for block in manifest.blocks])
    if [(block.source_hash, True) for block in manifest.blocks] != list(now):
        return False
    note_seen(store, seen)
    return True
