"""The saved model of a run, and the hash of its weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import friendly_os_errors, sync_folder


def save_model(model: Any, path: Path, *, unfinished: Path) -> None:
    """Save a Keras model, first as `unfinished`; it gets its final name once it is complete and on disk."""
    with friendly_os_errors(f"writing {path.name}"):
        model.save(unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)


def weights_sha256(variables: Sequence[Any]) -> str:
    """Return the SHA-256 over the little-endian float32 bytes of all variables, in path order."""
    digest = hashlib.sha256()
    for variable in sorted(variables, key=lambda variable: variable.path):
        digest.update(np.ascontiguousarray(variable.numpy(), "<f4").tobytes())
    return digest.hexdigest()
