"""Where the store of some data lies, and whether it still holds what the data holds.

A store knows its source by content alone. That a source was looked at, with which sizes and times, is noted in a file
beside the store: while they stay, nothing has to be read to know that the store is good.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import DataError, DoesNotFitError
from ..files import read_json, user_path, write_json
from ..settings import data_name
from ..sources.protocol import Source
from .layout import ENDING, MANIFEST, BlockRecord, Manifest, is_complete, read_manifest


def store_path(data: str | Path, store: str | Path = "") -> Path:
    """Return where the store of `data` belongs: `store` where given, else NAME.dtstore beside the data.

    Where that folder cannot be written, in the user's cache folder. Data that is a store is its own.
    """
    if store:
        return user_path(store)
    path = user_path(data)
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
    path = user_path(path)
    return path.is_dir() and (path.suffix == ENDING or (path / MANIFEST).is_file())


def partial_path(store: Path) -> Path:
    """Return the folder in which a store is made."""
    return store.with_name(f".{store.name}.partial")


def _seen_path(store: Path) -> Path:
    return store.with_name(f".{store.name}.seen")


def note_seen(store: Path, content_hash: str, seen: list[list[int]]) -> None:
    """Note beside a store that this content is what files of these sizes and times hold."""
    write_json(_seen_path(store), {"content_hash": content_hash, "files": seen})


def _is_seen(store: Path, content_hash: str, seen: list[list[int]]) -> bool:
    path = _seen_path(store)
    return path.exists() and read_json(path) == {"content_hash": content_hash, "files": seen}


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
    if manifest is None or manifest.source["reading"] != reading_of(source) or not is_complete(store, manifest):
        return False
    content_hash = manifest.source["content_hash"]
    if _is_seen(store, content_hash, source.seen) and not full_check:
        return True
    sizes = [size for size, _ in source.seen]
    if sizes != manifest.source["file_sizes"] or len(find_sound(source, manifest.blocks)) < len(manifest.blocks):
        return False
    with suppress(DataError, DoesNotFitError):  # a place that cannot be written: the next look costs as much
        note_seen(store, content_hash, source.seen)
    return True


def find_sound(source: Source, records: Sequence[BlockRecord]) -> list[BlockRecord]:
    """Return the first of these blocks whose bytes in the source are what they were, up to the first that differs.

    A block that would end elsewhere now differs, and so do all blocks of later files where something follows the last
    block of a file.
    """
    sound: list[BlockRecord] = []
    whole_file = True
    for record, found in zip(records, source.check([record.place for record in records]), strict=False):
        files_on = record.place.file - (sound[-1].place.file if sound else 0)
        same = found.ends_block and found.source_hash == record.source_hash
        if files_on > 1 or (files_on and not whole_file) or not same:
            break
        sound.append(record)
        whole_file = found.ends_file
    return sound
