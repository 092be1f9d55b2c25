"""Files that are whole or absent: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import itertools
import json
import math
import mmap
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs
import psutil

from .errors import DataError, DiskFullError, DoesNotFitError, SettingsError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""SCHEME://REST; with one slash too, as `Path` writes it. The letter of a drive is no scheme."""


def is_address(path: str | Path) -> bool:
    """Return whether a path names a place that is no folder of this machine, such as s3://bucket/name."""
    return _ADDRESS.fullmatch(str(path)) is not None


def shown_address(address: str | Path) -> str:
    """Return an address without what may be secret in it: a user, a password, a query.

    >>> shown_address("s3://key:secret@bucket/market.csv?signature=abc")
    's3://...@bucket/market.csv?...'
    """
    found = _ADDRESS.fullmatch(str(address))
    assert found, "no address"
    scheme, rest = found.groups()
    place, mark = rest, ""
    if "=" in rest.partition("?")[2]:  # without a value it is a pattern, as in 2023-0?.csv
        place, mark, _ = rest.partition("?")
    host, slash, name = place.partition("/")
    user, at, host = host.rpartition("@")
    return f"{scheme}://{'...' if user else ''}{at}{host}{slash}{name}{mark}{'...' if mark else ''}"


def user_path(path: str | Path) -> Path:
    """Return the path with a leading ~ expanded, as a shell does: parameters of a notebook do not pass through one.

    Raises SettingsError for an address: taken as a path, it would name a local folder that looks like it.
    """
    refuse_address(path)
    return Path(os.path.expanduser(path))


def refuse_address(path: str | Path) -> None:
    """Raise SettingsError for an address where only a path on this machine will do."""
    if is_address(path):
        raise SettingsError(
            f"{shown_address(path)} is an address; here only a path on this machine is accepted: give one, and copy "
            "what is there to or from it"
        )


def shorten_home(text: str) -> str:
    """Return text in which the home folder is ~, alone and in paths; `user_path` reads such paths.

    >>> shorten_home(os.path.expanduser("~/market.csv"))
    '~/market.csv'
    """
    home = os.path.expanduser("~")  # a '+' before it is within an image as text
    if len(home) < 2:  # a process without a home, or with the root as such
        return text
    return re.sub(rf"(?<![\w./~+-]){re.escape(home)}(?![\w.-])", "~", text)


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def cache_folder(name: str) -> Path:
    """Return the folder for what belongs to a path or an address, in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("deeptrade")) / hashlib.sha256(name.encode()).hexdigest()[:16]


def refuse_secrets(path: str | Path) -> None:
    """Raise SettingsError for an address that holds a user or a query: it would be shown in logs, pages and results."""
    if is_address(path) and shown_address(path).count("...") > str(path).count("..."):
        raise SettingsError(
            f"the address {shown_address(path)} holds a user or a query; give it without: credentials are taken from "
            "the environment, as the client of the object store does"
        )


@contextmanager
def friendly_os_errors(action: str) -> Iterator[None]:
    """Turn an operating system's error into one line that names `action`, such as 'writing plan.json'.

    It belongs around a single touch of a user's file, never around more of our code, whose own errors it would hide.

    Raises DiskFullError for a full disk, DoesNotFitError for a lack of memory, DataError for all other OSErrors.
    """
    try:
        yield
    except OSError as error:
        raise told(error, action) from None


def told(error: OSError, action: str) -> DataError | DoesNotFitError:
    """Return an operating system's error as one line that names `action` and what to do next."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL_DISK:
        return DiskFullError(f"{action}: {reason}; free some space or choose another folder")
    if error.errno == errno.ENOMEM:
        return DoesNotFitError(f"{action}: {reason}; free some memory")
    return DataError(f"{action}: {reason}; check the path and its permissions")


def map_file(descriptor: int, name: str, size: int = 0) -> mmap.mmap:
    """Return a read-only map of an open file's first `size` bytes, 0 for all; `name` is what errors call it.

    There must be some. Raises DoesNotFitError where the system has no room for the map, DataError where the file cannot
    be mapped.
    """
    try:
        return mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    except OSError as error:
        action = f"mapping {name}: {os.strerror(error.errno or 0)}"
        if error.errno == errno.ENOMEM:
            raise DoesNotFitError(f"{action}; free some memory, or use --no_mmap") from None
        raise DataError(f"{action}; use --no_mmap") from None


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file that appears at `path` only when the block ends without an error.

    The folder of `path` is made. The content is on disk (fsync) before the name is.
    """
    refuse_address(path)
    path = Path(os.path.realpath(path))  # a link stays a link
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a file; give the name of a file to write")
    with friendly_os_errors(f"writing {path.name}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left of the same file."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            leftover.unlink(missing_ok=True)


def read_into(descriptor: int, buffer: memoryview, offset: int, *, shorter: str) -> None:
    """Fill a buffer of bytes with those of a file from `offset` on, in as many reads as the system makes of it.

    Raises DataError with the text `shorter` where the file ends before.
    """
    while len(buffer):
        count = os.preadv(descriptor, [buffer], offset)
        if not count:
            raise DataError(shorter)
        buffer, offset = buffer[count:], offset + count


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write bytes to a file from `offset` on, in as many writes as the system makes of it."""
    while len(data):
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_MOST_ATTEMPTS = 1000


@contextmanager
def locked_folder(folder: Path, *, taken: Callable[[], None]) -> Iterator[None]:
    """Hold a folder, made where missing, for this process alone; at the end it goes where it is empty.

    Where another process holds it, `taken` is called, which may raise; else this one waits. The lock is on the folder
    itself, so it leaves no file and ends with the process, however that ends. File systems without locks give none.
    """
    for attempt in itertools.count():
        with friendly_os_errors(f"making the folder {folder.name}"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(folder, os.O_RDONLY)
            except (FileNotFoundError, FileExistsError):  # another process has just left and removed it
                if folder.is_file() or attempt == _MOST_ATTEMPTS:  # or the system makes none there
                    raise
                continue
        _held.add(descriptor)
        try:
            _lock(descriptor, taken)
            if not _is_at(descriptor, folder):  # renamed or removed by the process that held it
                continue
            try:
                yield
            finally:
                if _is_at(descriptor, folder):  # else it is another's, who may hold it
                    with suppress(OSError):
                        folder.rmdir()
            return
        finally:
            _held.discard(descriptor)
            os.close(descriptor)


_held: set[int] = set()
_LOOK_SECONDS = 0.001


def _let_go() -> None:
    """In a forked child: its copy of a lock would outlive the process that works in the folder."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _lock(descriptor: int, taken: Callable[[], None]) -> None:
    try:
        while not _lock_now(descriptor, fcntl.LOCK_EX):
            if not _lock_now(descriptor, fcntl.LOCK_SH):
                break
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # nobody holds it, `is_held` has looked just then
            time.sleep(_LOOK_SECONDS)
        else:
            return
    except OSError:  # a file system without locks, such as some network folders
        return
    taken()
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _lock_now(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(folder: Path) -> bool:
    """Whether another process holds the folder by `locked_folder`; False where that cannot be known."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):  # whoever held it may have left and removed it just now
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _is_at(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def write_json(path: str | Path, content: Any) -> Any:
    """Write plain data as JSON, whole or not at all, and return it as written: NaN and infinities become null."""
    written = _finite(content)
    text = json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")
    return written


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises DataError when it cannot be read or is not JSON.
    """
    path = Path(path)
    with friendly_os_errors(f"reading {path.name}"):
        text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON ({error}); remove it and make it again") from None
