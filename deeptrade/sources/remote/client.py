"""The client of object stores, obstore: the only module that knows it. Its errors become ours, one line each.

Credentials come by the client's own ways, from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) or the
machine's role. Its messages may hold key ids and signatures, so none of their text is passed on but a status code and
the name of an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import RemoteError, SettingsError
from .address import Address

RETRY: dict[str, Any] = {"max_retries": 10, "retry_timeout": timedelta(minutes=3)}
"""Answers such as 503, lost connections and slow ones are tried again, ever less often, for three minutes."""

READING: dict[str, Any] = {"timeout": timedelta(minutes=2), "read_timeout": timedelta(seconds=30)}
SENDING: dict[str, Any] = {"timeout": timedelta(minutes=10)}
"""How long one request may take, and stand still: a part of 8 MiB, four side by side, on a line of 60 KB/s."""

_PART_BYTES, _MOST_PARTS, _PARTS_AT_ONCE = 8 << 20, 9000, 4
"""Of an upload: stores accept 10,000 parts."""


@dataclass(frozen=True)
class Found:
    """An object: its address, size in bytes and e-tag, which changes with its content."""

    address: Address
    size: int
    e_tag: str


class ChangedError(RemoteError):
    """An object is not what it was when it was found."""


class ExistsError(RemoteError):
    """There is an object already where one was to be created."""


def head(address: Address) -> Found | None:
    """Return the object at an address; None where there is none."""
    with _told(address, "looking at"):
        try:
            return _found(address, _library().head(_connect(address), address.key))
        except FileNotFoundError:
            return None


def listed(folder: Address, *, deep: bool = True) -> list[Found]:
    """Return the objects below an address, sorted by key; with `deep` off, those directly below it."""
    with _told(folder, "listing"):
        if deep:
            found = [one for some in _library().list(_connect(folder), folder.key or None) for one in some]
        else:
            found = _library().list_with_delimiter(_connect(folder), folder.key or None)["objects"]
    return sorted((_found(folder, one) for one in found), key=lambda one: one.address.key)


def get(found: Found, start: int, stop: int) -> Any:
    """Return bytes [start, stop) of an object, as a buffer.

    Raises ChangedError where the object is no longer the one that was found: the request is made on its e-tag.
    """
    address, changed = found.address, ChangedError(f"{found.address} was overwritten while it was read; run again")
    with _told(address, "reading"):
        options = {"range": (start, stop), "if_match": found.e_tag or None}
        try:
            answer = _library().get(_connect(address), address.key, options=options)
            content = answer.bytes()
        except FileNotFoundError:
            raise ChangedError(f"{address} was removed while it was read; run again") from None
        except _library().exceptions.PreconditionError:
            raise changed from None
    if (found.e_tag and _quoted(answer.meta["e_tag"]) != found.e_tag) or answer.meta["size"] != found.size:
        raise changed  # a server that knows no conditions
    if len(content) != stop - start:
        raise RemoteError(f"{address} gave {len(content)} of {stop - start} bytes; run again")
    return content


def get_ranges(found: Found, starts: list[int], stops: list[int]) -> list[Any]:
    """Return several ranges of an object as buffers, asked for side by side, neighbours in one request.

    They are not conditional, which the client cannot make of several: for content that has a checksum of its own.
    """
    with _told(found.address, "reading"):
        try:
            store, key = _connect(found.address), found.address.key
            return _library().get_ranges(store, key, starts=starts, ends=stops, coalesce=0)
        except FileNotFoundError:
            raise ChangedError(f"{found.address} was removed while it was read; run again") from None


def get_whole(address: Address) -> tuple[Found, bytes] | None:
    """Return an object and its bytes; None where there is none."""
    with _told(address, "reading"):
        try:
            answer = _library().get(_connect(address), address.key)
            return _found(address, answer.meta), bytes(answer.bytes())
        except FileNotFoundError:
            return None


def put(address: Address, content: Path | bytes, *, create: bool = False) -> str:
    """Write an object, whole or not at all, and return its e-tag; a file in parts side by side.

    Raises ExistsError where `create` is on and there is one already.
    """
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    parts = {"chunk_size": max(_PART_BYTES, -(-size // _MOST_PARTS)), "max_concurrency": _PARTS_AT_ONCE}
    options: dict[str, Any] = {"mode": "create"} if create else parts
    with _told(address, "writing"):
        try:
            put = _library().put(_connect(address, sending=True), address.key, content, **options)
            return _quoted(put["e_tag"])
        except _library().exceptions.AlreadyExistsError:
            raise ExistsError(f"{address} is there already; give another address, or --fresh to replace it") from None


def delete(addresses: list[Address]) -> None:
    """Remove objects; those that are gone already do no harm."""
    for address in addresses:
        with _told(address, "removing"):
            try:
                _library().delete(_connect(address), address.key)
            except FileNotFoundError:
                continue


def need_client(address: Address) -> None:
    """Raise SettingsError where the extra that has the client is not installed."""
    try:
        _library()
    except ImportError:
        raise SettingsError(
            f"{address} needs the client of object stores, which is not installed: pip install 'deeptrade[cloud]'"
        ) from None


def _library() -> Any:
    import obstore
    import obstore.exceptions
    import obstore.store

    return obstore


def _connect(address: Address, *, sending: bool = False) -> Any:
    return _connected(address.scheme, address.bucket, sending)


@lru_cache(maxsize=64)
def _connected(scheme: str, bucket: str, sending: bool) -> Any:
    """The client's store of a bucket, and a mark that its threads run in this process."""
    _running_in.add(os.getpid())
    options = (SENDING if sending else READING) | _from_environment(scheme)
    return _library().store.from_url(f"{scheme}://{bucket}", retry_config=RETRY, client_options=options)


