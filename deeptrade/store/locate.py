"""Where the store of some data is, and whether it is current.

A store knows its source by content alone. That a source was looked at, with which sizes and times, is noted in a file
beside the store: while they stay, nothing has to be read to know that the store is good.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DoesNotFitError
from ..files import cache_folder, is_address, read_json, user_path, write_json
from ..inputs import states
from ..settings import AS_THEY_COME, Arrangement, data_name
from ..sources.kinds import open_source
from ..sources.protocol import Source
from ..sources.remote.address import Address
from .layout import ENDING, MANIFEST, TIMESTAMPS, BlockRecord, Manifest, is_complete, read_manifest
from .origin import attach, copy_of, holds_store, local_store


@dataclass(frozen=True)
class Located:
    """Some data and where its store is: found once by `locate`, and handed on.

    `data` as the user named it; `store` where its store lies or belongs; `source` the data opened, None where it is a
    store itself; `manifest` that of the store where it holds exactly what the data holds now, else None; `address`
    where the store is published, `store` then being its copy here, and None for a store at home here.
    """

    data: str | Path
    store: Path
    source: Source | None
    manifest: Manifest | None
    address: Address | None = None

    @property
    def is_stored(self) -> bool:
        """Whether a store holds what the data holds now."""
        return self.manifest is not None

    def opened(self) -> Source:
        """Return the source; DataError where the data is a store."""
        if self.source is None:
            raise DataError(f"{self.data} is a store already; give the data it was made of, or verify it")
        return self.source

    def again(self) -> Located:
        """Return where the data is now; the source is opened again only if its files have changed."""
        if self.source is None or states(self.source.watched) != self.source.seen:
            store = str(self.address or self.store)
            if self.source is None:
                return locate(self.data, store=store)
            schema = self.source.schema
            return locate(
                self.data,
                store=store,
                horizons=schema.horizons,
                arrangement=self.source.arrangement,
                needs_targets=schema.target_source != "none",
            )
        return replace(self, manifest=_current_manifest(self.store, self.source))


def locate(
    data: str | Path | Located,
    *,
    store: str | Path = "",
    horizons: int = 10,
    arrangement: Arrangement = AS_THEY_COME,
    needs_targets: bool = True,
) -> Located:
    """Open some data and find its store.

    store: where it lies (default: beside the data); horizons: targets computed where the data holds a price only;
    arrangement: of rows that do not ascend in time; needs_targets: refuse data without any. What is located already is
    returned as it is. Raises DataError where there is no data.
    """
    if isinstance(data, Located):
        return data
    if is_store(data):
        path = local_store(data)
        return Located(data, path, None, read_manifest(path), Address.of(data) if is_address(data) else None)
    address = Address.of(store) if is_address(store) else None
    path = store_path(data, store)
    if address is not None:
        attach(address, path)
    source = open_source(data, horizons=horizons, arrangement=arrangement, needs_targets=needs_targets)
    return Located(data, path, source, _current_manifest(path, source), address)


def _current_manifest(store: Path, source: Source) -> Manifest | None:
    return read_manifest(store) if store.exists() and is_current(store, source) else None


def store_path(data: str | Path, store: str | Path = "") -> Path:
    """Return where the store of `data` belongs: `store` where given, else NAME.dtstore beside the data.

    Where that folder cannot be written, and for data at an address, in the user's cache folder. Data that is a store is
    its own. Of a store at an address, where its copy here belongs.
    """
    if store:
        return copy_of(Address.of(store)) if is_address(store) else user_path(store)
    if is_address(data):
        return copy_of(Address.of(data))
    path = user_path(data)
    if is_store(path):
        return path
    beside = Path(os.path.abspath(path)).parent
    name = data_name(data) + ENDING
    if (beside / name).exists() or os.access(beside, os.W_OK):
        return beside / name
    return cache_folder(os.path.abspath(path)) / name


def is_store(path: str | Path) -> bool:
    """Whether a path is a compiled store, by its ending or its manifest."""
    if is_address(path):
        return holds_store(Address.of(path))
    path = user_path(path)
    return path.is_dir() and (path.suffix == ENDING or (path / MANIFEST).is_file())


def partial_path(store: Path) -> Path:
    """Return the folder in which a store is made."""
    return store.with_name(f".{store.name}.partial")


def _seen_path(store: Path) -> Path:
    return store.with_name(f".{store.name}.seen")


def note_seen(store: Path, content_hash: str, seen: list[list[int | str]]) -> None:
    """Record, beside a store, that files with these sizes and times hold this content."""
    write_json(_seen_path(store), {"content_hash": content_hash, "files": seen})


def _is_seen(store: Path, content_hash: str, seen: list[list[int | str]]) -> bool:
    path = _seen_path(store)
    return path.exists() and read_json(path) == {"content_hash": content_hash, "files": seen}


def find_manifest(store: Path) -> Manifest | None:
    """Return the manifest of a store that is there and can be read, else None."""
    try:
        return read_manifest(store) if (store / MANIFEST).is_file() else None
    except DataError:
        return None


def reading_of(source: Source) -> dict[str, Any]:
    """Return how a source's bytes are read; blocks made under another reading are useless."""
    reading = {"kind": source.kind, "columns": list(source.columns), "schema": source.schema.to_json()}
    return reading if source.arrangement.is_default else reading | {"arrangement": source.arrangement.to_json()[0]}


def is_current(store: Path, source: Source, *, full_check: bool = False) -> bool:
    """Whether a store holds exactly what its source holds now.

    Sizes and times seen before answer at once; after a change of time alone every byte is hashed, and the new time is
    noted. full_check hashes in any case.
    """
    manifest = find_manifest(store)
    if manifest is None or manifest.source["reading"] != reading_of(source) or not is_complete(store, manifest):
        return False
    if not is_in_time_order(store, manifest):
        return False
    content_hash = manifest.source["content_hash"]
    if _is_seen(store, content_hash, source.seen) and not full_check:
        return True
    sizes = [file.size for file in source.watched]
    if sizes != manifest.source["file_sizes"] or len(find_sound(source, manifest.blocks)) < len(manifest.blocks):
        return False
    with suppress(DataError, DoesNotFitError):  # not writable: the next check costs as much
        note_seen(store, content_hash, source.seen)
    return True


def is_in_time_order(store: Path, manifest: Manifest) -> bool:
    """Return whether rows ascend in time; stores of earlier versions kept rows out of order, so they are looked at."""
    if "in_time_order" in manifest.source:
        return True
    return bool((np.diff(np.fromfile(store / TIMESTAMPS, "<i8")) > 0).all())


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
