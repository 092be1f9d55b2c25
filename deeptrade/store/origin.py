"""A store at an address, and its copy here: sparse files of full length, into which blocks are fetched on use.

Beside its address lies the manifest alone; the files lie below it in a folder named after the manifest's own hash, so
that two publishers never write to one name, and a reader's files stay until a new manifest has taken the place of the
old one. A store that was copied there by other means, its files beside the manifest, is read as well.

The copy is a store like any other, in the user's cache folder, with `origin.json`: where it comes from, and the e-tag
of every file, on which all requests are made.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xxhash

from ..errors import DataError
from ..files import (
    atomic_write,
    cache_folder,
    friendly_os_errors,
    is_address,
    locked_folder,
    read_json,
    user_path,
    write_json,
)
from ..settings import data_name
from ..sources.remote import client
from ..sources.remote.address import Address
from ..sources.remote.files import RemoteFile
from .layout import ENDING, LEDGER, MANIFEST, ORIGIN, all_columns, read_manifest


@dataclass(frozen=True)
class Origin:
    """Where the copy of a store comes from: its address, and its files there by their names here."""

    address: Address
    files: Mapping[str, RemoteFile]

    def write(self, store: Path) -> None:
        """Note it in the copy."""
        files = {name: [file.address.key, file.size, file.e_tag] for name, file in self.files.items()}
        write_json(store / ORIGIN, {"address": str(self.address), "files": files})


def read_origin(store: Path) -> Origin | None:
    """Return where the copy of a store comes from; None for a store that is at home here."""
    if not (store / ORIGIN).is_file():
        return None
    content = read_json(store / ORIGIN)
    address = Address.of(content["address"])
    return Origin(
        address, {name: RemoteFile(address.at(key), *rest) for name, (key, *rest) in content["files"].items()}
    )


def local_store(store: str | Path) -> Path:
    """Return the folder of a store: where it is, or its copy here where it is at an address.

    Raises DataError where there is none at the address.
    """
    if not is_address(store):
        return user_path(store)
    address = Address.of(store)
    copy = copy_of(address)
    if not attach(address, copy):
        raise DataError(
            f"{address} holds no store: no {MANIFEST}; publish one: deeptrade compile DATA --store {address}"
        )
    return copy


def copy_of(address: Address) -> Path:
    """Return where the copy of the store at an address lies, in the user's cache folder."""
    return cache_folder(str(address)) / (data_name(str(address)) + ENDING)


def holds_store(address: Address) -> bool:
    """Return whether an address is that of a store, by its ending or its manifest."""
    client.need_client(address)
    return address.name.endswith(ENDING) or client.head(address.child(MANIFEST)) is not None


def manifest_hash(content: bytes) -> str:
    """Return the XXH3-128 of a manifest, the name of the folder that holds its files."""
    return xxhash.xxh3_128_hexdigest(content)


def attach(address: Address, store: Path) -> bool:
    """Make `store` the copy of the store at an address as it is now, and return whether there is one.

    What the copy holds of that store stays. Raises DataError where files of the store are missing or cut off.
    """
    client.need_client(address)
    found = client.get_whole(address.child(MANIFEST))
    if found is None:
        if (store / ORIGIN).exists():  # of a store that was removed
            shutil.rmtree(store)
        return False
    manifest = found[1]
    files = {name: RemoteFile(one.address, one.size, one.e_tag) for name, one in _files_of(address, manifest).items()}
    origin = Origin(address, files)
    if not _holds(store, manifest):
        _make_copy(store, manifest, origin)
    _refuse_incomplete(store, origin)
    if read_origin(store) != origin:
        origin.write(store)
    return True


def _holds(store: Path, manifest: bytes) -> bool:
    path = store / MANIFEST
    return path.is_file() and path.read_bytes() == manifest


def _files_of(address: Address, manifest: bytes) -> dict[str, client.Found]:
    """The objects of a store by file name: those in the folder of its manifest, else those beside it."""
    found = client.listed(address)
    inside = address.child(manifest_hash(manifest)).key + "/"
    parts = [one for one in found if one.address.key.startswith(inside)]
    beside = [one for one in found if "/" not in one.address.key.removeprefix(address.key).lstrip("/")]
    return {one.address.name: one for one in parts or beside if one.address.name != MANIFEST}


