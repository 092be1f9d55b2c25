"""The identity of data files: their bytes, never their names or times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..inputs import InputFile
from ..mixing import draw

_EDGE_BYTES = 1 << 20
_SAMPLES, _SAMPLE_BYTES = 16, 64 << 10


def content_id(files: Sequence[InputFile], reading: Any) -> str:
    """Return 'sha256-2:...' over sizes, first and last MiB and 16 seeded 64 KiB samples of the files, and `reading`.

    `reading` is plain data that says how the bytes are interpreted. An edit between the samples goes unnoticed; a
    store's content hash covers every byte.
    """

    def places(size: int) -> list[int]:
        return [draw(f"content id 2/{size}", number, below=max(1, size)) for number in range(_SAMPLES)]

    return f"sha256-2:{_digest(files, reading, places)}"


def former_content_ids(files: Sequence[InputFile], reading: Any) -> tuple[str, ...]:
    """Return the ids that earlier versions gave the same bytes, so that their runs can continue."""

    def places(size: int) -> list[int]:
        return np.random.default_rng(size).integers(0, max(1, size), _SAMPLES).tolist()

    return (f"sha256:{_digest(files, reading, places)}",)


def _digest(files: Sequence[InputFile], reading: Any, places: Callable[[int], list[int]]) -> str:
    """Return the SHA-256; `places` gives the offsets of the samples for a file size."""
    digest = hashlib.sha256(json.dumps(reading).encode())
    for file in files:
        size = file.size
        digest.update(str(size).encode())
        blocks = [(0, _EDGE_BYTES), (max(0, size - _EDGE_BYTES), _EDGE_BYTES)]
        blocks += [(start, _SAMPLE_BYTES) for start in places(size)]
        for part in file.read_parts([(start, min(start + length, size)) for start, length in blocks]):
            digest.update(part.data)
    return digest.hexdigest()