def _from_environment(scheme: str) -> dict[str, str]:
    """The options of connections that the environment sets, such as AWS_ALLOW_HTTP, which others would replace."""
    prefix = _PREFIXES[scheme]
    names = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "read_timeout", "timeout")
    return {name: os.environ[prefix + name.upper()] for name in names if prefix + name.upper() in os.environ}


_running_in: set[int] = set()


def _refuse_forked() -> None:
    """Raise RemoteError in a child that was forked: it has no copy of the client's threads, and would wait for ever."""
    if _running_in and os.getpid() not in _running_in:
        raise RemoteError(
            "a forked process cannot read from an object store after its parent has; start processes by spawn, such as "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))"
        )


def _found(near: Address, meta: Any) -> Found:
    return Found(near.at(meta["path"]), meta["size"], _quoted(meta["e_tag"]))


def _quoted(e_tag: str | None) -> str:
    """An e-tag as it is in headers; lists of Azure have it without quotes."""
    return f'"{e_tag}"' if e_tag and not e_tag.endswith('"') else e_tag or ""


@contextmanager
def _told(address: Address, action: str) -> Iterator[None]:
    """Raise RemoteError, one line, for what the client raises; our own errors pass."""
    need_client(address)
    _refuse_forked()
    errors = _library().exceptions
    try:
        yield
    except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
        raise _line(address, action, error, _credentials(address)) from None
    except FileNotFoundError as error:
        raise _line(address, action, error, "check the name") from None
    except (errors.BaseError, OSError, ValueError) as error:
        if "status code: 416" in str(error):  # it has no such range any more
            raise ChangedError(f"{address} was overwritten while it was read; run again") from None
        lacks = any(words in str(error) for words in _OF_CREDENTIALS)
        raise _line(address, action, error, _credentials(address) if lacks else _unreachable(address)) from None


_OF_CREDENTIALS = ("169.254.", "metadata", "redential", "Account must be specified", "Access Key", "pem file")
"""In messages of the client: where it looks for a role when it has no keys, and about keys that it cannot read."""

_NAMES = {
    "s3": ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE", " (AWS_ENDPOINT_URL, AWS_REGION)"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE", ""),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_SKIP_SIGNATURE",
        " (AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT)",
    ),
}
"""By scheme: what gives credentials, what says that none are needed, and what names the endpoint."""

_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}


def _credentials(address: Address) -> str:
    keys, public, _ = _NAMES[address.scheme]
    return (
        f"check the credentials, which come from the environment (such as {keys}, or {public}=true for what is public) "
        "or the machine's role"
    )


def _unreachable(address: Address) -> str:
    return f"check the network, the endpoint{_NAMES[address.scheme][2]} and the name, and run again"


def _line(address: Address, action: str, error: Exception, advice: str) -> RemoteError:
    """The one line for an error of the client: of its text, only the status and the name of the error are safe."""
    text = str(error)
    status, code = re.search(r"status code: (\d{3})", text), re.search(r"<Code>([A-Za-z]{1,40})</Code>", text)
    words = [f"status {status[1]}" if status else "", code[1] if code else "", _kind(text, address.scheme)]
    reason = ", ".join(filter(None, words)) or type(error).__name__
    return RemoteError(f"{action} {address} failed ({reason}); {advice}")


def _kind(text: str, scheme: str) -> str:
    known: dict[str, Callable[[str], bool]] = {
        "no such bucket or name": lambda t: "404" in t,
        "no connection": lambda t: "error sending request" in t or "connect" in t.lower(),
        "no answer in time": lambda t: "timed out" in t or "timeout" in t.lower().replace("retry_timeout", ""),
        f"http without TLS needs {_PREFIXES[scheme]}ALLOW_HTTP=true": lambda t: "builder error" in t,
    }
    return next((words for words, holds in known.items() if holds(text) and "status code" not in text), "")