def _make_copy(store: Path, manifest: bytes, origin: Origin) -> None:
    """Put an empty copy in the place of another: files of full length without content, the manifest, and the ledger."""
    making = store.with_name(f".{store.name}.attaching")
    with friendly_os_errors(f"making the cache of {origin.address}"):
        store.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(making, taken=lambda: None), friendly_os_errors(f"making the cache of {origin.address}"):
        if _holds(store, manifest):  # another process has just made it
            return
        for left in making.iterdir():
            left.unlink()
        (making / MANIFEST).write_bytes(manifest)
        content = read_manifest(making)
        for column in all_columns(content.schema):
            items = len(content.blocks) if column.per_block else content.usable
            with open(making / column.file, "wb") as file:
                file.truncate(items * column.stride)
        ledger = client.get_whole(origin.files[LEDGER].address) if LEDGER in origin.files else None
        with atomic_write(making / LEDGER) as file:
            file.write(b"" if ledger is None else ledger[1])
        origin.write(making)
        old = store.with_name(f".{store.name}.former")
        shutil.rmtree(old, ignore_errors=True)
        if store.exists():
            os.rename(store, old)  # readers that have it open keep what they have
        os.rename(making, store)
        shutil.rmtree(old, ignore_errors=True)


def _refuse_incomplete(store: Path, origin: Origin) -> None:
    manifest = read_manifest(store)
    for column in all_columns(manifest.schema):
        needed = (len(manifest.blocks) if column.per_block else manifest.usable) * column.stride
        file = origin.files.get(column.file)
        if needed and (file is None or file.size != needed):
            what = "is missing" if file is None else f"has {file.size} bytes instead of {needed}"
            raise DataError(
                f"{origin.address}/{column.file} {what}; publish the store again: deeptrade compile DATA --store "
                f"{origin.address} --fresh"
            )


def publish(store: Path, address: Address, *, replace: bool) -> None:
    """Write a store to an address, its files first and its manifest last, and note in it where it is.

    After a kill it goes on with the files that are not there yet. An equal store that is there already stays. Raises
    ExistsError where another store is there, also one that another process has published meanwhile, unless `replace`.
    """
    manifest = (store / MANIFEST).read_bytes()
    former = client.get_whole(address.child(MANIFEST))
    if former is not None and former[1] != manifest and not replace:
        raise other_store(address)
    if former is None or former[1] != manifest:
        home = address.child(manifest_hash(manifest))
        _upload(store, home)
        if former is not None:
            client.delete([address.child(MANIFEST)])
        try:
            client.put(address.child(MANIFEST), manifest, create=True)
        except client.ExistsError:
            _refuse_other(address, manifest, home)
        if former is not None:
            client.delete([one.address for one in client.listed(address.child(manifest_hash(former[1])))])
    attach(address, store)
    _notes(store).unlink(missing_ok=True)


def _refuse_other(address: Address, manifest: bytes, home: Address) -> None:
    """Raise ExistsError where the manifest at an address is not this one; what was written for it is removed."""
    there = client.get_whole(address.child(MANIFEST))
    if there is None or there[1] != manifest:
        client.delete([one.address for one in client.listed(home)])
        raise other_store(address)


def other_store(address: Address) -> client.ExistsError:
    """Return the one line for an address that holds a store of something else."""
    return client.ExistsError(
        f"{address} holds a store of other data or options; give another --store, or --fresh to replace it"
    )


def _upload(store: Path, home: Address) -> None:
    """Write the files of a store that are not there as this process, or an earlier one, has written them."""
    notes = _notes(store)
    noted = json.loads(notes.read_text()) if notes.exists() else {}
    there = {one.address.name: one.e_tag for one in client.listed(home)}
    columns = all_columns(read_manifest(store).schema)
    for name in [column.file for column in columns] + [LEDGER]:
        key = home.child(name)
        if there.get(name) and there[name] == noted.get(str(key)):
            continue
        noted[str(key)] = client.put(key, store / name)
        write_json(notes, noted)


def _notes(store: Path) -> Path:
    return store.with_name(f".{store.name}.published")
