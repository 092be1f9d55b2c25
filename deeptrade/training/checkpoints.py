"""Checkpoints: one file holds weights, optimizer and position together, so no kill can leave half of a state."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import atomic_write

KEPT = 2
_STATE = "__state__"


class Checkpoints:
    """The two newest checkpoints of a run in `folder`: NumPy archives whose parts carry checksums."""

    def __init__(self, folder: Path, *, sink: Callable[[str], None] = lambda line: None):
        self._folder, self._sink = folder, sink

    def save(self, step: int, variables: Sequence[Any], state: Mapping[str, Any]) -> None:
        """Write the variables by path and the plain state, then drop all but the newest two."""
        arrays = {variable.path: variable.numpy() for variable in variables}
        if len(arrays) != len(variables):
            raise ValueError("two variables share a path")
        text = np.frombuffer(json.dumps(dict(state)).encode(), np.uint8)
        with atomic_write(self._folder / f"step-{step:010d}.npz") as file:
            np.savez(file, **{_STATE: text}, **arrays)  # type: ignore[arg-type]
        for old in self._paths()[KEPT:]:
            old.unlink()

    def restore(self, variables: Sequence[Any]) -> dict[str, Any] | None:
        """Set the variables from the newest sound checkpoint and return its state; None when there is none.

        Raises DataError when checkpoints exist and none of them can be read, or one is of another model.
        """
        arrays = self._newest(None)
        if arrays is None:
            return None
        state = json.loads(arrays.pop(_STATE).tobytes())
        _assign(variables, arrays)
        return state

    def read_state(self) -> dict[str, Any] | None:
        """Return the state alone of the newest sound checkpoint."""
        arrays = self._newest([_STATE])
        return None if arrays is None else json.loads(arrays[_STATE].tobytes())

    def _newest(self, names: list[str] | None) -> dict[str, np.ndarray] | None:
        """The parts `names` (None: all) of the newest checkpoint in which they are sound."""
        paths = self._paths()
        for path in paths:
            try:
                with open(path, "rb") as file, np.load(file) as archive:
                    return {name: archive[name] for name in names or archive.files}
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                self._sink(f"checkpoint {path.name} is damaged ({error}); using the one before")
        if paths:
            raise DataError(f"no checkpoint in {self._folder} can be read; start over with --fresh")
        return None

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.npz"), reverse=True)


def _assign(variables: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    wanted = {variable.path: (tuple(variable.shape), str(variable.numpy().dtype)) for variable in variables}
    found = {path: (array.shape, str(array.dtype)) for path, array in arrays.items()}
    if wanted != found:
        different = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise DataError(f"the checkpoint is of another model ({different!r} differs); start over with --fresh")
    for variable in variables:
        variable.assign(arrays[variable.path])
