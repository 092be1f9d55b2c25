"""Files that are whole or absent: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DataError, DoesNotFitError


@contextmanager
def friendly_os_errors(action: str) -> Iterator[None]:
    """Turn an operating system's error into one line that names `action`, such as 'writing plan.json'.

    Raises DoesNotFitError for a full disk, DataError for all other OSErrors.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            line = f"{action}: {reason}; free some space or choose another folder"
            raise DoesNotFitError(line) from None
        raise DataError(f"{action}: {reason}; check the path and its permissions") from None


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file that appears at `path` only when the block ends without an error.

    The folder of `path` is made. The content is on disk (fsync) before the name is.
    """
    path = Path(path)
    with friendly_os_errors(f"writing {path.name}"):
        path.parent.mkdir(parents=True, exist_ok=True)
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


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, content: Any) -> None:
    """Write plain data as JSON, whole or not at all; NaN and infinities become null."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


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
